"""Small videos made with PyAV: frame k shows k as a grey level, sound is a click at a known time."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

TIME_BASE = Fraction(1, 90_000)


def write_video(
    path: Path,
    pictures: Sequence[np.ndarray],
    times_s: Sequence[float],
    sound: np.ndarray | None = None,
    rate_hz: int = 48_000,
    sound_start_s: float = 0.0,
    sound_gap_s: tuple[float, float] | None = None,
) -> Path:
    """Write pictures (H, W, 3) uint8 at their times, lossless for grey levels, with PCM sound in Matroska.

    ``sound_gap_s`` leaves out the packets between two times without moving what follows.
    """
    height, width = pictures[0].shape[:2]
    with av.open(str(path), "w") as container:
        video = container.add_stream("ffv1" if path.suffix == ".mkv" else "mpeg4", rate=25)
        video.width, video.height = width, height
        video.pix_fmt = "yuv420p"
        video.time_base = video.codec_context.time_base = TIME_BASE if path.suffix == ".mkv" else Fraction(1, 25)
        audio = None
        if sound is not None:
            audio = container.add_stream("pcm_s16le" if path.suffix == ".mkv" else "aac", rate=rate_hz, layout="mono")
        for picture, time_s in zip(pictures, times_s, strict=True):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            frame.time_base = video.codec_context.time_base
            frame.pts = round(time_s / frame.time_base)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        if audio is not None and sound is not None:
            for start in range(0, len(sound), 960):
                if sound_gap_s is not None and sound_gap_s[0] <= start / rate_hz < sound_gap_s[1]:
                    continue
                block = (np.clip(sound[start : start + 960], -1, 1) * 32767).astype(np.int16)[None]
                chunk = av.AudioFrame.from_ndarray(block, format="s16", layout="mono")
                chunk.sample_rate = rate_hz
                chunk.time_base = Fraction(1, rate_hz)
                chunk.pts = start + round(sound_start_s * rate_hz)
                container.mux(audio.encode(chunk))
            container.mux(audio.encode(None))
    return path


def grey_pictures(levels: Sequence[int], height: int = 48, width: int = 64) -> list[np.ndarray]:
    """One even picture a level."""
    return [np.full((height, width, 3), level, np.uint8) for level in levels]


def click(duration_s: float, at_s: float, rate_hz: int = 48_000) -> np.ndarray:
    """Silence with a 10 ms tone burst at a known time."""
    samples = np.zeros(round(duration_s * rate_hz), np.float32)
    start, length = round(at_s * rate_hz), round(0.01 * rate_hz)
    samples[start : start + length] = 0.8 * np.sin(2 * np.pi * 1000 * np.arange(length) / rate_hz)
    return samples
