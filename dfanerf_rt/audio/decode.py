"""Sound and video files of any kind → mono float32 at 16 kHz, in blocks, so that memory holds little but the result."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dfanerf_rt.audio.intake import SoundIntake
from dfanerf_rt.errors import AudioError

_BLOCK_SAMPLES = 1 << 16
# What libsndfile reads here. It also reads MP3, but believes a damaged header about the length, and complains on the
# process's standard error; FFmpeg does neither.
_SNDFILE_STARTS = (b"RIFF", b"RIFX", b"RF64", b"riff", b"FORM", b".snd", b"caff", b"fLaC", b"OggS")


def load_audio(path: Path | str, most_s: float = math.inf) -> NDArray[np.float32]:
    """Read the sound of any sound or video file.

    Args:
        path: of the file.
        most_s: a longer sound is refused, before more of it is in memory: a small file can hold hours.

    Returns:
        (N,) float32 in [-1, 1], mono, 16 kHz: what :class:`~dfanerf_rt.audio.intake.SoundIntake` makes of it.

    Raises:
        AudioError: missing, not a sound file, truncated, empty, without a sound track, not finite, longer
            than ``most_s``, or of a rate below 4 or above 768 kHz.
    """
    path = Path(path)
    if not path.is_file():
        raise AudioError(f"{path}: no such file" if not path.exists() else f"{path}: not a file")
    try:
        return _decoded(path, most_s)
    except (AudioError, OSError) as fault:
        raise AudioError(f"{path}: {fault}") from fault


def _decoded(path: Path, most_s: float) -> NDArray[np.float32]:
    with path.open("rb") as stream:
        start = stream.read(4)
    if not start:
        raise AudioError("the file is empty")
    _refuse_truncated_wav(path)
    _refuse_truncated_ogg(path)
    samples = _read_soundfile(path, most_s) if start in _SNDFILE_STARTS else None
    if samples is None:
        samples = _read_av(path, most_s)
    if not len(samples):
        raise AudioError("holds no sound (0 samples at 16 kHz)")
    return samples


def _refuse_long(intake: SoundIntake, most_s: float) -> None:
    if intake.n_taken > most_s * intake.rate_hz:
        raise AudioError(f"holds more than {most_s:g} s of sound")


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
                    raise AudioError(f"truncated ({held} of {length} bytes of sound)")
                return
            stream.seek(length + length % 2, 1)
    raise AudioError("truncated or damaged WAV file (no sound in it)")


def _refuse_truncated_ogg(path: Path) -> None:
    """An Ogg file is a row of pages, of which the last says that it is; libsndfile does not miss it."""
    size, is_last = path.stat().st_size, True
    with path.open("rb") as stream:
        while (header := stream.read(27))[:4] == b"OggS":
            is_last = len(header) == 27 and bool(header[5] & 4)
            segments = stream.read(header[26]) if len(header) == 27 else b""
            if stream.seek(sum(segments), 1) > size:
                is_last = False
    if not is_last:
        raise AudioError("truncated (the last page of an Ogg file is missing; if it was recorded so, encode it again)")


def _read_soundfile(path: Path, most_s: float) -> NDArray[np.float32] | None:
    """(n,) at 16 kHz, or None where libsndfile cannot read the file."""
    import soundfile

    try:
        with soundfile.SoundFile(str(path)) as stored:
            intake = SoundIntake(stored.samplerate, stored.channels)
            parts = []
            while len(block := stored.read(_BLOCK_SAMPLES, dtype="float32", always_2d=True)):
                parts.append(intake.push(block))
                _refuse_long(intake, most_s)
            if intake.n_taken < stored.frames - intake.rate_hz // 10:
                raise AudioError(f"truncated ({intake.n_taken} of {stored.frames} samples)")
    except soundfile.LibsndfileError:
        return None
    return np.concatenate([*parts, intake.flush()])


def _read_av(path: Path, most_s: float) -> NDArray[np.float32]:
    """(n,) at 16 kHz from the first sound track, by PyAV."""
    import av

    intake: SoundIntake | None = None
    parts = []
    try:
        with av.open(str(path)) as container:
            if not container.streams.audio:
                raise AudioError("has no sound track")
            stream = container.streams.audio[0]
            if stream.codec_context is None:
                raise AudioError("its sound track is of an unknown kind")
            promised_s = float(stream.duration * stream.time_base) if stream.duration and stream.time_base else 0.0
            for block in _av_blocks(container, stream):
                intake = intake or SoundIntake(stream.rate, block.shape[1])
                parts.append(intake.push(block))
                _refuse_long(intake, most_s)
    except (av.FFmpegError, ValueError) as fault:
        what = "truncated or damaged" if intake else "not a sound or video file"
        raise AudioError(f"{what} ({getattr(fault, 'strerror', None) or fault})") from fault
    if intake is None:
        return np.zeros(0, np.float32)
    found_s = intake.n_taken / intake.rate_hz
    if found_s < promised_s - max(0.2, 0.02 * promised_s):
        raise AudioError(f"truncated ({found_s:.1f} of {promised_s:.1f} s of sound)")
    return np.concatenate([*parts, intake.flush()])


def _av_blocks(container: Any, stream: Any) -> Iterator[NDArray[Any]]:
    """(N, channels), all at the rate and with the channels that the container states."""
    import av

    resampler = av.AudioResampler(format="fltp", layout=stream.layout, rate=stream.rate)
    for frame in container.decode(stream):
        for piece in resampler.resample(frame):
            yield piece.to_ndarray().T
    for piece in resampler.resample(None):
        yield piece.to_ndarray().T
