"""Blinks as events: their curve, rate, spread, and what the clock does to them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dfanerf_rt.errors import AvatarError, ShapeError
from dfanerf_rt.evaluate.blinks import blink_statistics
from dfanerf_rt.motion.blinks import (
    BlinkClock,
    BlinkClockConfig,
    BlinkRhythm,
    BlinkStream,
    lid_closure,
    movement_s,
)

RHYTHM = BlinkRhythm(per_s=0.3, spread=0.7, duration_s=0.23)


def openness(stream: BlinkStream, n_frames: int, hurry: float = 1.0, temperature: float = 1.0) -> np.ndarray:
    return np.array([1.0 - stream.next(hurry, temperature) for _ in range(n_frames)])


def test_a_lid_closes_faster_than_it_opens_and_rests_closed() -> None:
    times = torch.linspace(-0.05, 0.35, 4001)
    closure = lid_closure(times, 0.3)
    assert float(closure[times <= 0].max()) == 0 and float(closure[times >= 0.3].max()) == 0
    closed = times[closure == 1]
    assert float(closed[-1] - closed[0]) == pytest.approx(0.045, abs=1e-3)
    assert float(closed[0]) == pytest.approx(0.32 * 0.255, abs=1e-3)
    below = times[closure > 0.2]
    assert movement_s(float(below[-1] - below[0])) == pytest.approx(0.3, abs=2e-3)


def test_an_hour_has_the_rate_the_spread_and_human_lengths() -> None:
    found = blink_statistics(openness(BlinkStream(RHYTHM, seed=1), 90_000), 25.0)
    assert found.per_s == pytest.approx(0.3, rel=0.06)
    assert np.log(found.intervals_s).std() == pytest.approx(0.7, rel=0.1)
    assert found.human_share == 1.0
    assert np.median(found.durations_ms) == pytest.approx(1000 * (0.23 - 0.2871 * (0.23 - 0.045)), rel=0.05)


def test_every_blink_closes_the_eyes() -> None:
    series = openness(BlinkStream(BlinkRhythm(1.0, 0.7, 0.16), seed=2), 5000)
    assert np.mean(series == 0.0) > 0.03
    starts = np.flatnonzero((series[1:] < 0.6) & (series[:-1] >= 0.6)) + 1
    assert all(series[start : start + 5].min() == 0.0 for start in starts[:-1])


def test_a_clock_that_runs_twice_as_fast_blinks_twice_as_often() -> None:
    slow, fast = (blink_statistics(openness(BlinkStream(RHYTHM, 3), 40_000, hurry), 25.0).per_s for hurry in (1.0, 2.0))
    assert fast == pytest.approx(2 * slow, rel=0.08)


def test_at_temperature_0_blinks_are_a_clock_and_seeds_differ() -> None:
    found = blink_statistics(openness(BlinkStream(RHYTHM, 4), 5000, temperature=0.0), 25.0)
    assert found.intervals_s[1:] == pytest.approx(1 / 0.3, abs=0.05)
    assert not np.array_equal(openness(BlinkStream(RHYTHM, 4), 500), openness(BlinkStream(RHYTHM, 5), 500))


def test_goes_on_from_its_state() -> None:
    stream = BlinkStream(RHYTHM, 6)
    openness(stream, 777)
    again = BlinkStream(BlinkRhythm(0.3, 0.7, 0.23), 0)
    again.restore(stream.state())
    assert np.array_equal(openness(again, 500), openness(stream, 500))
    with pytest.raises(ShapeError, match="'frame' is None"):
        again.restore({name: value for name, value in stream.state().items() if name != "frame"})


def test_the_clock_refuses_other_shapes_and_rhythms_that_are_none() -> None:
    clock = BlinkClock(BlinkClockConfig(3, 4, 2))
    assert clock(torch.zeros(5, 4, 3)).shape == (5,)
    with pytest.raises(ShapeError, match="window of audio codes"):
        clock(torch.zeros(5, 3, 4))
    for values in ({"per_s": 0.0, "spread": 0.5, "duration_s": 0.2}, {"per_s": 0.3}):
        with pytest.raises(AvatarError, match="rhythm"):
            BlinkRhythm.from_dict(values)
    with pytest.raises(AvatarError, match="window_frames is 0"):
        BlinkClockConfig.from_dict({"window_frames": 0})
