"""Whatever is live when Python ends is ended first.

A daemon thread that comes back from native code into an interpreter that has gone is unwound by force, which C++ does
not survive ("terminate called without an active exception", status 134 in place of the program's own).
"""

from __future__ import annotations

import atexit
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

PATIENCE_S = 60.0
"""What the end of Python waits for all of them: a long file is copied once to bring its index to its front."""
_running: dict[threading.Event, Callable[[], None]] = {}


@contextmanager
def ended_before_python(stop: Callable[[], None]) -> Iterator[None]:
    """While inside, the end of Python calls ``stop``, from another thread, and waits until the inside has been left."""
    left = threading.Event()
    _running[left] = stop
    try:
        yield
    finally:
        del _running[left]
        left.set()


@atexit.register
def _end_all() -> None:
    running = dict(_running)
    for stop in running.values():
        stop()
    until_s = time.monotonic() + PATIENCE_S
    for left in running:
        left.wait(max(until_s - time.monotonic(), 0.0))
