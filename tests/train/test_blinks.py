"""What is learned about blinks: the rhythm, as far as a recording tells it; eyes between blinks; what hurries one."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dfanerf_rt.evaluate.blinks import eye_openness, find_blinks
from dfanerf_rt.motion.blinks import BlinkClockConfig, BlinkRhythm, BlinkStream
from dfanerf_rt.train.blinks import (
    USUAL,
    ClockTraining,
    HeardBlinks,
    closed_eye_code,
    evened_clock,
    rhythm_of,
    train_clock,
    without_blinks,
)
from dfanerf_rt.train.person_motion import usual_closed_eyes


def series(rhythm: BlinkRhythm, n_frames: int, seed: int = 0) -> np.ndarray:
    stream = BlinkStream(rhythm, seed)
    return np.array([1.0 - stream.next(1.0) for _ in range(n_frames)])


def test_an_hour_tells_the_rhythm() -> None:
    own = BlinkRhythm(per_s=0.45, spread=0.5, duration_s=0.3)
    found = rhythm_of(series(own, 40_000))
    assert found.per_s == pytest.approx(own.per_s, rel=0.08)
    assert found.spread == pytest.approx(own.spread, abs=0.08)
    assert found.duration_s == pytest.approx(own.duration_s, rel=0.05)


def test_the_less_is_seen_the_more_is_taken_from_what_is_usual() -> None:
    unblinking = [rhythm_of(np.ones(n_frames)) for n_frames in (50, 500, 50_000)]
    rates = [found.per_s for found in unblinking]
    assert rates == sorted(rates, reverse=True) and 0 < rates[-1] < 0.01
    assert rates[0] == pytest.approx(2 / (2 + 2 / USUAL.per_s)) and rates[0] > 0.7 * USUAL.per_s
    for found in unblinking:
        assert (found.spread, found.duration_s) == pytest.approx((USUAL.spread, USUAL.duration_s))


def test_blinks_are_taken_out_and_nothing_else() -> None:
    n_frames = 300
    opened = 0.3 * torch.randn(1, 16).repeat(n_frames, 1)
    stream = BlinkStream(BlinkRhythm(0.5, 0.3, 0.23), 1)
    closure = torch.tensor([stream.next(1.0) for _ in range(n_frames)])[:, None]
    codes = torch.lerp(opened, usual_closed_eyes(), closure)
    openness = eye_openness(codes)
    blinks = find_blinks(openness)
    assert len(blinks) >= 3
    torch.testing.assert_close(without_blinks(codes, blinks), opened, atol=2e-3, rtol=0)
    torch.testing.assert_close(without_blinks(opened, []), opened)
    torch.testing.assert_close(closed_eye_code(codes, openness, torch.zeros(16)), usual_closed_eyes(), atol=1.0, rtol=0)
    usual = torch.full((16,), 3.0)
    torch.testing.assert_close(closed_eye_code(opened, eye_openness(opened), usual), usual)


def test_the_clock_learns_what_hurries_a_blink_and_keeps_the_rate() -> None:
    """Blinks are eight times as likely while channel 0 is above 0."""
    generator = torch.Generator().manual_seed(0)
    takes = []
    for _ in range(12):
        code = torch.randn(1, 60, 2, generator=generator).repeat_interleave(40, 1)[0]
        rate = torch.where(code[:, 0] > 0, 0.08, 0.01)
        takes.append(HeardBlinks(code, (torch.rand(len(code), generator=generator) < rate).float()))
    clock = train_clock(takes, BlinkClockConfig(2, 4, 8), ClockTraining(steps=1000))
    windows = torch.cat([take.audio_code.unfold(0, 4, 1).mT for take in takes])
    hurry = clock(windows).exp()
    assert float(hurry.mean()) == pytest.approx(1, abs=0.02)
    likely = windows[:, -1, 0] > 0
    calm = torch.where(code < 0, code, -code)
    assert float(evened_clock(clock, [calm])(calm.unfold(0, 4, 1).mT).exp().mean()) == pytest.approx(1, abs=0.02)
    assert float(hurry[likely].mean() / hurry[~likely].mean()) == pytest.approx(7.6, rel=0.5)
