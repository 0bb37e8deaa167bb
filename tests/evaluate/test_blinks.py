from __future__ import annotations

import numpy as np
import pytest

from dfanerf_rt.evaluate.blinks import count_blinks, eye_aspect_ratio
from tests.evaluate.drawn_face import landmarks


def test_eye_aspect_ratio_by_hand() -> None:
    assert eye_aspect_ratio(landmarks(eye_px=4.0)[None])[0] == pytest.approx(4 / 16)
    one_shut = landmarks(eye_px=4.0)
    one_shut[36:42, 1] = 55.0
    assert eye_aspect_ratio(one_shut[None])[0] == pytest.approx(2 / 16)


def _series(*parts: tuple[int, float]) -> np.ndarray:
    return np.concatenate([np.full(n, value) for n, value in parts])


def test_two_blinks() -> None:
    assert count_blinks(_series((20, 0.3), (3, 0.08), (20, 0.3), (2, 0.1), (9, 0.3))) == 2


def test_a_level_between_the_thresholds_neither_opens_nor_closes() -> None:
    # 0.21 is 70 % of open: after a blink it does not end it, and from open it does not begin one.
    assert count_blinks(_series((20, 0.3), (2, 0.1), (1, 0.21), (2, 0.1), (20, 0.3))) == 1
    assert count_blinks(_series((20, 0.3), (5, 0.21), (20, 0.3))) == 0


def test_narrow_eyes_blink_as_well_as_wide_ones() -> None:
    shape = _series((20, 1.0), (3, 0.3), (20, 1.0))
    assert count_blinks(0.15 * shape) == count_blinks(0.4 * shape) == 1


def test_noise_is_no_blink() -> None:
    noise = np.random.default_rng(0).normal(0.3, 0.03, 1000)
    assert count_blinks(noise) == 0


def test_frames_without_a_face() -> None:
    assert count_blinks(_series((20, 0.3), (1, 0.1), (3, np.nan), (1, 0.1), (20, 0.3))) == 1
    assert count_blinks(np.full(5, np.nan)) == 0
