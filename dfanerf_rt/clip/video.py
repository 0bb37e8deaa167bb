"""Reading any video: pictures at a constant rate by presentation time, and the sound kept in step with them.

Time 0 is the presentation time of the first picture. Variable frame rates, gaps in the sound, sound that starts
early or late, rotated phone videos and pixels that are not square are all resolved here, so that later stages see
25 fps, square pixels and 16 kHz mono starting together.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dfanerf_rt.audio.intake import to_mono_16k
from dfanerf_rt.clip.format import SAMPLE_RATE_HZ
from dfanerf_rt.errors import AudioError, ClipError

if TYPE_CHECKING:
    import av
    from av.container import InputContainer

MAX_GAP_JITTER_S = 0.02
"""Presentation times of sound packets jitter by less than this; larger steps are real gaps or overlaps."""


@dataclass(frozen=True)
class VideoInfo:
    """What a video is, as it is displayed (after rotation and with square pixels)."""

    path: Path
    width: int
    height: int
    fps: float
    """The rate the frames are read at, not that of the file."""
    source_fps: float
    """Mean rate of the file; 0 where the file does not say."""
    duration_s: float
    """As declared by the file, 0 where it does not say; count the frames to be sure."""
    has_audio: bool


def probe_video(path: Path, fps: float = 25.0) -> VideoInfo:
    """Open ``path`` and decode one picture to learn its displayed size.

    Raises:
        ClipError: missing, not a video, or without a decodable picture.
    """
    with _open(path) as container:
        stream = _video_stream(path, container)
        first = next(_decode(path, container, stream), None)
        if first is None:
            raise ClipError(f"{path}: no picture in it can be decoded; a playable video is expected")
        height, width = _picture(first[1], stream).shape[:2]
        source_fps = float(stream.average_rate or 0.0)
        duration_s = 0.0
        if stream.duration is not None and stream.time_base is not None:
            duration_s = float(stream.duration * stream.time_base)
        elif container.duration is not None:
            duration_s = container.duration / 1e6
        return VideoInfo(path, width, height, fps, source_fps, duration_s, bool(container.streams.audio))


def read_video(path: Path, fps: float = 25.0) -> tuple[VideoInfo, Iterator[np.ndarray]]:
    """The video's facts, and its frames resampled to ``fps``.

    Frame k is the picture whose presentation time is nearest to k / fps after the first picture, so that a variable
    frame rate neither drifts nor stutters more than half a frame.

    Returns:
        Facts, and an iterator of (H, W, 3) uint8 sRGB pictures.

    Raises:
        ClipError: missing, not a video, or without a decodable picture.
    """
    info = probe_video(path, fps)
    return info, _resampled(info)


def read_audio(path: Path, n_frames: int | None = None, fps: float = 25.0, late_ms: float = 0.0) -> np.ndarray:
    """The sound from the first picture's time on: (N,) float32 in [-1, 1], 16 kHz mono.

    Sound before the first picture is cut off, a late start or a gap is filled with silence. With ``n_frames`` the
    sound is cut or padded to exactly that many frames. ``late_ms`` is how much later than their pictures the file plays
    all sounds; they are brought forward by as much.

    Raises:
        ClipError: no sound track, or one that cannot be decoded.
    """
    with _open(path) as container:
        stream = _video_stream(path, container)
        first = next(_decode(path, container, stream), None)
        if first is None:
            raise ClipError(f"{path}: no picture in it can be decoded; a playable video is expected")
        start_s = first[0]
    with _open(path) as container:
        if not container.streams.audio:
            raise ClipError(f"{path}: no sound track; choose a video with sound or pass --no-audio")
        samples, rate_hz, audio_start_s = _gather_audio(path, container)
    try:
        samples = to_mono_16k(samples, rate_hz)
    except AudioError as fault:
        raise ClipError(f"{path}: sound track: {fault}") from fault
    shift = round((audio_start_s - start_s - late_ms / 1000.0) * SAMPLE_RATE_HZ)
    samples = np.concatenate([np.zeros(shift, np.float32), samples]) if shift > 0 else samples[-shift:]
    if n_frames is not None:
        wanted = round(n_frames * SAMPLE_RATE_HZ / fps)
        samples = np.pad(samples[:wanted], (0, max(0, wanted - len(samples))))
    return samples


def _open(path: Path) -> InputContainer:
    import av

    if not Path(path).is_file():
        raise ClipError(f"{path}: no such file")
    try:
        container = av.open(str(path))
    except (av.error.FFmpegError, OSError, ValueError) as fault:
        raise ClipError(f"{path}: not a video that can be read ({fault.__class__.__name__})") from fault
    return container


def _video_stream(path: Path, container: InputContainer) -> av.VideoStream:
    if not container.streams.video:
        raise ClipError(f"{path}: not a video (it has no picture track)")
    stream = container.streams.video[0]
    stream.thread_type = "AUTO"
    return stream


def _decode(path: Path, container: InputContainer, stream: av.VideoStream) -> Iterator[tuple[float, av.VideoFrame]]:
    """Pictures with their times in seconds, strictly increasing; a damaged tail ends the video instead of failing."""
    import av

    rate = float(stream.average_rate or stream.guessed_rate or 25.0)
    previous: float | None = None
    packets = container.demux(stream)
    while True:
        try:
            frames = next(packets).decode()
        except StopIteration:
            return
        except av.error.EOFError:
            return
        except av.error.FFmpegError as fault:
            # Decoders name damage in many ways; what they cannot decode is bridged by the picture before.
            if previous is None:
                raise ClipError(f"{path}: no picture in it can be decoded ({fault.__class__.__name__})") from fault
            continue
        for frame in frames:
            time_s = frame.time
            if time_s is None:
                time_s = 0.0 if previous is None else previous + 1.0 / rate
            if previous is not None and time_s <= previous:
                continue
            previous = time_s
            yield time_s, frame


def _picture(frame: av.VideoFrame, stream: av.VideoStream) -> np.ndarray:
    """(H, W, 3) uint8 as displayed: square pixels, upright."""
    aspect = float(stream.sample_aspect_ratio or 1.0)
    if aspect <= 0 or abs(aspect - 1.0) < 0.01:
        picture = frame.to_ndarray(format="rgb24")
    else:
        width = max(2, round(frame.width * aspect / 2) * 2)
        picture = frame.reformat(width=width, height=frame.height, format="rgb24").to_ndarray()
    return np.ascontiguousarray(np.rot90(picture, round((frame.rotation or 0) / 90) % 4))


def _resampled(info: VideoInfo) -> Iterator[np.ndarray]:
    with _open(info.path) as container:
        stream = _video_stream(info.path, container)
        spacing_s = 1.0 / (info.source_fps or info.fps)
        start_s = 0.0
        held: tuple[float, av.VideoFrame] | None = None
        index = 0
        for time_s, frame in _decode(info.path, container, stream):
            if held is None:
                start_s = time_s
            else:
                spacing_s = time_s - held[0]
                picture: np.ndarray | None = None
                while start_s + index / info.fps < 0.5 * (held[0] + time_s):
                    picture = _same_size(info, _picture(held[1], stream)) if picture is None else picture
                    yield picture
                    index += 1
            held = (time_s, frame)
        if held is not None:
            n_frames = round((held[0] + min(spacing_s, 1.0) - start_s) * info.fps)
            picture = _same_size(info, _picture(held[1], stream))
            while index < n_frames:
                yield picture
                index += 1


def _same_size(info: VideoInfo, picture: np.ndarray) -> np.ndarray:
    if picture.shape[:2] != (info.height, info.width):
        raise ClipError(
            f"{info.path}: the picture changes size from {info.width}x{info.height} to "
            f"{picture.shape[1]}x{picture.shape[0]}; re-encode the video at one size"
        )
    return picture


def _gather_audio(path: Path, container: InputContainer) -> tuple[np.ndarray, int, float]:
    """Mono samples at the file's rate with gaps filled, the rate, and the time of the first sample in seconds."""
    import av

    stream = container.streams.audio[0]
    resampler: av.AudioResampler | None = None
    parts: list[np.ndarray] = []
    rate_hz, start_s, n_samples = 0, 0.0, 0
    try:
        for frame in container.decode(stream):
            if resampler is None:
                rate_hz = frame.sample_rate
                resampler = av.AudioResampler(format="flt", layout="mono", rate=rate_hz)
                start_s = frame.time or 0.0
            time_s = frame.time
            block = np.concatenate([part.to_ndarray()[0] for part in resampler.resample(frame)] or [np.zeros(0)])
            if time_s is not None:
                gap = round((time_s - start_s) * rate_hz) - n_samples
                if gap > MAX_GAP_JITTER_S * rate_hz:
                    parts.append(np.zeros(gap, np.float32))
                    n_samples += gap
                elif gap < -MAX_GAP_JITTER_S * rate_hz:
                    block = block[-gap:]
            parts.append(block.astype(np.float32))
            n_samples += len(block)
    except av.error.FFmpegError as fault:
        if not parts:
            raise ClipError(f"{path}: the sound track cannot be decoded ({fault.__class__.__name__})") from fault
    if resampler is None or n_samples == 0:
        raise ClipError(f"{path}: the sound track is empty; choose a video with sound or pass --no-audio")
    return np.concatenate(parts), rate_hz, start_s
