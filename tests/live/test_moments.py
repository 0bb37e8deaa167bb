"""Sound leaves with its picture, all of it, once and in order."""

from __future__ import annotations

import numpy as np
import pytest

from dfanerf_rt.audio.ring import AudioChunk
from dfanerf_rt.live.moments import Moment, MomentAssembler
from dfanerf_rt.live.stages import Frame


def chunk(start: int, n: int = 160) -> AudioChunk:
    """Sample k is k / 10^6; it was captured at k / 16000 s."""
    return AudioChunk(np.arange(start, start + n, dtype=np.float32) / 1e6, start, (start + n) / 16000)


def frame(index: int) -> Frame:
    return Frame(index, np.full((2, 2, 3), index, np.uint8), 0.0, index * 0.04)


def check_sound(moments: list[Moment]) -> None:
    heard = np.concatenate([moment.sound for moment in moments])
    np.testing.assert_array_equal(heard, (np.arange(len(heard), dtype=np.float32) / 1e6))
    assert [moment.pts_s for moment in moments] == pytest.approx([k * 0.04 for k in range(len(moments))])
    assert [moment.captured_s for moment in moments] == pytest.approx([k * 0.04 for k in range(len(moments))])


def test_sound_waits_for_its_picture() -> None:
    assembler, left = MomentAssembler(), []
    for start in range(0, 3200, 160):
        assert not list(assembler.hear(chunk(start)))
    for index in range(5):
        left += assembler.show(frame(index))
    check_sound(left)
    assert [int(moment.frame[0, 0, 0]) for moment in left] == [0, 1, 2, 3, 4]
    assert not any(moment.repeated for moment in left)


def test_chunks_of_any_length_and_dropped_pictures() -> None:
    assembler, left = MomentAssembler(), []
    start = 0
    for n in (700, 1, 639, 1300, 1200):
        left += assembler.hear(chunk(start, n))
        start += n
    for index in (1, 2, 5):
        left += assembler.show(frame(index))
    check_sound(left)
    assert [moment.repeated for moment in left] == [True, False, False, True, True, False]
    # The first picture fills the places before it; afterwards a place repeats the picture before.
    assert [int(moment.frame[0, 0, 0]) for moment in left] == [1, 1, 2, 2, 2, 5]


def test_a_picture_waits_for_its_sound() -> None:
    assembler, left = MomentAssembler(), []
    for index in range(4):  # no look-ahead: the picture is asked for as soon as its moment begins
        left += assembler.show(frame(index))
        assert len(left) == index
        for start in range(640 * index, 640 * index + 640 - (160 if index == 3 else 0), 160):
            left += assembler.hear(chunk(start))
    assert len(left) == 3
    check_sound(left)
    (last,) = assembler.finish()
    assert last.sound[479] > 0 and not last.sound[480:].any() and last.pts_s == pytest.approx(0.12)
    assert not list(assembler.finish())


def test_sound_does_not_wait_for_ever() -> None:
    assembler = MomentAssembler(most_held_s=0.2)
    for start in range(0, 3200, 160):
        assert not list(assembler.hear(chunk(start)))
    left = list(assembler.show(frame(0)))
    for start in range(3200, 16000, 160):
        left += assembler.hear(chunk(start))
    check_sound(left)
    assert len(left) == (16000 - 3200) // 640 and all(moment.repeated for moment in left[1:])
    assert not list(assembler.show(frame(4))), "its moment has left"


def test_muted_sound_is_silent_up_to_its_sample() -> None:
    assembler = MomentAssembler()
    for start in range(0, 1920, 160):
        list(assembler.hear(chunk(start)))
    first = list(assembler.show(frame(0)))
    assembler.mute(until=1000)
    rest = [*assembler.show(frame(1)), *assembler.show(frame(2))]
    heard = np.concatenate([moment.sound for moment in first + rest]) * 1e6
    assert heard[639] == pytest.approx(639) and not heard[640:1000].any() and heard[1000] == pytest.approx(1000)
