"""How the native module is told where to work: the current stream of a GPU, as an integer."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from dfanerf_rt import native


@contextlib.contextmanager
def stream_of(device: torch.device) -> Iterator[int]:
    """The device's current stream, its GPU being the current one meanwhile; 0 on the CPU, where nobody reads it."""
    if device.type != "cuda":
        yield 0
        return
    with torch.cuda.device(device):
        yield torch.cuda.current_stream(device).cuda_stream


def missing_reason(function: str, backend: str) -> str | None:
    """Why ``function`` of the native module cannot run on ``backend`` ("cpu" or "cuda"), or None if it can."""
    return native.missing_reason(function) or (native.cuda_unavailable_reason() if backend == "cuda" else None)
