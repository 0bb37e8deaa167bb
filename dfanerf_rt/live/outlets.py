"""One sink in a thread of its own, so that a sink that is slow, blocks or dies costs the others nothing.

::

    deliver ─▶ [sound and pictures, bounded] ─▶ thread ─▶ sink
"""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import Any

from dfanerf_rt.audio.ring import AudioChunk
from dfanerf_rt.live.stages import Frame, Sink

BLOCKED_AFTER_S = 5.0
"""A sink that has taken nothing for so long, though something waits, is given up when the show ends."""
FINISHING_S = 60.0
"""What a sink may take to finish: a long file is copied once to bring its index to its front."""


@dataclass(frozen=True)
class SinkReport:
    """One sink's part of a run in figures."""

    name: str
    frames: int
    """Pictures that it has taken."""
    dropped_frames: int
    """Pictures that it was too slow for."""
    dropped_samples: int
    """Samples of sound that it was too slow for, after all waiting pictures had gone."""
    queued: int
    """Pictures and chunks of sound that wait for it now."""
    fault: str | None
    """Why it ended early; None where it did not."""

    def as_json(self) -> dict[str, Any]:
        """As a row of ``--stats``."""
        return {key: value for key, value in vars(self).items() if key != "name"}


class Outlet:
    """Feeds one sink from a bounded queue. All calls to the sink come from the outlet's thread.

    Args:
        sink: see :class:`~dfanerf_rt.live.stages.Sink`.
        capacity: the most pictures and chunks of sound that wait.
        block: where the queue is full, wait (a file written faster than real time); otherwise the oldest picture
            goes and is counted, and only where no picture waits the oldest sound.
    """

    def __init__(self, sink: Sink, capacity: int, block: bool) -> None:
        if capacity < 1:
            raise ValueError(f"capacity is {capacity}, expected at least 1")
        self.sink = sink
        self.name = sink.name
        self.fault: BaseException | None = None
        """What ended the sink before its time."""
        self._capacity, self._block = capacity, block
        self._items: deque[Frame | AudioChunk] = deque()
        self._changed = threading.Condition()
        self._closed = self._abort_asked = self._finishing = False
        self._frames = self._dropped_frames = self._dropped_samples = 0
        self._latest_s = time.monotonic()
        self._thread = threading.Thread(target=self._run, name=f"sink {self.name}", daemon=True)
        self._thread.start()

    def put(self, item: Frame | AudioChunk) -> bool:
        """Hand over sound or a picture; False (and it is gone) once the sink has ended."""
        with self._changed:
            if self._block:
                self._changed.wait_for(lambda: len(self._items) < self._capacity or self._closed)
            if self._closed:
                return False
            if not self._items:
                self._latest_s = time.monotonic()
            elif len(self._items) >= self._capacity:
                self._drop()
            self._items.append(item)
            self._changed.notify_all()
            return True

    def close(self) -> None:
        """Let the sink take what waits, and finish. One that blocks is given up, and :attr:`fault` says so."""
        self._end(abort=False)

    def abort(self) -> None:
        """Give up at once; the sink leaves nothing half-written."""
        self._end(abort=True)

    def report(self) -> SinkReport:
        """The figures so far."""
        with self._changed:
            fault = None if self.fault is None else str(self.fault) or type(self.fault).__name__
            return SinkReport(
                self.name, self._frames, self._dropped_frames, self._dropped_samples, len(self._items), fault
            )

    def _drop(self) -> None:
        for place, item in enumerate(self._items):
            if isinstance(item, Frame):
                del self._items[place]
                self._dropped_frames += 1
                return
        chunk = self._items.popleft()
        self._dropped_samples += len(chunk.samples) if isinstance(chunk, AudioChunk) else 0

    def _end(self, abort: bool) -> None:
        with self._changed:
            self._closed = True
            self._latest_s = max(self._latest_s, time.monotonic())
            if abort:
                self._abort_asked = True
                self._items.clear()
            self._changed.notify_all()
        while self._thread.is_alive():
            self._thread.join(0.05)
            patience_s = FINISHING_S if self._finishing else BLOCKED_AFTER_S
            if time.monotonic() - self._latest_s > patience_s:
                self.fault = self.fault or TimeoutError(
                    f"took nothing for {patience_s:.0f} s and was given up; it may be unfinished"
                )
                return

    def _run(self) -> None:
        try:
            while True:
                with self._changed:
                    self._changed.wait_for(lambda: bool(self._items) or self._closed)
                    if not self._items:
                        break
                    item = self._items.popleft()
                    self._changed.notify_all()
                if isinstance(item, AudioChunk):
                    self.sink.write_audio(item)
                else:
                    self.sink.write_frame(item)
                    self._frames += 1
                self._latest_s = time.monotonic()
            if self._abort_asked:
                self.sink.abort()
            else:
                self._finishing = True
                self.sink.close()
        except BaseException as fault:  # noqa: BLE001 - reported by the pipeline, see report()
            self._die(fault)

    def _die(self, fault: BaseException) -> None:
        with self._changed:
            self.fault = self.fault or fault
            self._closed = True
            self._items.clear()
            self._changed.notify_all()
        try:
            self.sink.abort()
        except Exception as second:  # noqa: BLE001 - it is broken already, and both are said
            self.fault.add_note(f"giving up failed too: {second}")
