"""Encodes pictures and sound into one container, each at its place on the time line."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np

from dfanerf_rt.errors import DfanerfError, ShapeError
from dfanerf_rt.live.mark import SYNTHETIC_COMMENT, draw_mark

AAC_FRAME_SAMPLES = 1024
BT709 = 1


class TimelineWriter:
    """H.264 and AAC in step, into a container that somebody else opened.

    Pictures go to their place on the time line: a place that got none repeats the picture before it, so dropped frames
    never shift sound against picture. Missing sound becomes silence in the same way.

    Args:
        container: PyAV's output container, with no stream yet.
        where: what messages call it.
        width, height: size of the pictures; odd sizes are padded by one repeated column or row, as H.264 wants.
        fps: pictures a second.
        sample_rate_hz: rate of the sound; 0 for silence.
        video_options: x264's.
        mark: draw the visible mark "synthetic". The comment in the metadata is always written.
        encoded_rate_hz: rate of the sound in the container; None leaves it as it is.
    """

    def __init__(
        self,
        container: Any,
        where: str,
        width: int,
        height: int,
        fps: float,
        sample_rate_hz: int,
        video_options: dict[str, str],
        mark: bool,
        encoded_rate_hz: int | None = None,
    ) -> None:
        import av

        self.where = where
        self.width, self.height, self.mark = width, height, mark
        self.frames = 0
        """Places on the time line filled so far."""
        self.repeated_frames = 0
        self.samples = 0
        """Samples of sound so far."""
        self._container = container
        self._last: Any = None
        self._fifo = np.zeros(0, np.float32)
        self._rate_hz = sample_rate_hz
        container.metadata["comment"] = SYNTHETIC_COMMENT
        rate = Fraction(fps).limit_denominator(1001)
        video: Any = container.add_stream("libx264", rate=rate, options=video_options)
        video.width, video.height, video.pix_fmt = width + width % 2, height + height % 2, "yuv420p"
        video.time_base = video.codec_context.time_base = 1 / rate
        context = video.codec_context
        context.colorspace = context.color_primaries = context.color_trc = BT709
        context.color_range = 1
        self._video = video
        self._audio: Any = None
        self._resampler: Any = None
        if sample_rate_hz:
            encoded = encoded_rate_hz or sample_rate_hz
            self._audio = container.add_stream("aac", rate=encoded, layout="mono")
            self._audio.bit_rate = 64_000 if encoded <= 16_000 else 128_000
            self._audio.codec_context.time_base = Fraction(1, encoded)
            if encoded != sample_rate_hz:
                self._resampler = av.AudioResampler("fltp", "mono", encoded, frame_size=AAC_FRAME_SAMPLES)

    def write_frame(self, image: np.ndarray, index: int | None = None) -> None:
        """Put a picture at its place on the time line.

        Args:
            image: (H, W, 3) uint8 sRGB; not changed.
            index: number of the place; None for the next. Places passed over repeat the last picture (the first
                picture of all fills those before it); a place already filled is left as it is.

        Raises:
            ShapeError: a picture of another size or type.
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
        """Append (n,) float32 samples in [-1, 1]; ``start`` is their place, where a gap before it becomes silence.

        Raises:
            DfanerfError: opened without sound.
        """
        if self._audio is None:
            raise DfanerfError(f"{self.where}: was opened without sound")
        if start is not None and start > self.samples:
            samples = np.concatenate([np.zeros(start - self.samples, np.float32), samples])
        self.samples += len(samples)
        self._fifo = np.concatenate([self._fifo, samples.astype(np.float32, copy=False)])
        whole = len(self._fifo) // AAC_FRAME_SAMPLES * AAC_FRAME_SAMPLES
        for begin in range(0, whole, AAC_FRAME_SAMPLES):
            self._encode_audio(self._fifo[begin : begin + AAC_FRAME_SAMPLES], self.samples - len(self._fifo) + begin)
        self._fifo = self._fifo[whole:]

    def finish(self) -> None:
        """Write what the encoders hold, and close the container. The last picture is held until the sound ends.

        Raises:
            DfanerfError: no picture was written.
        """
        if not self.frames:
            raise DfanerfError(f"{self.where}: no picture was rendered, so there is nothing to write")
        if self._audio is not None:
            if len(self._fifo):
                self._encode_audio(self._fifo, self.samples - len(self._fifo))
            ends = self.samples * self._video.codec_context.framerate / self._rate_hz
            self._repeat(self._last, -int(-ends // 1))
            if self._resampler is not None:
                for piece in self._resampler.resample(None):
                    self._container.mux(self._audio.encode(piece))
            self._container.mux(self._audio.encode(None))
        self._container.mux(self._video.encode(None))
        self._container.close()

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
        pieces = [frame] if self._resampler is None else self._resampler.resample(frame)
        for piece in pieces:
            self._container.mux(self._audio.encode(piece))
