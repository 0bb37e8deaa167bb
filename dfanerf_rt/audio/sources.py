"""Where sound comes from: any sound file, or the microphone. Everything leaves here as 16 kHz mono float32.

A source is started, read chunk by chunk until ``read`` returns None, and stopped. Every chunk carries its place on
the sample clock and the time at which it was captured.
"""

from __future__ import annotations

import struct
import threading
import time
from pathlib import Path

import numpy as np

from dfanerf_rt.audio.microphone import AudioDevice, MicrophoneSource, list_devices
from dfanerf_rt.audio.ring import CHUNK_SAMPLES, SAMPLE_RATE_HZ, AudioChunk
from dfanerf_rt.errors import AudioError

__all__ = [
    "CHUNK_SAMPLES",
    "SAMPLE_RATE_HZ",
    "AudioChunk",
    "AudioDevice",
    "FileSource",
    "MicrophoneSource",
    "list_devices",
    "load_audio",
]


def load_audio(path: Path | str) -> np.ndarray:
    """Read the sound of any sound or video file.

    Returns:
        (N,) float32 in [-1, 1], mono (channels averaged), resampled to 16 kHz.

    Raises:
        AudioError: missing, not a sound file, truncated, empty, without a sound track, or not finite.
    """
    path = Path(path)
    if not path.is_file():
        raise AudioError(f"{path}: no such file" if not path.exists() else f"{path}: not a file")
    if path.stat().st_size == 0:
        raise AudioError(f"{path}: the file is empty")
    _refuse_truncated_wav(path)
    samples, rate_hz = _read_soundfile(path) or _read_av(path)
    if samples.shape[0] == 0:
        raise AudioError(f"{path}: holds no sound (0 samples)")
    if not np.isfinite(samples).all():
        raise AudioError(f"{path}: holds samples that are NaN or infinite; write it again from its source")
    mono = samples.mean(axis=1, dtype=np.float32)
    if rate_hz != SAMPLE_RATE_HZ:
        import soxr

        mono = soxr.resample(mono, rate_hz, SAMPLE_RATE_HZ, quality="HQ")
        if not len(mono):
            raise AudioError(f"{path}: too short ({samples.shape[0]} samples at {rate_hz} Hz)")
    return np.ascontiguousarray(np.clip(mono, -1.0, 1.0), dtype=np.float32)


class FileSource:
    """A sound file as a live source, in 10 ms chunks.

    Args:
        sound: any file that :func:`load_audio` reads, or its result.
        realtime: hand each chunk over when a microphone would have captured it; otherwise at once.

    Raises:
        AudioError: from :func:`load_audio`.
    """

    def __init__(self, sound: Path | str | np.ndarray, realtime: bool = True) -> None:
        self.samples = sound if isinstance(sound, np.ndarray) else load_audio(sound)
        self.realtime = realtime
        self.dropped_samples = 0
        self._next = 0
        self._started_s = 0.0
        self._stopped = threading.Event()

    def start(self) -> None:
        """Set the sample clock to zero, now."""
        self._next = 0
        self._stopped.clear()
        self._started_s = time.monotonic()

    def read(self) -> AudioChunk | None:
        """The next chunk, or None at the end of the file or after :meth:`stop`."""
        if self._stopped.is_set() or self._next >= len(self.samples):
            return None
        start = self._next
        samples = self.samples[start : start + CHUNK_SAMPLES]
        captured_s = time.monotonic()
        if self.realtime:
            captured_s = self._started_s + (start + len(samples)) / SAMPLE_RATE_HZ
            if self._stopped.wait(max(captured_s - time.monotonic(), 0.0)):
                return None
        self._next = start + len(samples)
        return AudioChunk(samples, start, captured_s)

    def stop(self) -> None:
        """Make :meth:`read` return None from now on; may be called from any thread."""
        self._stopped.set()


def _refuse_truncated_wav(path: Path) -> None:
    """libsndfile quietly shortens a WAV whose data chunk promises more than the file holds; we do not."""
    size = path.stat().st_size
    with path.open("rb") as stream:
        head = stream.read(12)
        if head[:4] != b"RIFF" or head[8:] != b"WAVE":
            return
        while len(header := stream.read(8)) == 8:
            name, length = struct.unpack("<4sI", header)
            if name == b"data":
                held = size - stream.tell()
                # Writers into a pipe cannot know the length and leave 0xFFFFFFFF there.
                if length != 0xFFFFFFFF and held < length:
                    raise AudioError(f"{path}: truncated ({held} of {length} bytes of sound)")
                return
            stream.seek(length + length % 2, 1)
    raise AudioError(f"{path}: truncated or damaged WAV file (no sound in it)")


def _read_soundfile(path: Path) -> tuple[np.ndarray, int] | None:
    """(N, channels) float32 and the rate, or None where libsndfile does not know the format."""
    import soundfile

    try:
        with soundfile.SoundFile(str(path)) as stored:
            promised = stored.frames
            samples = stored.read(dtype="float32", always_2d=True)
            rate_hz = stored.samplerate
    except soundfile.LibsndfileError:
        return None
    if samples.shape[0] < promised - rate_hz // 10:
        raise AudioError(f"{path}: truncated ({samples.shape[0]} of {promised} samples)")
    return samples, rate_hz


def _read_av(path: Path) -> tuple[np.ndarray, int]:
    """(N, channels) float32 and the rate of the first sound track, by PyAV."""
    import av

    parts: list[np.ndarray] = []
    try:
        with av.open(str(path)) as container:
            if not container.streams.audio:
                raise AudioError(f"{path}: has no sound track")
            stream = container.streams.audio[0]
            promised_s = float(stream.duration * stream.time_base) if stream.duration and stream.time_base else 0.0
            rate_hz = stream.rate
            resampler = av.AudioResampler(format="fltp", layout=stream.layout, rate=rate_hz)
            for frame in container.decode(stream):
                parts.extend(piece.to_ndarray() for piece in resampler.resample(frame))
            parts.extend(piece.to_ndarray() for piece in resampler.resample(None))
    except (av.FFmpegError, ValueError) as fault:
        what = "truncated or damaged" if parts else "not a sound or video file"
        raise AudioError(f"{path}: {what} ({getattr(fault, 'strerror', None) or fault})") from fault
    samples = np.concatenate(parts, axis=1).T if parts else np.zeros((0, 1), np.float32)
    found_s = samples.shape[0] / rate_hz
    if parts and found_s < promised_s - max(0.2, 0.02 * promised_s):
        raise AudioError(f"{path}: truncated ({found_s:.1f} of {promised_s:.1f} s of sound)")
    return samples, rate_hz
