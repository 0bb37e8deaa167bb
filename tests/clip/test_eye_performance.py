from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dfanerf_rt.clip.eye_performance import blinks, gaze, lids
from dfanerf_rt.clip.persona import BlinkHabit, Persona
from dfanerf_rt.evaluate.blinks import blink_statistics, find_blinks
from dfanerf_rt.face.arkit import ARKIT_INDEX

FPS = 25.0
HOUR = 90_000
NONE = np.zeros((0, 2))
PHRASES = np.stack([np.arange(3.0, 3600.0, 4.0), np.arange(4.0, 3601.0, 4.0)], 1)
"""Three seconds of speech, one of silence."""


@pytest.mark.parametrize("per_min", [8.0, 18.0, 30.0])
def test_rate_durations_and_intervals_of_an_hour(per_min: float) -> None:
    habit = BlinkHabit(per_min=per_min, double_share=0.0)
    closure = blinks(habit, PHRASES, HOUR, FPS, np.random.default_rng(0))
    found = blink_statistics(1.0 - closure.mean(axis=1), FPS)
    assert 60.0 * found.per_s == pytest.approx(per_min, rel=0.08)
    assert found.human_share > 0.999
    assert np.median(found.durations_ms) == pytest.approx(0.87 * habit.duration_ms, rel=0.1)
    plain = blinks(habit, NONE, HOUR, FPS, np.random.default_rng(0))
    intervals = blink_statistics(1.0 - plain.mean(axis=1), FPS).intervals_s
    assert intervals.mean() == pytest.approx(60.0 / per_min, rel=0.08)
    assert np.log(intervals).std() == pytest.approx(habit.spread, rel=0.1)


def test_eyes_close_fully_and_faster_than_they_open() -> None:
    closure = blinks(replace(BlinkHabit(), double_share=0.0), NONE, HOUR, FPS, np.random.default_rng(0)).mean(axis=1)
    found = find_blinks(1.0 - closure)
    assert max(blink.depth for blink in found) < 0.1, "in every blink there is a frame with closed eyes"
    closing = opening = 0.0
    for blink in found:
        span = closure[int(blink.start) : int(blink.end) + 2]
        change = np.diff(span)
        closing, opening = closing + change.max(), opening - change.min()
    assert closing > 1.1 * opening


def test_blinks_are_likelier_at_the_ends_of_phrases() -> None:
    closure = blinks(BlinkHabit(per_min=20.0), PHRASES, HOUR, FPS, np.random.default_rng(0))
    starts = np.array([blink.start for blink in find_blinks(1.0 - closure.mean(axis=1))]) / FPS
    phase = (starts - 3.0) % 4.0  # 0 where a phrase ends
    at_ends, speaking = (phase < 0.4).mean() / 0.4, ((phase > 1.0) & (phase < 3.8)).mean() / 2.8
    assert at_ends > 2.0 * speaking


def test_some_blinks_are_double() -> None:
    closure = blinks(BlinkHabit(per_min=10.0, double_share=0.3), NONE, HOUR, FPS, np.random.default_rng(0))
    found = blink_statistics(1.0 - closure.mean(axis=1), FPS)
    assert (found.intervals_s < 0.6).mean() == pytest.approx(0.3 / 1.3, abs=0.06)
    assert 60.0 * found.per_s == pytest.approx(10.0, rel=0.1)


def test_lids_and_gaze_are_units_between_0_and_1() -> None:
    random = np.random.default_rng(0)
    pose = np.concatenate(
        [0.1 * random.standard_normal((500, 3)).cumsum(0) / 10, np.tile([0.0, 0.0, 0.8], (500, 1))], 1
    )
    stress = np.zeros(500)
    stress[250] = 1.0
    expression = np.zeros((500, 52))
    closure = blinks(BlinkHabit(), NONE, 500, FPS, random)
    lids(expression, stress, replace(Persona(), widen=0.3), FPS, random)
    gaze(expression, pose, closure, FPS, random)
    assert expression.min() >= 0.0 and expression.max() <= 1.0
    wide = expression[:, ARKIT_INDEX["eyeWideLeft"]]
    assert wide[250] > wide[248] + 0.2
    assert (expression[:, ARKIT_INDEX["eyeBlinkLeft"]] >= closure[:, 0]).all()
    assert expression[:, ARKIT_INDEX["jawOpen"]].max() == 0.0


def test_a_sound_of_no_frames_has_no_blinks() -> None:
    assert blinks(BlinkHabit(), NONE, 0, FPS, np.random.default_rng(0)).shape == (0, 2)
