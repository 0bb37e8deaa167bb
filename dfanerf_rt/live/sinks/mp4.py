"""The live show as a file."""

from __future__ import annotations

from pathlib import Path

from dfanerf_rt.audio.ring import SAMPLE_RATE_HZ, AudioChunk
from dfanerf_rt.live.mp4 import Mp4Writer
from dfanerf_rt.live.stages import FPS, Frame


class Mp4Sink:
    """Records frames at their pts and the sound beside them; arguments as of :class:`Mp4Writer`."""

    name = "mp4"

    def __init__(self, path: Path | str, width: int, height: int, mark: bool = True, preset: str = "veryfast") -> None:
        self.writer = Mp4Writer(path, width, height, FPS, SAMPLE_RATE_HZ, mark=mark, preset=preset)

    def write_audio(self, chunk: AudioChunk) -> None:
        """Append the sound at its place."""
        self.writer.write_audio(chunk.samples, chunk.start)

    def write_frame(self, frame: Frame) -> None:
        """Append the picture at its place."""
        self.writer.write_frame(frame.image, frame.index)

    def close(self) -> None:
        """Finish the file."""
        self.writer.close()

    def abort(self) -> None:
        """Remove the file."""
        self.writer.abort()
