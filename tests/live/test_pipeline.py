"""The live pipeline with cheap stages: order, clock, drops, faults, statistics."""

from __future__ import annotations

import gc
import threading
import time
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from dfanerf_rt.audio.ring import AudioChunk
from dfanerf_rt.audio.sources import FileSource, load_audio
from dfanerf_rt.clip.format import write_wav
from dfanerf_rt.errors import AudioError, DfanerfError
from dfanerf_rt.live.frozen import frozen_garbage
from dfanerf_rt.live.pipeline import LiveConfig, LivePipeline
from dfanerf_rt.live.sinks.mp4 import Mp4Sink
from tests.live.doubles import BarRenderer, CountingMotion, LevelEncoder, MemorySink

STATS_KEYS = [
    "t_s",
    "frames",
    "fps",
    "latency_ms_p50",
    "latency_ms_p95",
    "dropped_frames",
    "dropped_audio_samples",
    "av_offset_ms",
    "rss_mb",
]


def clicks(path: Path, seconds: float, every_s: float = 0.4) -> np.ndarray:
    """A loud 10 ms burst at the beginning of every ``every_s``."""
    samples = np.zeros(round(seconds * 16000), np.float32)
    for start in range(0, len(samples), round(every_s * 16000)):
        samples[start : start + 160] = 0.5
    write_wav(path, samples)
    return samples


def make(path: Path, realtime: bool, **parts):  # type: ignore[no-untyped-def]
    sink = MemorySink()
    renderer = parts.pop("renderer", BarRenderer())
    encoder = parts.pop("encoder", LevelEncoder())
    source = parts.pop("source", None) or FileSource(path, realtime)
    return (
        LivePipeline(source, encoder, CountingMotion(), renderer, [sink], LiveConfig(realtime=realtime, **parts)),
        sink,
        renderer,
    )


def test_fast_renders_every_frame_once_in_order(tmp_path: Path) -> None:
    samples = clicks(tmp_path / "a.wav", 2.01)
    pipeline, sink, renderer = make(tmp_path / "a.wav", realtime=False, encoder=LevelEncoder(lookahead_frames=3))
    report = pipeline.run()
    assert sink.frames == list(range(51))  # 2.01 s = 50.25 frames
    assert [index for index, level in enumerate(sink.levels) if level] == [0, 10, 20, 30, 40, 50]
    assert [eyes for _, eyes in renderer.folded] == list(range(51))
    np.testing.assert_array_equal(np.concatenate(sink.sound), samples)
    assert (report.frames, report.dropped_frames, report.dropped_audio_samples) == (51, 0, 0)
    assert sink.ended == "closed"


def test_realtime_keeps_time_and_measures_latency(tmp_path: Path) -> None:
    clicks(tmp_path / "a.wav", 2.0)
    pipeline, sink, _ = make(tmp_path / "a.wav", realtime=True)
    lines: list[dict[str, object]] = []
    report = pipeline.run(on_stats=lines.append)
    assert report.frames + report.dropped_frames == 50 and report.frames >= 45, "a busy machine may cost a few"
    assert sink.frames == sorted(set(sink.frames))
    assert 1.9 < report.wall_s < 2.5
    # A frame is complete 40 ms after its first sample; the rest is threads.
    assert 40.0 <= report.latency_ms_p50 < 70.0
    assert [list(line)[: len(STATS_KEYS)] for line in lines] == [STATS_KEYS] * len(lines)
    assert len(lines) == 2 and lines[0]["t_s"] == pytest.approx(1.0, abs=0.15)
    assert lines[0]["av_offset_ms"] == pytest.approx(0.0, abs=10.0)
    assert lines[1]["fps"] == pytest.approx(25.0, abs=5.0)


def test_a_slow_renderer_drops_frames_and_stays_close(tmp_path: Path) -> None:
    clicks(tmp_path / "a.wav", 2.0)
    pipeline, sink, _ = make(tmp_path / "a.wav", realtime=True, renderer=BarRenderer(render_s=0.1))
    lines: list[dict[str, object]] = []
    report = pipeline.run(on_stats=lines.append)
    assert report.frames + report.dropped_frames == 50
    assert 15 <= report.frames <= 21
    assert report.fps == pytest.approx(report.frames / 2.0)
    assert report.latency_ms_p95 < 300.0, "late frames are dropped, not queued"
    assert sink.frames == sorted(set(sink.frames))
    assert sum(map(len, sink.sound)) == 32000
    # About one place in two or three shows its own picture; the others one that is 40 or 80 ms old.
    assert isinstance(lines[0]["av_offset_ms"], float) and -60.0 < lines[0]["av_offset_ms"] < -10.0


def test_a_machine_that_is_always_late_shows_a_picture_now_and_then(tmp_path: Path) -> None:
    clicks(tmp_path / "a.wav", 2.0)
    source = FileSource(tmp_path / "a.wav", True)
    read = source.read

    def late() -> AudioChunk | None:
        chunk = read()
        return chunk and replace(chunk, captured_s=chunk.captured_s - 1.0)

    source.read = late  # type: ignore[method-assign]
    pipeline, sink, _ = make(tmp_path / "a.wav", realtime=True, source=source)
    report = pipeline.run()
    assert sink.frames[0] == 0 and 3 <= report.frames <= 5, "the first, and one each half second"
    assert report.frames + report.dropped_frames == 50 and sum(map(len, sink.sound)) == 32000


def test_a_slow_sink_loses_pictures_and_no_sound(tmp_path: Path) -> None:
    samples = clicks(tmp_path / "a.wav", 2.0)
    pipeline, sink, _ = make(tmp_path / "a.wav", realtime=True, waiting_media=32)
    write = sink.write_frame
    sink.write_frame = lambda frame: (time.sleep(0.1), write(frame))[1]  # type: ignore[method-assign, assignment]
    report = pipeline.run()
    np.testing.assert_array_equal(np.concatenate(sink.sound), samples)
    assert report.frames + report.dropped_frames == 50
    assert len(sink.frames) + report.sinks[0].dropped_frames == report.frames and report.sinks[0].dropped_frames > 10


def test_what_is_loaded_is_left_to_the_collector_when_the_last_has_ended() -> None:
    with frozen_garbage():
        with frozen_garbage():
            assert gc.get_freeze_count() > 0
        assert gc.get_freeze_count() > 0, "the first goes on"
    assert gc.get_freeze_count() == 0


def test_duration_and_stop(tmp_path: Path) -> None:
    clicks(tmp_path / "a.wav", 3.0)
    pipeline, sink, _ = make(tmp_path / "a.wav", realtime=False)
    pipeline.run(duration_s=0.5)
    assert len(sink.frames) == 13 and sum(map(len, sink.sound)) == 8000

    pipeline, sink, _ = make(tmp_path / "a.wav", realtime=True)
    threading.Timer(0.5, pipeline.stop).start()
    report = pipeline.run()
    assert report.sound_s == pytest.approx(0.5, abs=0.15)
    assert len(sink.frames) == -(-sum(map(len, sink.sound)) // 640) and sink.ended == "closed"


class BrokenError(Exception):
    """A fault of ours."""


def test_a_fault_of_the_renderer_stops_all_and_is_raised(tmp_path: Path) -> None:
    clicks(tmp_path / "a.wav", 20.0)
    renderer = BarRenderer()
    pipeline, sink, _ = make(tmp_path / "a.wav", realtime=True, renderer=renderer)
    draw = renderer.render

    def render(out: torch.Tensor | None = None) -> torch.Tensor:
        if len(renderer.folded) == 6:
            raise BrokenError("no picture")
        return draw(out)

    renderer.render = render  # type: ignore[method-assign]
    began = time.monotonic()
    with pytest.raises(BrokenError, match="no picture"):
        pipeline.run()
    assert time.monotonic() - began < 5.0
    assert sink.frames == [0, 1, 2, 3, 4] and sink.ended == "closed"


def test_a_fault_of_a_sink_aborts_it(tmp_path: Path) -> None:
    clicks(tmp_path / "a.wav", 5.0)
    pipeline, sink, _ = make(tmp_path / "a.wav", realtime=False)

    def full(frame: object) -> None:
        raise DfanerfError("disk full")

    sink.write_frame = full  # type: ignore[method-assign]
    with pytest.raises(DfanerfError, match="disk full"):
        pipeline.run()
    assert sink.ended == "aborted"


def test_a_fault_of_the_source_keeps_what_was_heard(tmp_path: Path) -> None:
    clicks(tmp_path / "a.wav", 2.0)
    source = FileSource(tmp_path / "a.wav", realtime=False)
    read = source.read

    def unplugged():  # type: ignore[no-untyped-def]
        chunk = read()
        if chunk and chunk.start >= 8000:
            raise AudioError("microphone unplugged")
        return chunk

    source.read = unplugged  # type: ignore[method-assign]
    pipeline, sink, _ = make(tmp_path / "a.wav", realtime=False, source=source)
    with pytest.raises(AudioError, match="unplugged"):
        pipeline.run()
    assert sink.frames == list(range(12)) and sink.ended == "closed"
    assert sum(map(len, sink.sound)) == 8000


def test_an_encoder_that_never_answers_is_a_fault(tmp_path: Path) -> None:
    clicks(tmp_path / "a.wav", 0.2)
    pipeline, _, _ = make(tmp_path / "a.wav", realtime=False, encoder=LevelEncoder(lookahead_frames=1000))
    with pytest.raises(RuntimeError, match="0 of 5 frames"):
        pipeline.run()


def flashes_and_clicks(path: Path) -> tuple[list[float], list[float]]:
    """Times at which a file turns white, and at which it clicks, seconds."""
    with av.open(str(path)) as container:
        white = [(float(f.time), f.to_ndarray(format="gray").mean() > 128) for f in container.decode(video=0)]
    flashes = [
        time_s for (time_s, now), (_, before) in zip(white, [(0.0, False), *white], strict=False) if now > before
    ]
    loud = np.flatnonzero(np.abs(load_audio(path)) > 0.2)
    return flashes, [start / 16000 for start in loud[np.diff(loud, prepend=-9999) > 1600]]


def test_the_file_is_in_step_where_nothing_is_dropped(tmp_path: Path) -> None:
    clicks(tmp_path / "a.wav", 4.0)
    sink = Mp4Sink(tmp_path / "a.mp4", 64, 48)
    source = FileSource(tmp_path / "a.wav", realtime=False)
    config = LiveConfig(realtime=False)
    LivePipeline(source, LevelEncoder(2), CountingMotion(), BarRenderer(), [sink], config).run()
    flashes, heard = flashes_and_clicks(tmp_path / "a.mp4")
    assert heard == pytest.approx(np.arange(10) * 0.4, abs=0.003)
    assert flashes == pytest.approx(heard, abs=0.003)


def test_the_file_stays_in_step_where_frames_are_dropped(tmp_path: Path) -> None:
    samples = np.zeros(48000, np.float32)
    for start in (0, 16000, 32000):  # tones of half a second: even half of the frames show them
        samples[start : start + 8000] = 0.5 * np.sin(np.arange(8000) * 0.3)
    write_wav(tmp_path / "a.wav", samples)
    sink = Mp4Sink(tmp_path / "a.mp4", 64, 48)
    source = FileSource(tmp_path / "a.wav")
    pipeline = LivePipeline(source, LevelEncoder(), CountingMotion(), BarRenderer(render_s=0.09), [sink])
    report = pipeline.run()
    assert report.dropped_frames > 20
    flashes, heard = flashes_and_clicks(tmp_path / "a.mp4")
    assert heard == pytest.approx([0.0, 1.0, 2.0], abs=0.003)
    late_s = np.array(flashes) - heard
    assert len(flashes) == 3 and late_s.min() > -0.003 and late_s.max() < 0.2, "late by held pictures, never drifting"
    assert sink.writer.frames == 75
    assert sink.writer.repeated_frames == 75 - report.frames
