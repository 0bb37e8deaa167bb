from __future__ import annotations

import numpy as np
import pytest

from dfanerf_rt.errors import ClipError
from dfanerf_rt.evaluate.boxes import Box, face_box, mouth_box
from tests.evaluate.drawn_face import landmarks

RIGHT_20 = np.array([20.0, 0.0])


def test_boxes_by_hand() -> None:
    # The face lies in x 29..99, y 45..110; the mouth in x 49..79, y 81..95.
    points = landmarks()
    assert face_box(points, 128, 128) == Box(top=25, bottom=117, left=22, right=106)  # 45 - 19.5, 110 + 6.5, -+ 7
    assert mouth_box(points, 128, 128) == Box(top=73, bottom=103, left=41, right=87)  # 7.5 at each side


def test_boxes_are_cut_at_the_border() -> None:
    points = landmarks() + RIGHT_20
    assert face_box(points, 128, 128).right == 126
    assert face_box(points + RIGHT_20, 128, 128).right == 128


def test_crop_is_the_box() -> None:
    picture = np.arange(128 * 128).reshape(128, 128)
    assert Box(3, 5, 10, 13).crop(picture).tolist() == [[394, 395, 396], [522, 523, 524]]


def test_a_face_outside_is_refused() -> None:
    with pytest.raises(ClipError, match=r"mouth box .* 128x128"):
        mouth_box(landmarks() + 5 * RIGHT_20, 128, 128)
