"""Hash encoding in plain torch: the executable specification."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from dfanerf_rt.ops.hash_encode import HashGridConfig, HashGridLevel

PRIMES = (1, 2654435761, 805459861)
_UINT32 = 0xFFFFFFFF


def hash_encode(positions: torch.Tensor, table: torch.Tensor, config: HashGridConfig) -> torch.Tensor:
    """See :func:`dfanerf_rt.ops.hash_encode.hash_encode`; any device and floating dtype of the table."""
    return torch.cat([_encode_level(positions, table, level) for level in config.levels], dim=1)


def _encode_level(positions: torch.Tensor, table: torch.Tensor, level: HashGridLevel) -> torch.Tensor:
    # Positions outside the unit cube are pulled to it. float64 holds the product exactly: this is the fused
    # multiply-add of the kernels.
    scaled = (positions.clamp(0.0, 1.0).double() * level.scale + 0.5).to(positions.dtype)
    cell = scaled.detach().floor()
    fraction = scaled - cell
    corner = cell.long()
    result = torch.zeros(positions.shape[0], table.shape[1], dtype=table.dtype, device=table.device)
    for bits in range(8):
        offset = torch.tensor([bits & 1, bits >> 1 & 1, bits >> 2 & 1], device=positions.device)
        weight = torch.where(offset.bool(), fraction, 1.0 - fraction).prod(dim=1).to(table.dtype)
        result = result + weight.unsqueeze(1) * table[level.offset + entry_of_points(corner + offset, level)]
    return result


def entry_of_points(corner: torch.Tensor, level: HashGridLevel) -> torch.Tensor:
    """Entry (N,) of grid points (N, 3) within a level, in unsigned 32-bit arithmetic."""
    x, y, z = (corner & _UINT32).unbind(1)
    if level.hashed:
        index = (x * PRIMES[0]) ^ (y * PRIMES[1]) ^ (z * PRIMES[2])
    else:
        index = x + y * level.resolution + z * level.resolution**2
    return (index & _UINT32) % level.n_entries
