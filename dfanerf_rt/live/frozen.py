"""What is loaded is no garbage: while anybody is live, the collector leaves it out."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_lock = threading.Lock()
_n_live = 0


@contextmanager
def frozen_garbage() -> Iterator[None]:
    """Keep the collector from what exists now, until the last of all who are in here leaves.

    A garbage collection that walks all that torch and the avatars have loaded stops every thread for 90 ms. None of
    that becomes garbage meanwhile.
    """
    global _n_live
    with _lock:
        _n_live += 1
        gc.freeze()
    try:
        yield
    finally:
        with _lock:
            _n_live -= 1
            if not _n_live:
                gc.unfreeze()
