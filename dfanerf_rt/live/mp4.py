"""Writes H.264 and AAC into one MP4 with sound and picture in step."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dfanerf_rt.errors import DfanerfError
from dfanerf_rt.files import atomic_path
from dfanerf_rt.live.timeline import TimelineWriter

if TYPE_CHECKING:
    from types import TracebackType


class Mp4Writer(TimelineWriter):
    """An MP4 file that appears under its name only when it is whole.

    Pictures and sound go to their places as :class:`TimelineWriter` says. Used as a context manager: leaving it by an
    exception removes what was written.

    Args:
        path: where the file goes; an old one is replaced at the end.
        width, height: size of the pictures; odd sizes are padded by one repeated column or row, as H.264 wants.
        fps: pictures a second.
        sample_rate_hz: rate of the sound; 0 for a silent file.
        crf: x264's constant quality, lower is better; 18 is visually lossless.
        preset: x264's speed.
        mark: draw the visible mark "synthetic". The comment in the metadata is always written.

    Raises:
        DfanerfError: the folder cannot be written.
    """

    def __init__(
        self,
        path: Path | str,
        width: int,
        height: int,
        fps: float = 25.0,
        sample_rate_hz: int = 16_000,
        crf: int = 18,
        preset: str = "veryfast",
        mark: bool = True,
    ) -> None:
        import av

        self.path = Path(path)
        self._closed = False
        self._stack = contextlib.ExitStack()
        try:
            temporary = self._stack.enter_context(atomic_path(self.path))
        except OSError as fault:
            raise DfanerfError(f"{self.path}: cannot be written ({fault.strerror or fault})") from fault
        try:
            container: Any = av.open(str(temporary), "w", format="mp4", options={"movflags": "faststart"})
            video_options = {"crf": str(crf), "preset": preset}
            super().__init__(container, str(self.path), width, height, fps, sample_rate_hz, video_options, mark)
        except BaseException as fault:
            self._stack.__exit__(type(fault), fault, fault.__traceback__)
            raise

    def close(self) -> None:
        """Finish the file and move it to its name; a second call does nothing. The last picture is held until the
        sound ends.

        Raises:
            DfanerfError: no picture was written; the file is removed.
        """
        if self._closed:
            return
        self._closed = True
        try:
            self.finish()
        except BaseException as fault:
            self.abort(fault)
            raise
        self._stack.close()

    def abort(self, reason: BaseException | None = None) -> None:
        """Remove what was written."""
        self._closed = True
        reason = reason or DfanerfError(f"{self.path}: given up")
        with contextlib.suppress(Exception):  # a broken container cannot be closed; that is why we are here
            self._container.close()
        self._stack.__exit__(type(reason), reason, reason.__traceback__)

    def __enter__(self) -> Mp4Writer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        if fault is None:
            self.close()
        else:
            self.abort(fault)
