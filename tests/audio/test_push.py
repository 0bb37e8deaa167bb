"""Sound that a program pushes: paced by the clock, whole, with the places where utterances begin and end."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from dfanerf_rt.audio.push import Mark, MarkKind, PushSource

STARTED, ENDED, INTERRUPTED = MarkKind.STARTED, MarkKind.ENDED, MarkKind.INTERRUPTED


def ramp(n: int, first: int = 1) -> np.ndarray:
    return (np.arange(first, first + n) / 1e6).astype(np.float32)


def read_all(source: PushSource) -> np.ndarray:
    parts, clock = [], 0
    while (chunk := source.read()) is not None:
        assert chunk.start == clock
        clock = chunk.end
        parts.append(chunk.samples)
    return np.concatenate(parts) if parts else np.zeros(0, np.float32)


def test_fast_gives_what_was_pushed() -> None:
    source = PushSource(realtime=False)
    source.start()
    for begin in range(0, 1000, 250):
        assert source.push(ramp(250, begin + 1))
    source.end()
    np.testing.assert_array_equal(read_all(source), ramp(1000))
    assert source.marks(10**9) == [Mark(STARTED, 0), Mark(ENDED, 1000)]


def test_realtime_keeps_time_and_fills_with_silence() -> None:
    source = PushSource()
    source.start()
    began_s = time.monotonic()
    chunks = [source.read() for _ in range(3)]
    source.push(ramp(200))
    chunks += [source.read() for _ in range(3)]
    source.end_segment()
    chunks += [source.read() for _ in range(4)]
    assert time.monotonic() - began_s >= 0.1
    sound = np.concatenate([chunk.samples for chunk in chunks if chunk is not None])
    expected = np.zeros(1600, np.float32)
    expected[480:680] = ramp(200)
    np.testing.assert_array_equal(sound, expected)
    times_s = np.array([chunk.captured_s for chunk in chunks if chunk is not None])
    np.testing.assert_allclose(np.diff(times_s), 0.01, atol=1e-6)
    # end_segment came after its sound had left: 280 samples of silence were heard as part of it
    assert source.starved_samples == 280
    assert source.marks(479) == [] and source.marks(480) == [Mark(STARTED, 480)]
    assert source.marks(10**9) == [Mark(ENDED, 960)]


def test_segments_are_marked_where_they_are_heard() -> None:
    source = PushSource(realtime=False)
    source.start()
    for n in (100, 500, 20):
        source.push(ramp(n))
        source.end_segment()
        source.end_segment()  # a second one says nothing
    source.end()
    assert len(read_all(source)) == 620
    expected = [Mark(STARTED, 0), Mark(ENDED, 100), Mark(STARTED, 100), Mark(ENDED, 600)]
    assert source.marks(10**9) == [*expected, Mark(STARTED, 600), Mark(ENDED, 620)]
    assert source.marks(10**9) == []


def test_clear_forgets_what_waits_and_says_where_silence_begins() -> None:
    source = PushSource()
    source.start()
    source.push(ramp(16000))
    first = source.read()
    assert first is not None and first.samples[0] > 0
    assert source.clear() == 160
    after = source.read()
    assert after is not None and after.start == 160 and not after.samples.any()
    assert source.marks(10**9) == [Mark(STARTED, 0), Mark(INTERRUPTED, 160)]
    assert source.clear() == 320 and source.marks(10**9) == [], "nothing was being said"
    source.push(ramp(160))
    again = source.read()
    assert again is not None and again.samples.any()
    assert source.marks(10**9) == [Mark(STARTED, 320)]


def test_a_full_buffer_waits_or_drops_the_oldest() -> None:
    waiting = PushSource(capacity_s=0.1)
    waiting.start()
    assert waiting.push(ramp(1600)) and waiting.room() == 0
    assert not waiting.push(ramp(160), timeout_s=0.05)
    pusher = threading.Thread(target=waiting.push, args=(ramp(1600),))
    pusher.start()
    for _ in range(20):
        waiting.read()
    pusher.join(10.0)
    assert not pusher.is_alive() and waiting.dropped_samples == 0

    dropping = PushSource(live_capacity_s=0.1)
    dropping.start()
    dropping.push_live(ramp(2000))
    assert dropping.dropped_samples == 480, "whole chunks go"
    chunk = dropping.read()
    assert chunk is not None and chunk.samples[0] == pytest.approx(481 / 1e6)


def test_a_cushion_waits_for_a_network() -> None:
    source = PushSource(cushion_s=0.02)
    source.start()
    source.push(ramp(160))
    first = source.read()
    source.push(ramp(160, 161))
    second = source.read()
    assert first is not None and not first.samples.any()
    assert second is not None and second.samples[0] == pytest.approx(1 / 1e6)


def test_stop_wakes_a_reader() -> None:
    source = PushSource(realtime=False)
    source.start()
    threading.Timer(0.1, source.stop).start()
    assert source.read() is None
    assert not source.push(ramp(160))


def test_clear_ends_a_push_that_waits() -> None:
    source = PushSource(capacity_s=0.1)
    source.start()
    done: list[bool] = []
    pusher = threading.Thread(target=lambda: done.append(source.push(ramp(16000))))
    pusher.start()
    while source.room():
        time.sleep(0.001)
    source.clear()
    pusher.join(10.0)
    assert done == [False] and source.room() == 1600, "the rest of what was cut off is not said afterwards"
