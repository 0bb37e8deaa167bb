"""Table 4: its splits, its comparison at equal rate, and the command on a short made-up track."""

from __future__ import annotations

import math
from pathlib import Path

import bench_motion
import motion_reconstruction
import pytest
import torch
from motion_reconstruction import Split, at_rate, prior_samples
from result_schema import read_results

from dfanerf_rt.motion.model import MotionConfig, MotionVae
from dfanerf_rt.motion.track import MotionTrack
from dfanerf_rt.motion.twins import TWINS


def write_track(path: Path, n_frames: int = 1700) -> Path:
    """A head that sways about three axes and moves with it, as a tracker writes it."""
    time = torch.arange(n_frames)[:, None] / 25
    euler = 0.1 * torch.sin(time * torch.tensor([1.0, 1.7, 2.3]))
    trans = torch.tensor([0.0, 0.0, -8.0]) + 0.2 * torch.cos(time * torch.tensor([0.9, 1.3, 2.9]))
    torch.save({"euler": euler, "trans": trans, "focal": torch.tensor([1200.0])}, path)
    return path


def test_choices_never_see_the_held_out_frames() -> None:
    track = MotionTrack(torch.arange(1100.0)[:, None].expand(-1, 6).contiguous())
    test, choice = Split.of(track, validation=False), Split.of(track, validation=True)
    assert (len(test.train), len(test.measured)) == (1000, 100)
    assert test.measured.head_pose[0, 0] == 1000
    assert (len(choice.train), len(choice.measured)) == (909, 91)
    assert choice.measured.head_pose[-1, 0] == 999


def test_distortion_at_a_rate_by_hand() -> None:
    points = [{"rate_nats": 4.0, "d_rot": 1.0}, {"rate_nats": 2.0, "d_rot": 4.0}]
    assert at_rate(points, 3.0, "d_rot") == pytest.approx(2.0)  # the geometric mean half-way
    assert at_rate(points, 4.0, "d_rot") == pytest.approx(1.0)
    assert at_rate(points, 4.1, "d_rot") is None and at_rate(points, 1.9, "d_rot") is None


def test_a_prior_that_draws_the_truth_is_as_lively(monkeypatch: pytest.MonkeyPatch) -> None:
    track = MotionTrack(torch.randn(900, 6, generator=torch.Generator().manual_seed(0)))
    split = Split.of(track, validation=False)
    monkeypatch.setattr(motion_reconstruction, "PRIOR_FRAMES", 400)
    model = MotionVae(MotionConfig(latent_dim=6))
    drawn = split.train.head_pose[:800].view(2, 400, 6)
    monkeypatch.setattr(model, "decode", lambda latent: 2 * drawn)
    found = prior_samples(model, split, torch.Generator())
    for order in ("position", "velocity", "acceleration"):
        assert found[f"prior_{order}_ratio"] == pytest.approx(2.0, rel=1e-5)
    assert found["prior_spectrum_db"] == pytest.approx(20 * math.log10(2), abs=1.5)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(motion_reconstruction, "PRIOR_FRAMES", 300)
    target, track = tmp_path / "motion.json", str(write_track(tmp_path / "someone_params.pt"))
    options = ["--seeds", "2", "--steps", "2", "--betas", "0.01", "0.1", "--json", str(target)]
    assert bench_motion.main(["--track", track, *options]) == 0
    document = read_results(target)
    assert document["kind"] == "motion" and document["measured"] == "held out"
    rows = [row for row in document["results"] if row["part"] == "reconstruction" and row["measure"] == "d_rot"]
    assert len(rows) == len(TWINS) * 2 * 3 and {row["subject"] for row in rows} == {"someone_params"}
    one, other, mean = (row for row in rows if row["model"] == "MLP VAE" and row["beta"] == 0.1)
    assert (one["seed"], other["seed"], mean["seed"]) == (0, 1, None) and one["count"] == 155
    assert mean["value"] == pytest.approx((one["value"] + other["value"]) / 2)
    assert mean["spread"] == pytest.approx(abs(one["value"] - other["value"]) / 2**0.5)
    equal = [row for row in document["results"] if row["part"] == "reconstruction, equal rate"]
    assert any(row["model"] == bench_motion.OURS and row["seed"] is None for row in equal)
    assert all(row["rate_nats"] == equal[0]["rate_nats"] for row in equal)
    assert "reconstruction of 155 frames, beta 0.1" in capsys.readouterr().out


def test_tracks_that_cannot_be_used(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench_motion.main(["--track", str(tmp_path / "none.pt")]) == 2
    assert capsys.readouterr().err.endswith("none.pt: no such file\n")
    short = write_track(tmp_path / "short.pt", 150)
    assert bench_motion.main(["--track", str(short)]) == 2
    assert "150 frames, of which 14 are measured, expected 146 or more" in capsys.readouterr().err
