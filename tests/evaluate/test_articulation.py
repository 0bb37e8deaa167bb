from __future__ import annotations

import numpy as np
import pytest

from dfanerf_rt.audio.speech import Phoneme
from dfanerf_rt.evaluate.articulation import closures, frames_of, roundings, speech_mean

# "_ a b u _", 80 ms each: two frames each.
WORD = tuple(Phoneme(name, 1280 * i, 1280 * (i + 1)) for i, name in enumerate(("_", "a", "b", "u", "_")))


def test_frames_exposed_in_part_count() -> None:
    assert frames_of(Phoneme("a", 1280, 2560), 10) == slice(2, 4)
    assert frames_of(Phoneme("a", 1281, 2561), 10) == slice(2, 5)
    assert frames_of(Phoneme("a", 1281, 2561), 3) == slice(2, 3)


def test_the_mean_leaves_out_silence() -> None:
    opening = np.array([9.0, 9.0, 6.0, 6.0, 0.0, 0.0, 3.0, 3.0, 9.0, 9.0])
    assert speech_mean(opening, WORD) == pytest.approx(3.0)
    assert np.isnan(speech_mean(opening, WORD[:1]))


def test_a_closure_is_one_frame_below_fifteen_percent() -> None:
    opening = np.array([0.0, 0.0, 6.0, 6.0, 2.0, 0.4, 3.0, 3.0, 0.0, 0.0])
    assert closures(opening, WORD, 3.0) == [True]
    assert closures(opening, WORD, 2.0) == [False]


def test_rounding_is_a_narrow_mouth_over_the_sound() -> None:
    width = np.array([50.0, 50.0, 50.0, 50.0, 46.0, 46.0, 41.0, 45.0, 50.0, 50.0])
    assert roundings(width, WORD, 44.0) == [True]
    assert roundings(width, WORD, 42.0) == [False]
