"""A Triton kernel that does nothing but gather; kept apart, since importing it needs Triton."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

GATHERS_A_LANE = 64
BLOCK = 256


@triton.jit
def _gather_kernel(table, out, mask, COUNT: tl.constexpr, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    lane = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    index = lane * 40503 + 1
    total = tl.zeros([BLOCK], dtype=tl.float32)
    for _ in range(COUNT):
        index = index * 1664525 + 1013904223  # wraps round in 32 bits
        total += tl.load(table + ((index >> 8) & mask))
    tl.store(out + lane, total)


def gather(table: torch.Tensor, out: torch.Tensor) -> None:
    """out (N,) float32: each the sum of :data:`GATHERS_A_LANE` words at random places of ``table``.

    Args:
        table: float32, a power of two of them.
        out: N a multiple of :data:`BLOCK`.
    """
    _gather_kernel[(out.numel() // BLOCK,)](table, out, table.numel() - 1, COUNT=GATHERS_A_LANE, BLOCK=BLOCK)
