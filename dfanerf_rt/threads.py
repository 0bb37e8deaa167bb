"""Torch on one thread, for work made of many small operators."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch use one thread meanwhile.

    Where operators are small a second thread only waits; on a busy machine that made the fit of a face ten times slower
    and cost a live encoder 50 ms a frame.
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
