"""Table 4, generation: its measures by hand, and that models go on from a beginning."""

from __future__ import annotations

from pathlib import Path

import bench_motion
import motion_continuation
import motion_reconstruction
import numpy as np
import pytest
import torch
from motion_continuation import BEGINNING_FRAMES, HORIZONS, continuation, go_on, trained_encoder
from result_schema import read_results

from dfanerf_rt.motion.model import MotionConfig, MotionVae
from dfanerf_rt.motion.twins import TWINS, IidVae
from tests.benchmarks.test_motion import write_track


def ramp(n_frames: int) -> torch.Tensor:
    """One unit a frame in every channel."""
    return torch.arange(float(n_frames))[:, None].expand(-1, 6).contiguous()


def test_a_pose_that_is_held_is_off_by_how_far_the_truth_goes() -> None:
    found = continuation(None, None, ramp(201), torch.Generator())
    for name, horizon in HORIZONS.items():
        for measure in ("d", "d_mean", "crps"):
            assert found[f"{measure}_rot_{name}"] == pytest.approx(100 * horizon / 200)
            assert found[f"{measure}_pos_{name}"] == pytest.approx(100 * horizon / 200)


def test_the_score_of_samples_that_are_as_the_truth() -> None:
    """Of N(0, 1): |x - y| is 2 / sqrt(pi) on average, of two samples too, so the score is half of it."""
    random = np.random.default_rng(0)
    found = motion_continuation._errors(random.standard_normal((50, 4000, 3)), random.standard_normal((4000, 3)))
    assert found["d"] == pytest.approx(2 / np.pi**0.5, rel=0.02)
    assert found["crps"] == pytest.approx(1 / np.pi**0.5, rel=0.03)
    two = np.array([[[0.0]], [[1.0]]])
    assert motion_continuation._errors(two, np.array([[0.5]]))["crps"] == pytest.approx(0.5 - 0.5 * 1.0)


@pytest.mark.parametrize("name", ["Transformer GP-VAE", "MLP VAE"])
def test_a_model_goes_on_from_a_beginning(name: str) -> None:
    torch.manual_seed(0)
    model = TWINS[name](MotionConfig(width=16, heads=2)).eval().requires_grad_(False)
    track = torch.randn(400, 6, generator=torch.Generator().manual_seed(0)).cumsum(0)
    encoder = trained_encoder(model, track, seed=0, steps=1)
    assert (encoder.motion.length_frames == 0) == isinstance(model, IidVae)
    one, again, other = (
        go_on(model, encoder, track[None, :BEGINNING_FRAMES], 12, torch.Generator().manual_seed(seed))
        for seed in (1, 1, 2)
    )
    assert one.shape == (1, 12, 6) and torch.equal(one, again) and not torch.equal(one, other)


def test_a_gaussian_process_goes_on_without_a_jump() -> None:
    torch.manual_seed(0)
    model = MotionVae(MotionConfig(width=16, heads=2)).eval().requires_grad_(False)
    track = 0.1 * torch.randn(400, 6, generator=torch.Generator().manual_seed(0)).cumsum(0)
    encoder = trained_encoder(model, track, seed=0, steps=1)
    posterior = model.posterior(track[None, :BEGINNING_FRAMES])
    end = model.decode(posterior.mean)[:, -1]
    moved = go_on(
        model, encoder, track[None, :BEGINNING_FRAMES].repeat(200, 1, 1), 50, torch.Generator().manual_seed(0)
    )
    near, far = (moved[:, 0] - end).std(), (moved[:, -1] - end).std()
    assert float(near) < 0.6 * float(far)


def test_trainings_that_are_there_are_not_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(motion_reconstruction, "PRIOR_FRAMES", 300)
    target, track = tmp_path / "motion.json", str(write_track(tmp_path / "a.pt"))
    command = [
        "--track",
        track,
        "--models",
        "Transformer GP-VAE",
        "--betas",
        "0.1",
        "--steps",
        "1",
        "--json",
        str(target),
    ]
    assert bench_motion.main([*command, "--seeds", "1"]) == 0
    capsys.readouterr()
    assert bench_motion.main([*command, "--seeds", "2", "--resume"]) == 0
    assert capsys.readouterr().err.count("nats a frame, 0.2 s ahead") == 1
    rows = [row for row in read_results(target)["results"] if row["measure"] == "crps_rot_1s"]
    assert {(row["model"], row["seed"]) for row in rows} == {
        ("Transformer GP-VAE", 0),
        ("Transformer GP-VAE", 1),
        ("Transformer GP-VAE", None),
        ("last pose held", 0),
        ("last pose held", None),
    }
    assert bench_motion.main([*command[:-3], "2", *command[-2:], "--resume"]) == 2
    assert "results of other settings" in capsys.readouterr().err
