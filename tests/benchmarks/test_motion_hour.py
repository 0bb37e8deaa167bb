"""An hour, in half a minute: its measures where they are known, and the commands on people made small."""

from __future__ import annotations

from pathlib import Path

import bench_motion_hour
import motion_people
import numpy as np
import plot_motion_generated
import pytest
import torch
from motion_hour import hour_scores, join_scores, style_scores
from motion_people import Stranger, generated
from result_schema import read_results

from dfanerf_rt.clip.format import Clip
from dfanerf_rt.motion.models import MotionModels
from dfanerf_rt.motion.track import MotionTrack
from dfanerf_rt.train.person_motion import PersonalTraining
from tests.motion.small_person import small_models, small_person, speech


def wander(n_frames: int, seed: int = 0) -> MotionTrack:
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(6, 1, n_frames + 20, generator=generator)
    pose = torch.nn.functional.conv1d(noise, torch.hann_window(21)[None, None])[:, 0].mT
    return MotionTrack(pose.contiguous(), 0.01 * torch.randn(n_frames, 16, generator=generator))


def test_the_truth_beside_itself() -> None:
    track = wander(4500)
    found = hour_scores(track, track, track) | style_scores(track, track, track)
    assert found["mean_minute"] == pytest.approx(1) and found["stillest_minute"] > 0.8
    assert found["outside_share"] == 0 and found["speed_ratio"] == pytest.approx(1)
    assert found["spectrum_db"] == 0 and found["ks_velocity"] == 0


def test_half_the_speed_and_rest_at_an_end() -> None:
    track = wander(4500)
    slow = MotionTrack(0.5 * track.head_pose, track.eye_code)
    assert style_scores(slow, track, track)["speed_ratio"] == pytest.approx(0.5)
    ends = MotionTrack(track.head_pose.amax(0) * torch.sign(track.head_pose), track.eye_code)
    assert style_scores(ends, track, track)["near_end_share"] > 0.4


def test_a_seam_is_told_from_chance() -> None:
    pose = wander(20_000).head_pose.numpy()
    seamless = join_scores(pose, 5)
    low, high = seamless["join_percentile_chance_low"], seamless["join_percentile_chance_high"]
    assert 0.97 * low <= seamless["join_percentile_ratio"] <= 1.03 * high
    assert seamless["join_literal_by_chance"] > 1, "among thousands of joins some jump is larger than most"
    torn = pose + np.repeat(0.3 * np.random.default_rng(0).standard_normal((4000, 6)), 5, axis=0)
    assert join_scores(torn, 5)["join_percentile_ratio"] > 2


def people(models: MotionModels) -> list[Stranger]:
    stress = torch.rand(1600, generator=torch.Generator().manual_seed(0))
    return [Stranger(number, wander(1600, number), speech(1600, number), stress) for number in range(2)]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    models = small_models()
    quick = PersonalTraining(steps=1, simulated_s=10.0)
    monkeypatch.setattr(motion_people, "PersonalTraining", lambda budget_s: quick)
    monkeypatch.setattr(MotionModels, "bundled", lambda: models)
    for module in (bench_motion_hour, plot_motion_generated):
        monkeypatch.setattr(module, "strangers", lambda folder, n_people, minutes: people(models)[:n_people])


@pytest.mark.usefixtures("small")
def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "hour.json"
    options = ["--work", str(tmp_path), "--minutes", "1", "--told-minutes", "0.5", "--clip-s", "20"]
    assert bench_motion_hour.main([*options, "--people", "1", "--json", str(target)]) == 0
    text = capsys.readouterr().out
    assert "stillest_minute" in text and "person 0" in text and "above no sound" in text
    rows = read_results(target)["results"]
    assert {row["model"] for row in rows} == {"generated", "generated, no sound", "truth"}
    inside = [row["value"] for row in rows if row["measure"] == "largest_excess" and row["model"] == "generated"]
    assert max(inside) < 1e-5
    assert bench_motion_hour.main([*options, "--people", "0", "--clip", str(tmp_path / "none")]) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("bench_motion_hour: ")


@pytest.mark.usefixtures("small")
def test_a_real_clip_and_the_pictures(tiny_clip: Clip, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "clip.json"
    command = ["--work", str(tmp_path), "--people", "0", "--clip", str(tiny_clip.root), "--json", str(target)]
    assert bench_motion_hour.main(command) == 0
    spreads = [row["spread"] for row in read_results(target)["results"] if row["model"] == "generated"]
    assert spreads and all(spread is not None for spread in spreads)
    options = ["--work", str(tmp_path), "--out", str(tmp_path), "--people", "2", "--start", "1", "--seconds", "2"]
    assert plot_motion_generated.main([*options, "--clip", str(tiny_clip.root)]) == 0
    drawn = {"generated.png", "distributions.png", "latents.svg", f"generated_{tiny_clip.root.name}.png"}
    assert drawn <= {path.name for path in tmp_path.iterdir()}
    assert plot_motion_generated.main([*options, "--person", "7"]) == 2
    assert "holds people 0 to 1, not 7" in capsys.readouterr().err


def test_generated_tracks_repeat_by_seed() -> None:
    person = small_person()
    one, again, other = (generated(person, speech(30), 60, seed).head_pose for seed in (1, 1, 2))
    assert one.shape == (60, 6) and torch.equal(one, again) and not torch.equal(one, other)
