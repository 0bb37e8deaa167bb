from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from dfanerf_rt.clip.video import read_video
from dfanerf_rt.face.landmarks import LandmarkTracker, eye_aspect_ratio, face_width, landmarks_68


def test_eye_aspect_ratio_of_a_known_eye() -> None:
    points = np.zeros((478, 2), np.float32)
    points[263], points[362] = (0, 0), (30, 0)
    for upper, lower, x, height in ((387, 373, 10, 12.0), (385, 380, 20, 6.0)):
        points[upper], points[lower] = (x, -height / 2), (x, height / 2)
    left, _ = eye_aspect_ratio(points)
    assert left == pytest.approx((12 + 6) / (2 * 30))


def test_nothing_is_found_in_a_blank_picture() -> None:
    with LandmarkTracker() as tracker:
        assert tracker.detect(np.full((120, 160, 3), 80, np.uint8)).shape == (0, 478, 3)


def test_a_real_face_is_found_in_ibug_order(shared_data: Path) -> None:
    _, frames = read_video(shared_data / "video" / "anchor_20s.mp4")
    with LandmarkTracker() as tracker:
        faces = [tracker.detect(frame) for frame in itertools.islice(frames, 5)]
    assert [len(found) for found in faces] == [1] * 5
    points = landmarks_68(faces[-1][0])
    assert points[0, 0] < points[36, 0] < points[45, 0] < points[16, 0]  # jaw and eyes from image-left to right
    assert points[19, 1] < points[37, 1] < points[33, 1] < points[51, 1] < points[57, 1] < points[8, 1]  # downwards


def test_a_small_face_in_a_wide_picture_is_found_where_it_is(shared_data: Path) -> None:
    _, frames = read_video(shared_data / "video" / "anchor_20s.mp4")
    frame = next(frames)
    small = frame.reshape(256, 2, 256, 2, 3).mean((1, 3)).astype(np.uint8)
    wide = np.full((720, 1280, 3), 90, np.uint8)
    wide[300:556, 900:1156] = small
    with LandmarkTracker() as tracker:
        reference = tracker.detect(frame)[0, :, :2] / 2 + (900, 300)
    with LandmarkTracker() as tracker:
        found = tracker.detect(wide)
    assert len(found) == 1
    assert np.abs(found[0, :, :2] - reference).mean() < 0.03 * face_width(reference)
