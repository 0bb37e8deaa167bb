"""Sound that a program hands over as it has it, as a live source: at the pace of speech, silence where none waits."""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from dfanerf_rt.audio.ring import CHUNK_SAMPLES, SAMPLE_RATE_HZ, AudioChunk


class MarkKind(Enum):
    """What happens at a :class:`Mark`."""

    STARTED = "started"
    """The first sample of a segment."""
    ENDED = "ended"
    """One past the last sample of a segment that was said to the end."""
    INTERRUPTED = "interrupted"
    """One past the last sample of a segment that was cut off."""


@dataclass(frozen=True)
class Mark:
    """A place on the source's clock at which speech begins or ends."""

    kind: MarkKind
    sample: int


class PushSource:
    """A bounded buffer of sound that is read in chunks of 10 ms.

    A segment is what is pushed between two calls of :meth:`end_segment` (or :meth:`clear`): one utterance. In real time
    a chunk leaves every 10 ms by the clock, with silence where nothing waits, until :meth:`end`.

    Args:
        capacity_s: the most sound that waits.
        realtime: pace it; otherwise each chunk leaves when it is there, and no silence comes between.
        live_capacity_s: the most sound that waits where it comes from :meth:`push_live`.
        cushion_s: sound that has to wait before the first chunk after a silence leaves, against a network's jitter.
    """

    def __init__(
        self, capacity_s: float = 30.0, realtime: bool = True, live_capacity_s: float = 0.3, cushion_s: float = 0.0
    ) -> None:
        self.realtime = realtime
        self.dropped_samples = 0
        """Samples that went because :meth:`push_live` brought more than is spoken."""
        self.starved_samples = 0
        """Silence that was put into open segments because no sound was there in time."""
        self._capacity = max(round(capacity_s * SAMPLE_RATE_HZ), CHUNK_SAMPLES)
        self._cushion = min(round(cushion_s * SAMPLE_RATE_HZ), self._capacity // 2)
        self._live_capacity = min(max(round(live_capacity_s * SAMPLE_RATE_HZ), CHUNK_SAMPLES), self._capacity)
        self._changed = threading.Condition()
        self._parts: deque[NDArray[np.float32]] = deque()
        self._waiting = 0
        self._flowing = False
        self._ends: deque[int] = deque()
        """Places in the row of pushed samples at which segments end."""
        self._pushed = self._taken = 0
        self._segment_open = self._segment_heard = False
        self._marks: deque[Mark] = deque(maxlen=256)
        self._next = 0
        self._started_s = 0.0
        self._ended = self._stopped = False
        self._generation = 0
        """Counts calls of :meth:`clear`, which end a :meth:`push` that waits."""

    def start(self) -> None:
        """Set the sample clock to zero, now."""
        with self._changed:
            self._next = 0
            self._started_s = time.monotonic()
            self._stopped = False

    def push(self, samples: NDArray[np.float32], timeout_s: float | None = None) -> bool:
        """Append (n,) float32 samples in [-1, 1] at 16 kHz: speech that was made elsewhere and can wait.

        Where the buffer is full it waits, up to ``timeout_s``. False where that was not enough, or :meth:`clear`,
        :meth:`end` or :meth:`stop` came meanwhile; what had not been appended by then is gone.
        """
        deadline_s = None if timeout_s is None else time.monotonic() + timeout_s
        generation = self._generation
        for begin in range(0, len(samples), CHUNK_SAMPLES):
            part = samples[begin : begin + CHUNK_SAMPLES]
            with self._changed:
                while self._waiting + len(part) > self._capacity and self._takes(generation):
                    left_s = None if deadline_s is None else deadline_s - time.monotonic()
                    if left_s is not None and left_s <= 0:
                        return False
                    self._changed.wait(left_s)
                if not self._takes(generation):
                    return False
                self._append(part)
        return True

    def push_live(self, samples: NDArray[np.float32]) -> bool:
        """Append sound that is being spoken now, as :meth:`push`; never waits.

        Where more than ``live_capacity_s`` would wait, the oldest goes and is counted in :attr:`dropped_samples`.
        """
        with self._changed:
            if not self._takes(self._generation):
                return False
            for begin in range(0, len(samples), CHUNK_SAMPLES):
                self._append(samples[begin : begin + CHUNK_SAMPLES])
            while self._waiting > self._live_capacity:
                gone = len(self._parts.popleft())
                self._waiting -= gone
                self._taken += gone
                self.dropped_samples += gone
            return True

    def room(self) -> int:
        """Samples that :meth:`push` would take now without waiting or dropping."""
        return self._capacity - self._waiting

    @property
    def waiting_samples(self) -> int:
        """Samples that were pushed and not read yet."""
        return self._waiting

    def end_segment(self) -> None:
        """What was pushed so far is a whole utterance."""
        with self._changed:
            if not self._segment_open:
                return
            self._segment_open = False
            if self._taken < self._pushed:
                self._ends.append(self._pushed)
            elif self._segment_heard:
                self._segment_heard = False
                self._marks.append(Mark(MarkKind.ENDED, self._next))

    def clear(self) -> int:
        """Throw away what waits, and end the segment; returns the first sample of the clock that is silent for it."""
        with self._changed:
            if self._segment_heard:
                self._marks.append(Mark(MarkKind.INTERRUPTED, self._next))
            self._parts.clear()
            self._ends.clear()
            self._taken = self._pushed
            self._waiting = 0
            self._flowing = self._segment_open = self._segment_heard = False
            self._generation += 1
            self._changed.notify_all()
            return self._next

    def end(self) -> None:
        """Nothing more will be pushed: :meth:`read` gives what waits, and then None."""
        self.end_segment()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def stop(self) -> None:
        """Make :meth:`read` return None from now on; may be called from any thread."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def marks(self, until: int) -> list[Mark]:
        """Take the marks up to sample ``until`` of the clock."""
        with self._changed:
            passed = [mark for mark in self._marks if mark.sample <= until]
            self._marks = deque((mark for mark in self._marks if mark.sample > until), self._marks.maxlen)
            return passed

    def read(self) -> AudioChunk | None:
        """The next chunk; None at the end, or after :meth:`stop`."""
        with self._changed:
            captured_s = time.monotonic()
            if self.realtime:
                captured_s = self._started_s + (self._next + CHUNK_SAMPLES) / SAMPLE_RATE_HZ
                while not self._stopped and (wait_s := captured_s - time.monotonic()) > 0:
                    self._changed.wait(wait_s)
            else:
                self._changed.wait_for(lambda: self._waiting >= CHUNK_SAMPLES or self._ended or self._stopped)
            if self._stopped or (self._ended and not self._waiting):
                return None
            start = self._next
            samples = self._take()
            self._next = start + len(samples)
            self._changed.notify_all()
            return AudioChunk(samples, start, captured_s)

    def _takes(self, generation: int) -> bool:
        return not self._ended and not self._stopped and generation == self._generation

    def _append(self, part: NDArray[np.float32]) -> None:
        self._segment_open = True
        self._parts.append(part)
        self._pushed += len(part)
        self._waiting += len(part)
        self._changed.notify_all()

    def _take(self) -> NDArray[np.float32]:
        """10 ms of what waits, or silence; marks where segments begin and end in it."""
        out = np.zeros(CHUNK_SAMPLES, np.float32)
        whole = self._ended or bool(self._ends)
        if not self._flowing and (whole or self._waiting >= max(self._cushion, 1)):
            self._flowing = True
        filled = 0
        while self._flowing and self._parts and filled < CHUNK_SAMPLES:
            if not self._segment_heard:
                self._segment_heard = True
                self._marks.append(Mark(MarkKind.STARTED, self._next + filled))
            part = self._parts[0]
            n = min(len(part), CHUNK_SAMPLES - filled)
            if self._ends:
                n = min(n, self._ends[0] - self._taken)
            out[filled : filled + n] = part[:n]
            filled += n
            self._taken += n
            self._waiting -= n
            if n == len(part):
                self._parts.popleft()
            else:
                self._parts[0] = part[n:]
            if self._ends and self._taken >= self._ends[0]:
                self._ends.popleft()
                self._segment_heard = False
                self._marks.append(Mark(MarkKind.ENDED, self._next + filled))
        if not self._parts:
            self._flowing = False
            if self._segment_heard:
                self.starved_samples += CHUNK_SAMPLES - filled
            if not self.realtime:
                return out[:filled]
        return out
