"""Where sound comes from: a file, the microphone, a pipe, or a program. Everything leaves here as 16 kHz mono float32.

A source is started, read chunk by chunk until ``read`` returns None, and stopped. Every chunk carries its place on
the sample clock and the time at which it was captured.
"""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np

from dfanerf_rt.audio.decode import load_audio
from dfanerf_rt.audio.microphone import AudioDevice, MicrophoneSource, list_devices, list_loudspeakers
from dfanerf_rt.audio.pcm import PcmSource
from dfanerf_rt.audio.push import PushSource
from dfanerf_rt.audio.returning import ReturningMicrophone
from dfanerf_rt.audio.ring import CHUNK_SAMPLES, SAMPLE_RATE_HZ, AudioChunk

__all__ = [
    "CHUNK_SAMPLES",
    "SAMPLE_RATE_HZ",
    "AudioChunk",
    "AudioDevice",
    "FileSource",
    "MicrophoneSource",
    "PcmSource",
    "PushSource",
    "ReturningMicrophone",
    "list_devices",
    "list_loudspeakers",
    "load_audio",
]


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
