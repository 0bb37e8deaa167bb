"""The sinks that a person asked for, opened together or not at all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dfanerf_rt.live.sinks.camera import CameraSink
from dfanerf_rt.live.sinks.mp4 import Mp4Sink
from dfanerf_rt.live.sinks.rtmp import RtmpSink
from dfanerf_rt.live.sinks.voice import VoiceSink
from dfanerf_rt.live.sinks.window import WindowSink
from dfanerf_rt.live.stages import Sink


@dataclass(frozen=True)
class SinkChoice:
    """Where picture and sound go; several at once."""

    out: Path | None = None
    """An MP4 with sound."""
    window: bool = False
    voice: bool = False
    """The loudspeaker, as late as the lips."""
    voice_device: str | None = None
    rtmp: str | None = None
    """Address of a streaming server."""
    camera: bool = False
    camera_device: str | None = None
    mark: bool = True
    """Draw the visible mark "synthetic"."""


def open_sinks(choice: SinkChoice, width: int, height: int, on_close: Callable[[], None]) -> list[Sink]:
    """Open what was chosen, for pictures of this size.

    Args:
        choice: see :class:`SinkChoice`.
        width, height: px.
        on_close: called when the person closes the window.

    Raises:
        DfanerfError: one cannot be opened, with the reason and what to do; none is open then.
    """
    sinks: list[Sink] = []
    try:
        if choice.window:
            sinks.append(WindowSink("dfanerf-live", on_close, choice.mark))
        if choice.voice:
            sinks.append(VoiceSink(choice.voice_device))
        if choice.camera:
            sinks.append(CameraSink(width, height, choice.camera_device, choice.mark))
        if choice.rtmp is not None:
            sinks.append(RtmpSink(choice.rtmp, width, height, choice.mark))
        if choice.out is not None:
            sinks.append(Mp4Sink(choice.out, width, height, choice.mark))
    except BaseException:
        for sink in sinks:
            sink.abort()
        raise
    return sinks
