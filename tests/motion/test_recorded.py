"""The recorded loop: forward, backward, turning where nothing moves, and explicit state."""

from __future__ import annotations

import itertools

import pytest
import torch

from dfanerf_rt.errors import AvatarError
from dfanerf_rt.motion.recorded import RecordedMotion, StillMotion, turning_frames


def swaying(n_frames: int = 200) -> tuple[torch.Tensor, torch.Tensor]:
    """A head that turns as a sine of 100 frames, still at frames 25, 75, 125 and 175; eyes that blink at both ends."""
    head_pose = torch.zeros(n_frames, 6)
    head_pose[:, 1] = 0.2 * torch.sin(torch.arange(n_frames) * 2 * torch.pi / 100)
    head_pose[:, 5] = 0.8
    eye_code = torch.zeros(n_frames, 16)
    eye_code[:6] = torch.tensor([0.0, 0.5, 1.0, 1.0, 0.5, 0.0])[:, None]
    eye_code[-3:] = torch.tensor([0.5, 1.0, 1.0])[:, None]
    return head_pose, eye_code


def test_turns_where_the_head_is_still_and_the_eyes_are_open() -> None:
    head_pose, eye_code = swaying()
    first, last = turning_frames(head_pose, eye_code)
    assert (first, last) == (25, 175)
    assert not eye_code[first].any() and not eye_code[last].any()


def test_goes_forward_then_backward_without_a_jump() -> None:
    motion = RecordedMotion(*swaying())
    frames = [motion.frame(k) for k in range(2 * motion.period + 1)]
    assert frames[:3] == [25, 26, 27] and frames[150:153] == [175, 174, 173]
    assert frames[motion.period] == 25 and motion.period == 300
    assert {abs(b - a) for a, b in itertools.pairwise(frames)} == {1}
    poses = torch.stack([motion.next()[0] for _ in range(600)])
    recorded = swaying()[0].diff(dim=0).abs().max()
    assert poses.diff(dim=0).abs().max() <= recorded + 1e-6
    assert poses.diff(n=2, dim=0).abs().max() < 0.002, "no bounce: the head turns round slowly"


def test_state_is_the_position_alone() -> None:
    one = RecordedMotion(*swaying())
    for _ in range(123):
        one.next()
    other = RecordedMotion(*swaying(), start=one.position)
    for _ in range(400):
        for a, b in zip(one.next(), other.next(), strict=True):
            assert torch.equal(a, b)


def test_passes_over_to_another_place_without_a_jump() -> None:
    motion = RecordedMotion(*swaying())
    poses = [motion.next()[0] for _ in range(50)]
    motion.pass_to(100)  # from one end of the sine to the other
    poses += [motion.next()[0] for _ in range(10)]
    motion.pass_to(0)  # and on while it passes
    poses += [motion.next()[0] for _ in range(60)]
    steps = torch.stack(poses).diff(dim=0).abs().max(dim=1).values
    assert float(steps.max()) < 0.04  # 0.4 over 25 frames, half as fast again in the middle, beside the sine's 0.0126
    there = RecordedMotion(*swaying(), start=motion.position)
    for a, b in zip(motion.next(), there.next(), strict=True):
        assert torch.equal(a, b), "there, it plays what was recorded"


@pytest.mark.parametrize("n_frames", [1, 2, 3, 5])
def test_short_recordings(n_frames: int) -> None:
    motion = RecordedMotion(torch.rand(n_frames, 6), torch.rand(n_frames, 16))
    seen = {motion.frame(k) for k in range(20)}
    assert seen <= set(range(n_frames)) and (n_frames == 1 or len(seen) >= 2)
    assert motion.next()[1].shape == (16,)


def test_still_is_an_ordinary_frame() -> None:
    head_pose, eye_code = swaying()
    motion = StillMotion(head_pose, eye_code)
    pose, eyes = motion.next()
    assert abs(float(pose[1])) < 0.02 and not eyes.any()
    assert torch.equal(motion.next()[0], pose)


@pytest.mark.parametrize("shapes", [((0, 6), (0, 16)), ((5, 6), (4, 16)), ((5, 3), (5, 16)), ((6,), (16,))])
def test_misshapen_tracks_are_refused(shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    with pytest.raises(AvatarError, match="expected"):
        RecordedMotion(torch.zeros(shapes[0]), torch.zeros(shapes[1]))
