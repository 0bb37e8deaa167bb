from __future__ import annotations

import numpy as np
import pytest
import torch

from dfanerf_rt.attributes.model import AttributeModel
from dfanerf_rt.errors import ShapeError
from dfanerf_rt.evaluate.blinks import blink_statistics, count_blinks, eye_aspect_ratio, eye_openness, find_blinks
from dfanerf_rt.face.arkit import ARKIT_INDEX
from dfanerf_rt.face.model import FaceModel
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


def test_eyes_that_are_never_open_do_not_blink() -> None:
    assert count_blinks(np.zeros(20)) == 0


def test_start_end_and_depth_between_frames() -> None:
    (blink,) = find_blinks(np.array([1.0, 1.0, 0.6, 0.0, 0.0, 0.5, 0.9, 1.0]), open_level=1.0)
    # 0.8 is passed half way from frame 1 to 2, and three quarters of the way from frame 5 to 6.
    assert (blink.start, blink.end, blink.depth, blink.whole) == pytest.approx((1.5, 5.75, 0.0, True))


def test_durations_and_intervals_by_hand() -> None:
    # 0.8 is passed half a frame before and after each stretch at 0.6 or below: n frames at 0 take n + 2 - 0.4.
    blink = ((1, 0.5), (2, 0.0), (1, 0.5))
    series = _series((24, 1.0), *blink, (46, 1.0), *blink, (96, 1.0), (1, 0.5), (12, 0.0), (1, 0.5), (11, 1.0))
    found = blink_statistics(series, 25.0)
    assert found.count == 3 and found.per_s == pytest.approx(3 * 25 / len(series))
    each = 40.0 * (4 + 0.2)
    assert found.durations_ms == pytest.approx([each, each, each + 400.0])
    assert found.intervals_s == pytest.approx([2.0, 4.0])
    assert found.human_share == pytest.approx(2 / 3)
    assert np.isnan(blink_statistics(np.ones(50), 25.0).human_share)


def test_a_blink_while_looking_down_ends_there() -> None:
    """The lids stay at 0.75 of open for four seconds; a blink of four frames in the middle of that is no longer."""
    series = _series((200, 1.0), (50, 0.75), (4, 0.0), (50, 0.75), (200, 1.0))
    found = blink_statistics(series, 25.0)
    # 0.8 of 0.75 is passed a fifth of the way from one frame to the next: 4 + 1 - 2 * 0.2 frames.
    assert found.durations_ms == pytest.approx([40.0 * 4.6], rel=0.01)
    # But eyes that are closed for long are closed.
    assert count_blinks(_series((400, 1.0), (150, 0.1), (400, 1.0))) == 1


def test_a_blink_cut_by_an_end_has_no_duration() -> None:
    found = blink_statistics(_series((3, 0.0), (40, 1.0), (3, 0.0)), 25.0)
    assert found.count == 2 and len(found.durations_ms) == 0 and len(found.intervals_s) == 1


def test_openness_of_the_eye_code() -> None:
    model, face = AttributeModel.bundled(), FaceModel.bundled()
    blink = [ARKIT_INDEX["eyeBlinkLeft"], ARKIT_INDEX["eyeBlinkRight"]]
    expression = torch.zeros(4, face.n_expressions)
    expression[:, blink] = torch.tensor([0.0, 0.5, 1.0, 0.0])[:, None]
    expression[3, ARKIT_INDEX["jawOpen"]] = 1.0
    for identity in (torch.zeros(face.n_identity), torch.linspace(-1.0, 1.0, face.n_identity)):
        landmarks = face.landmarks(identity, expression)
        neutral = face.landmarks(identity, torch.zeros(face.n_expressions))
        person = model.for_person(neutral)
        openness = eye_openness(person.encode(landmarks)[1], person)
        assert openness[[0, 2, 3]] == pytest.approx([1.0, 0.0, 1.0], abs=0.03)
        assert openness[1] < 0.5
    with pytest.raises(ShapeError, match=r"\(T, 16\)"):
        eye_openness(torch.zeros(3, 32))
