"""The live show to a streaming server, over RTMP."""

from __future__ import annotations

import contextlib
from typing import Any

from dfanerf_rt.audio.ring import SAMPLE_RATE_HZ, AudioChunk
from dfanerf_rt.errors import DfanerfError
from dfanerf_rt.live.stages import FPS, Frame
from dfanerf_rt.live.timeline import TimelineWriter

SCHEMES = ("rtmp://", "rtmps://")
STREAMED_RATE_HZ = 44_100
"""What players of FLV expect of AAC."""
VIDEO_OPTIONS = {"preset": "veryfast", "tune": "zerolatency", "crf": "23", "g": str(2 * FPS)}


class RtmpSink:
    """Streams H.264 and AAC in FLV. Sound and picture carry their pts, so a player shows them in step.

    Args:
        url: ``rtmp://HOST[:PORT]/APPLICATION/KEY``, or ``rtmps://``.
        width, height: size of the pictures, px.
        mark: draw the visible mark "synthetic".
        timeout_s: how long to wait for the server, at first and for every packet.

    Raises:
        DfanerfError: not such an address, or nobody answers there.
    """

    name = "rtmp"

    def __init__(self, url: str, width: int, height: int, mark: bool = True, timeout_s: float = 5.0) -> None:
        import av

        if not url.startswith(SCHEMES):
            raise DfanerfError(f"{url}: expected an address like rtmp://HOST/APPLICATION/KEY")
        # The last part is the key of the channel, which is nobody's business in a log.
        self.where = url.rsplit("/", 1)[0]
        try:
            self._container: Any = av.open(
                url, "w", format="flv", options={"flvflags": "no_duration_filesize"}, timeout=timeout_s
            )
            self.writer = TimelineWriter(
                self._container, self.where, width, height, FPS, SAMPLE_RATE_HZ, VIDEO_OPTIONS, mark, STREAMED_RATE_HZ
            )
            self._container.start_encoding()  # connects; without it the first packet would
        except (av.FFmpegError, OSError) as fault:
            raise DfanerfError(
                f"{self.where}: no streaming server answers ({_said(fault)}); is it running, and is the address right?"
            ) from fault

    def write_audio(self, chunk: AudioChunk) -> None:
        """Stream the sound at its place; raises :class:`DfanerfError` once the server is gone."""
        with self._told():
            self.writer.write_audio(chunk.samples, chunk.start)

    def write_frame(self, frame: Frame) -> None:
        """Stream the picture at its place; raises :class:`DfanerfError` once the server is gone."""
        with self._told():
            self.writer.write_frame(frame.image, frame.index)

    def close(self) -> None:
        """Send what is left, and say goodbye."""
        with self._told():
            self.writer.finish()

    def abort(self) -> None:
        """Hang up."""
        with contextlib.suppress(Exception):  # the server may be gone; that is why we are here
            self._container.close()

    @contextlib.contextmanager
    def _told(self) -> Any:
        import av

        try:
            yield
        except (av.FFmpegError, OSError) as fault:
            raise DfanerfError(f"{self.where}: the streaming server hung up ({_said(fault)})") from fault


def _said(fault: Exception) -> str:
    return str(getattr(fault, "strerror", None) or fault)
