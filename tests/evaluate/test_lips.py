from __future__ import annotations

import numpy as np
import pytest

from dfanerf_rt.errors import ShapeError
from dfanerf_rt.evaluate.lips import collapsed_lmd_px, correlation, lmd_px, mouth_opening
from tests.evaluate.drawn_face import landmarks


def test_lmd_by_hand() -> None:
    truth = landmarks()[None]
    moved = truth.copy()
    moved[:, 48:58, 1] += 3.0
    moved[:, 58:68, 1] -= 3.0  # the mean of the mouth stays: every landmark is 3 px off
    assert lmd_px(truth, moved, 512)[0] == pytest.approx(3.0)
    assert lmd_px(truth, moved, 256)[0] == pytest.approx(6.0)
    moved = truth.copy()
    moved[0, 62, 0] += 20.0  # the mean moves by 1: one landmark is off by 19, nineteen by 1
    assert lmd_px(truth, moved, 512)[0] == pytest.approx((19 + 19 * 1) / 20)


def test_lmd_sees_neither_where_the_head_is_nor_the_rest_of_the_face() -> None:
    truth = landmarks()[None]
    assert lmd_px(truth, truth + np.array([7.0, -4.0]), 512)[0] == pytest.approx(0.0, abs=1e-12)
    moved = truth.copy()
    moved[:, :48] += 5.0
    assert lmd_px(truth, moved, 512)[0] == 0.0


def test_a_collapsed_mouth_is_its_mean_radius() -> None:
    truth = np.zeros((1, 68, 2))
    truth[0, 48:58, 0], truth[0, 58:68, 0] = -8.0, 8.0
    assert collapsed_lmd_px(truth, 256)[0] == pytest.approx(16.0)


def test_mouth_opening_by_hand() -> None:
    # Inner lips 6 px apart, outer corners of the eyes 39 and 89.
    assert mouth_opening(landmarks(6.0)[None])[0] == pytest.approx(6 / 50)
    assert mouth_opening(landmarks(0.0)[None])[0] == 0.0
    turned = landmarks(6.0) @ np.array([[0.8, 0.6], [-0.6, 0.8]]) * 2.5 + 30.0
    assert mouth_opening(turned[None])[0] == pytest.approx(6 / 50)


def test_correlation() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=50), rng.normal(size=50)
    assert correlation(a, b) == pytest.approx(np.corrcoef(a, b)[0, 1])
    assert correlation(a, 3 * a + 2) == pytest.approx(1.0)
    assert correlation(a, -a) == pytest.approx(-1.0)
    assert correlation(a, np.full(50, 0.3)) == 0.0


def test_misshapen_landmarks_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"\(2, 68, 2\)"):
        lmd_px(np.zeros((2, 68, 2)), np.zeros((2, 67, 2)), 512)
