"""Writes H.264 and AAC into one MP4 with sound and picture in step."""

from __future__ import annotations

import contextlib
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dfanerf_rt.errors import DfanerfError, ShapeError
from dfanerf_rt.files import atomic_path
from dfanerf_rt.live.mark import SYNTHETIC_COMMENT, draw_mark

if TYPE_CHECKING:
    from types import TracebackType

AAC_FRAME_SAMPLES = 1024
BT709 = 1


class Mp4Writer:
    """An MP4 file that appears under its name only when it is whole.

    Pictures go to their place on the time line: a place that got none repeats the picture before it, so dropped frames
    never shift sound against picture. Missing sound becomes silence in the same way. Used as a context manager: leaving
    it by an exception removes what was written.

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
        self.width, self.height, self.mark = width, height, mark
        self._closed = False
        self.frames = 0
        """Places on the time line filled so far."""
        self.repeated_frames = 0
        self.samples = 0
        """Samples of sound so far."""
        self._last: Any = None
        self._fifo = np.zeros(0, np.float32)
        self._rate_hz = sample_rate_hz
        self._stack = contextlib.ExitStack()
        try:
            self._temporary = self._stack.enter_context(atomic_path(self.path))
        except OSError as fault:
            raise DfanerfError(f"{self.path}: cannot be written ({fault.strerror or fault})") from fault
        try:
            self._container = av.open(str(self._temporary), "w", format="mp4", options={"movflags": "faststart"})
            self._container.metadata["comment"] = SYNTHETIC_COMMENT
            rate = Fraction(fps).limit_denominator(1001)
            video: Any = self._container.add_stream("libx264", rate=rate, options={"crf": str(crf), "preset": preset})
            video.width, video.height, video.pix_fmt = width + width % 2, height + height % 2, "yuv420p"
            video.time_base = video.codec_context.time_base = 1 / rate
            context = video.codec_context
            context.colorspace = context.color_primaries = context.color_trc = BT709
            context.color_range = 1
            self._video = video
            self._audio: Any = None
            if sample_rate_hz:
                self._audio = self._container.add_stream("aac", rate=sample_rate_hz, layout="mono")
                self._audio.bit_rate = 64_000 if sample_rate_hz <= 16_000 else 128_000
                self._audio.codec_context.time_base = Fraction(1, sample_rate_hz)
        except BaseException as fault:
            self._stack.__exit__(type(fault), fault, fault.__traceback__)
            raise

    def write_frame(self, image: np.ndarray, index: int | None = None) -> None:
        """Put a picture at its place on the time line.

        Args:
            image: (H, W, 3) uint8 sRGB; not changed.
            index: number of the place; None for the next. Places passed over repeat the last picture (the first
                picture of the file fills those before it); a place already filled is left as it is.
        """
        import av

        if image.shape != (self.height, self.width, 3) or image.dtype != np.uint8:
            raise ShapeError(f"picture is {image.shape} {image.dtype}, expected {(self.height, self.width, 3)} uint8")
        if index is not None and index < self.frames:
            return
        marked = np.pad(image, ((0, self.height % 2), (0, self.width % 2), (0, 0)), mode="edge")
        if self.mark:
            draw_mark(marked)
        frame = av.VideoFrame.from_ndarray(marked, format="rgb24").reformat(
            format="yuv420p", src_color_range="JPEG", dst_colorspace="ITU709", dst_color_range="MPEG"
        )
        if index is not None and index > self.frames:
            self._repeat(self._last or frame, index)
        self._encode(frame)
        self._last = frame

    def write_audio(self, samples: np.ndarray, start: int | None = None) -> None:
        """Append (n,) float32 samples in [-1, 1]; ``start`` is their place, where a gap before it becomes silence."""
        if self._audio is None:
            raise DfanerfError(f"{self.path}: was opened without sound")
        if start is not None and start > self.samples:
            samples = np.concatenate([np.zeros(start - self.samples, np.float32), samples])
        self.samples += len(samples)
        self._fifo = np.concatenate([self._fifo, samples.astype(np.float32, copy=False)])
        whole = len(self._fifo) // AAC_FRAME_SAMPLES * AAC_FRAME_SAMPLES
        for begin in range(0, whole, AAC_FRAME_SAMPLES):
            self._encode_audio(self._fifo[begin : begin + AAC_FRAME_SAMPLES], self.samples - len(self._fifo) + begin)
        self._fifo = self._fifo[whole:]

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
            if not self.frames:
                raise DfanerfError(f"{self.path}: no picture was rendered, so there is nothing to write")
            if self._audio is not None:
                if len(self._fifo):
                    self._encode_audio(self._fifo, self.samples - len(self._fifo))
                ends = self.samples * self._video.codec_context.framerate / self._rate_hz
                self._repeat(self._last, -int(-ends // 1))
                self._container.mux(self._audio.encode(None))
            self._container.mux(self._video.encode(None))
            self._container.close()
        except BaseException as fault:
            self.abort(fault)
            raise
        self._stack.close()

    def abort(self, reason: BaseException | None = None) -> None:
        """Remove what was written."""
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

    def _repeat(self, frame: Any, until: int) -> None:
        while self.frames < until:
            self._encode(frame)
            self.repeated_frames += 1

    def _encode(self, frame: Any) -> None:
        frame.pts = self.frames
        frame.time_base = self._video.codec_context.time_base
        self.frames += 1
        self._container.mux(self._video.encode(frame))

    def _encode_audio(self, samples: np.ndarray, start: int) -> None:
        import av

        frame: Any = av.AudioFrame.from_ndarray(samples[None], format="fltp", layout="mono")
        frame.sample_rate = self._rate_hz
        frame.pts = start
        frame.time_base = Fraction(1, self._rate_hz)
        self._container.mux(self._audio.encode(frame))
