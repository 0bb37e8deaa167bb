"""Head and eyes together: chunks, seeds, state, range, blinks, controls."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from dfanerf_rt.errors import ShapeError
from dfanerf_rt.motion.generator import MotionGenerator
from tests.motion.small_person import small_person, speech

PERSON = small_person()
REST = torch.ones(6)


def frames(generator: MotionGenerator, sound: Tensor | None, n_frames: int = 0, chunk: int = 1) -> Tensor:
    """(T, 22) head and eyes; sound comes ``chunk`` codes at a time."""
    drawn = []
    parts = [None] * n_frames if sound is None else sound.split(chunk)
    for part in parts:
        for code in [] if part is None else part:
            generator.hear(code)
        drawn += [torch.cat(generator.next()) for _ in range(1 if part is None else len(part))]
    return torch.stack(drawn)


def test_same_seed_same_frames_whatever_the_chunks() -> None:
    sound = speech(60)
    expected = frames(MotionGenerator(PERSON, seed=3), sound)
    assert expected.shape == (60, 22)
    for chunk in (7, 60):
        torch.testing.assert_close(
            frames(MotionGenerator(PERSON, seed=3), sound, chunk=chunk), expected, rtol=0, atol=0
        )
    other = frames(MotionGenerator(PERSON, seed=4), sound)
    assert bool(((other - expected).abs().mean(dim=0) > 0.01).all())


def test_head_eyes_and_blinks_have_chances_of_their_own() -> None:
    drawn = frames(MotionGenerator(PERSON, seed=0), None, 400)
    together = torch.corrcoef(drawn[:, [0, 6]].T)[0, 1]
    assert abs(float(together)) < 0.5


def test_stays_in_the_range_and_closes_the_eyes_wholly() -> None:
    drawn = frames(MotionGenerator(PERSON, seed=1), speech(600))
    head, eyes = drawn[:, :6], drawn[:, 6:]
    assert float((head - 1).abs().max()) <= 1.5 and float(head.std(dim=0).min()) > 0.05
    assert float(eyes.min()) == -5.0, "at the bottom of a blink the code is that of closed eyes"
    closed = (eyes < -4.9).all(dim=1)
    n_blinks = int((closed[1:] & ~closed[:-1]).sum())
    assert 4 <= n_blinks <= 24  # 0.5 a second are 12 in 24 s
    opened = frames(MotionGenerator(small_person(per_s=1e-6), seed=1), None, 200)[:, 6:]
    assert float((opened - 1).abs().max()) <= 1.5


def test_idles_without_sound_and_sound_matters() -> None:
    idle = frames(MotionGenerator(PERSON, seed=2), None, 60)
    assert float(idle.diff(dim=0).abs().amax(dim=1)[1:].min()) > 0
    assert float((frames(MotionGenerator(PERSON, seed=2), speech(60)) - idle).abs().max()) > 0.01


def test_goes_on_from_its_state() -> None:
    sound, generator = speech(90), MotionGenerator(PERSON, seed=5, temperature=0.8)
    generator.look_at = (8.0, -3.0)
    frames(generator, sound[:33])
    generator.hear(sound[33])  # a code ahead, in the middle of a block
    state = generator.state()
    expected = frames(generator, sound[34:])
    again = MotionGenerator(PERSON, seed=99)
    again.restore(state)
    assert again.look_at == (8.0, -3.0) and again.temperature == 0.8 and again.frame == 33
    torch.testing.assert_close(frames(again, sound[34:]), expected, rtol=0, atol=0)


def damaged(state: dict[str, Any], part: str, name: str | None, value: Any) -> dict[str, Any]:
    """The state with one thing missing (``value`` None) or another."""
    if name is None:
        return {key: entry for key, entry in state.items() if key != part}
    return {**state, part: {**state[part], name: value}}


@pytest.mark.parametrize(
    ("part", "name", "value", "said"),
    [
        ("eyes", None, None, "'eyes' is missing"),
        ("eyes", "past", torch.zeros(3, 3), "'past' has shape"),
        ("blinks", "_due_s", float("nan"), "'_due_s' is nan"),
        ("hold_still", None, None, "'hold_still' is missing"),
        ("codes", None, None, "'codes' is missing"),
    ],
)
def test_a_damaged_state_changes_nothing(part: str, name: str | None, value: Any, said: str) -> None:
    sound = speech(40)
    donor = MotionGenerator(PERSON, seed=7)
    frames(donor, sound)
    state = damaged(donor.state(), part, name, value)
    generator, untouched = MotionGenerator(PERSON, seed=8), MotionGenerator(PERSON, seed=8)
    with pytest.raises(ShapeError, match=said):
        generator.restore(state)
    torch.testing.assert_close(frames(generator, sound), frames(untouched, sound), rtol=0, atol=0)


def test_hold_still_comes_to_rest_and_goes_on_blinking_and_moves_again() -> None:
    generator = MotionGenerator(PERSON, seed=1)
    frames(generator, None, 30)
    generator.hold_still = True
    easing = frames(generator, None, 50)
    still = frames(generator, None, 200)
    assert float((still[:, :6] - REST).abs().max()) < 0.01
    assert float(still[:, 6:].min()) < -4.9
    free = frames(MotionGenerator(PERSON, seed=1), None, 300)
    assert float(easing[:, :6].diff(dim=0).abs().max()) < 1.2 * float(free[:, :6].diff(dim=0).abs().max())
    generator.hold_still = False
    assert float((frames(generator, None, 60)[-20:, :6] - REST).abs().max()) > 0.1


def test_look_at_turns_the_head_about_the_neck() -> None:
    """To the right is a negative angle about y; the head's origin, above and before the neck, goes with it."""
    generator = MotionGenerator(PERSON, seed=1)
    generator.hold_still, generator.look_at = True, (10.0, 5.0)
    pose = frames(generator, None, 200)[-1, :6]
    expected = torch.tensor([0.0873, -0.1745, 0.0, 0.1745 * 0.07, 0.0873 * 0.07, -0.0873 * 0.11])
    torch.testing.assert_close(pose - REST, expected, atol=1e-3, rtol=0)
    generator.look_at = (10000.0, 0.0)
    assert float(frames(generator, None, 200)[-1, 1]) >= 1 - 1.5, "the soft limit holds"


def test_temperature_scales_the_chance() -> None:
    warm, cool = (frames(MotionGenerator(PERSON, 1, value), None, 300)[:, :6].std(dim=0) for value in (1.0, 0.4))
    assert bool((cool < 0.8 * warm).all())
    with pytest.raises(ValueError, match="temperature is -1"):
        MotionGenerator(PERSON, 0, -1.0)


def test_another_seed_is_another_future_from_the_same_past() -> None:
    sound = speech(200)
    usual = frames(MotionGenerator(PERSON, seed=3), sound)
    generator = MotionGenerator(PERSON, seed=3)
    past = frames(generator, sound[:100])
    generator.reseed(9)
    future = frames(generator, sound[100:])
    torch.testing.assert_close(past, usual[:100], rtol=0, atol=0)
    assert float((future[20:] - usual[120:]).abs().mean()) > 0.05
    whole = torch.cat([past, future])[:, :6]
    assert float(whole[95:125].diff(dim=0).abs().max()) <= 1.3 * float(usual[:, :6].diff(dim=0).abs().max())
    again = MotionGenerator(PERSON, seed=3)
    frames(again, sound[:100])
    again.reseed(9)
    torch.testing.assert_close(frames(again, sound[100:]), future, rtol=0, atol=0)
