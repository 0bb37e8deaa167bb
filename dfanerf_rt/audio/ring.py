"""A bounded ring of samples between a sound callback and the thread that reads it."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass

import numpy as np

SAMPLE_RATE_HZ = 16_000
CHUNK_SAMPLES = 160
"""10 ms."""


@dataclass(frozen=True)
class AudioChunk:
    """A run of consecutive sound on the sample clock."""

    samples: np.ndarray
    """(n,) float32 in [-1, 1], mono; inside a source, (n, channels) as the device gave them."""
    start: int
    """Index of the first sample since the source was started; the clock of everything live."""
    captured_s: float
    """Monotonic time at which the last sample of the chunk was handed over by the device, seconds."""

    @property
    def end(self) -> int:
        """Index one past the last sample."""
        return self.start + len(self.samples)


class SampleRing:
    """Bounded ring of chunks: one writer that never waits, one reader that does.

    When the ring is full the oldest chunk goes and its samples are counted in :attr:`dropped_samples`. Sample
    indices go on counting over the gap, so the reader can see where sound is missing.

    Args:
        capacity_samples: the most samples held.
    """

    def __init__(self, capacity_samples: int) -> None:
        if capacity_samples < 1:
            raise ValueError(f"capacity_samples is {capacity_samples}, expected at least 1")
        self._capacity = capacity_samples
        self._chunks: deque[AudioChunk] = deque()
        self._held = 0
        self._written = 0
        self._closed = False
        self._ready = threading.Condition()
        self.dropped_samples = 0

    def write(self, samples: np.ndarray, captured_s: float) -> None:
        """Append (n,) or (n, channels) samples captured until ``captured_s``; drops the oldest when full."""
        if not len(samples):
            return
        with self._ready:
            self._chunks.append(AudioChunk(samples, self._written, captured_s))
            self._written += len(samples)
            self._held += len(samples)
            while self._held > self._capacity and len(self._chunks) > 1:
                oldest = self._chunks.popleft()
                self._held -= len(oldest.samples)
                self.dropped_samples += len(oldest.samples)
            self._ready.notify()

    def read(self, timeout_s: float) -> AudioChunk | None:
        """Take the oldest chunk, waiting up to ``timeout_s`` for one; None when there is none (see :attr:`closed`)."""
        with self._ready:
            if not self._chunks and not self._closed:
                self._ready.wait_for(lambda: bool(self._chunks) or self._closed, timeout_s)
            if not self._chunks:
                return None
            chunk = self._chunks.popleft()
            self._held -= len(chunk.samples)
            return chunk

    def wait(self, timeout_s: float) -> bool:
        """Wait up to ``timeout_s`` until there is something to read, and say whether there is."""
        with self._ready:
            return self._ready.wait_for(lambda: bool(self._chunks), timeout_s)

    def close(self) -> None:
        """Say that nothing more will be written; what is held can still be read."""
        with self._ready:
            self._closed = True
            self._ready.notify_all()

    @property
    def closed(self) -> bool:
        """Whether :meth:`close` was called."""
        return self._closed
