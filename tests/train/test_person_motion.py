"""Motion bent to a person: statistics, fine-tuning that has to pay, clips of a few seconds, clips without a blink."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from dfanerf_rt.errors import ClipError, ShapeError
from dfanerf_rt.evaluate.blinks import count_blinks, eye_openness
from dfanerf_rt.motion.generator import MotionGenerator
from dfanerf_rt.motion.models import MotionModels
from dfanerf_rt.motion.track import MotionTrack
from dfanerf_rt.train import person_motion
from dfanerf_rt.train.person_motion import PersonalTraining, adapt_motion
from tests.motion.small_person import small_models, speech

QUICK = PersonalTraining(budget_s=60.0, steps=3, simulated_s=20.0)


@pytest.fixture(scope="module")
def models() -> MotionModels:
    return small_models()


def someone(n_frames: int) -> MotionTrack:
    """Sways, and never blinks."""
    time = torch.arange(n_frames)[:, None] / 25
    pose = torch.cat(
        [0.1 * torch.sin(time * torch.tensor([1.0, 1.7, 0.6])), 0.01 * torch.cos(time * torch.tensor([0.9, 1.3, 0.5]))],
        1,
    )
    pose[:, 5] += 0.8
    return MotionTrack(pose, 0.05 * torch.sin(time * torch.linspace(0.5, 2.0, 16)))


def test_place_spread_and_range_are_the_person_s(models: MotionModels) -> None:
    track = someone(800)
    person, outcomes = adapt_motion(track, speech(800), models, QUICK)
    generator = MotionGenerator(person, seed=1)
    poses = []
    for code in speech(800).repeat(2, 1):
        generator.hear(code)
        poses.append(generator.next()[0])
    pose = torch.stack(poses)
    assert bool((pose >= track.head_pose.amin(0) - 1e-6).all()) and bool((pose <= track.head_pose.amax(0) + 1e-6).all())
    ratio = pose.std(dim=0) / track.head_pose.std(dim=0)
    assert float(ratio.min()) > 0.2 and float(ratio.max()) < 1.4
    assert set(outcomes) == {"head", "eyes"} and all(found.before is not None for found in outcomes.values())


@pytest.mark.parametrize("n_frames", [10, 60, 120])
def test_a_few_seconds_leave_the_encoder_as_it_was_and_blink(models: MotionModels, n_frames: int) -> None:
    person, outcomes = adapt_motion(someone(n_frames), speech(n_frames), models, QUICK)
    assert all(found.before is None and not found.kept for found in outcomes.values())
    assert person.models.head_encoder is models.head_encoder
    generator = MotionGenerator(person)
    drawn = [generator.next() for _ in range(750)]
    assert bool(torch.isfinite(torch.cat([torch.cat(frame) for frame in drawn])).all())
    assert 2 <= count_blinks(eye_openness(torch.stack([eyes for _, eyes in drawn]))) <= 20


def test_a_silent_clip_is_not_fine_tuned(models: MotionModels) -> None:
    _, outcomes = adapt_motion(someone(900), None, models, QUICK)
    assert not any(found.kept for found in outcomes.values())


def test_fine_tuning_is_kept_only_where_it_pays(models: MotionModels, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {name: tensor.clone() for name, tensor in models.head_encoder.state_dict().items()}
    for gains, kept in (([0.2, 0.1] * 2, False), ([0.1, 0.2] * 2, True)):
        told = iter(gains)
        monkeypatch.setattr(person_motion, "_gain", lambda paths, encoder, told=told: next(told))
        person, outcomes = adapt_motion(someone(800), speech(800), models, replace(QUICK, simulated_s=20.0))
        assert outcomes["head"].kept == kept and (person.models.head_encoder is models.head_encoder) != kept
    assert all(torch.equal(tensor, before[name]) for name, tensor in models.head_encoder.state_dict().items())


def test_refuses(models: MotionModels) -> None:
    with pytest.raises(ClipError, match="without eyes"):
        adapt_motion(MotionTrack(torch.rand(50, 6)), None, models)
    with pytest.raises(ClipError, match="9 frames, expected 10 or more"):
        adapt_motion(someone(9), None, models)
    with pytest.raises(ShapeError, match="49 audio codes"):
        adapt_motion(someone(50), speech(49), models)
