"""Several sinks at once: one that is slow, blocks or dies costs the others nothing."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pytest

from dfanerf_rt.audio.ring import AudioChunk
from dfanerf_rt.audio.sources import FileSource
from dfanerf_rt.errors import DfanerfError
from dfanerf_rt.live import outlets
from dfanerf_rt.live.outlets import Outlet
from dfanerf_rt.live.pipeline import LiveConfig, LivePipeline
from dfanerf_rt.live.stages import Frame
from tests.live.doubles import BarRenderer, CountingMotion, LevelEncoder, MemorySink


class StuckSink(MemorySink):
    """Takes one picture, and then nothing until it is let go."""

    def __init__(self) -> None:
        super().__init__("stuck")
        self.let_go = threading.Event()

    def write_frame(self, frame: Frame) -> None:
        super().write_frame(frame)
        self.let_go.wait(60.0)


class DyingSink(MemorySink):
    """Dies of its sixth picture."""

    def __init__(self) -> None:
        super().__init__("dying")

    def write_frame(self, frame: Frame) -> None:
        if len(self.frames) == 5:
            raise DfanerfError("disk full")
        super().write_frame(frame)


def picture(index: int) -> Frame:
    return Frame(index, np.zeros((2, 2, 3), np.uint8), 0.0, 0.0)


def sound(start: int) -> AudioChunk:
    return AudioChunk(np.zeros(160, np.float32), start, 0.0)


def pipeline(sinks: list[MemorySink], seconds: float, realtime: bool = True, **config: int) -> LivePipeline:
    source = FileSource(np.full(round(16000 * seconds), 0.5, np.float32), realtime)
    settings = LiveConfig(realtime=realtime, **config)  # type: ignore[arg-type]
    return LivePipeline(source, LevelEncoder(), CountingMotion(), BarRenderer(), sinks, settings)


def test_the_oldest_picture_goes_first_and_sound_last() -> None:
    sink = StuckSink()
    outlet = Outlet(sink, capacity=3, block=False)
    outlet.put(picture(0))
    deadline = time.monotonic() + 10
    while not sink.frames and time.monotonic() < deadline:
        time.sleep(0.001)
    for item in (picture(1), sound(0), picture(2)):  # the queue is full now
        outlet.put(item)
    outlet.put(sound(160))  # picture 1 goes
    outlet.put(sound(320))  # picture 2 goes
    outlet.put(sound(480))  # only sound is left: its oldest goes
    report = outlet.report()
    assert (report.dropped_frames, report.dropped_samples, report.queued) == (2, 160, 3)
    sink.write_audio = lambda chunk: None  # type: ignore[method-assign]
    sink.let_go.set()
    outlet.close()
    assert sink.frames == [0] and sink.ended == "closed" and outlet.fault is None


def test_a_sink_that_blocks_leaves_the_others_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outlets, "BLOCKED_AFTER_S", 0.3)
    stuck, whole = StuckSink(), MemorySink("whole")
    lines: list[dict[str, dict[str, dict[str, int]]]] = []
    report = pipeline([stuck, whole], 2.0, waiting_media=16).run(on_stats=lines.append)
    assert len(whole.frames) + report.dropped_frames == 50 and len(whole.frames) >= 40
    assert sum(map(len, whole.sound)) == 32000 and whole.ended == "closed"
    by_name = {row.name: row for row in report.sinks}
    assert by_name["whole"].fault is None and by_name["whole"].dropped_frames == 0
    assert "took nothing for" in str(by_name["stuck"].fault)
    assert by_name["stuck"].frames == 0 and by_name["stuck"].dropped_frames >= 20
    assert lines[-1]["sinks"]["stuck"]["queued"] == 16, "bounded"
    assert lines[-1]["sinks"]["whole"]["queued"] < 16
    stuck.let_go.set()


def test_a_sink_that_dies_leaves_the_others_whole() -> None:
    dying, whole = DyingSink(), MemorySink("whole")
    report = pipeline([dying, whole], 1.0, realtime=False).run()
    assert whole.frames == list(range(25)) and whole.ended == "closed"
    assert dying.frames == [0, 1, 2, 3, 4] and dying.ended == "aborted"
    assert [(row.name, row.fault) for row in report.sinks] == [("dying", "disk full"), ("whole", None)]


def test_when_the_last_sink_dies_the_run_ends_with_its_fault() -> None:
    began = time.monotonic()
    with pytest.raises(DfanerfError, match="disk full"):
        pipeline([DyingSink(), DyingSink()], 60.0).run()
    assert time.monotonic() - began < 20.0


def test_a_sink_that_cannot_finish_is_a_fault(tmp_path: Path) -> None:
    sink = MemorySink()

    def close() -> None:
        raise DfanerfError("no room for the index")

    sink.close = close  # type: ignore[method-assign]
    with pytest.raises(DfanerfError, match="no room"):
        pipeline([sink], 0.2, realtime=False).run()
    assert sink.ended == "aborted"


def test_without_a_sink_the_show_goes_on() -> None:
    assert pipeline([], 0.4, realtime=False).run().frames == 10
