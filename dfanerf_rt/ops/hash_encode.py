"""Multi-resolution hash encoding in tiny-cuda-nn's exact convention, so that weights move both ways."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from dfanerf_rt.errors import ShapeError
from dfanerf_rt.ops.dispatch import dispatch

FEATURE_COUNTS = (1, 2, 4, 8)
MAX_LEVELS = 32
_MAX_DENSE_RESOLUTION = 0x659
"""Resolutions above this overflow 32 bits when cubed, and are hashed."""


class HashGridLevel(NamedTuple):
    """One level of the grid."""

    scale: float
    """Cells along an axis, a float32 value: position * scale + 0.5 is the position in cells."""
    resolution: int
    """Grid points along an axis."""
    n_entries: int
    offset: int
    """First entry of the level in the table."""
    hashed: bool
    """Whether grid points share entries by a hash; else the level is dense, x fastest."""


@dataclass(frozen=True)
class HashGridConfig:
    """Sizes of a hash grid (Mueller et al. 2022); the layout is tiny-cuda-nn's ``HashGrid`` with linear interpolation.

    Raises:
        ShapeError: a size out of range.
    """

    n_levels: int = 16
    n_features: int = 2
    log2_table_size: int = 15
    base_resolution: int = 16
    max_resolution: int = 256

    def __post_init__(self) -> None:
        if not 1 <= self.n_levels <= MAX_LEVELS:
            raise ShapeError(f"n_levels is {self.n_levels}, expected 1 to {MAX_LEVELS}")
        if self.n_features not in FEATURE_COUNTS:
            raise ShapeError(f"n_features is {self.n_features}, expected one of {FEATURE_COUNTS}")
        if not 3 <= self.log2_table_size <= 28:
            raise ShapeError(f"log2_table_size is {self.log2_table_size}, expected 3 to 28")
        if not 2 <= self.base_resolution <= self.max_resolution <= 1 << 20:
            raise ShapeError(
                f"base_resolution {self.base_resolution} and max_resolution {self.max_resolution}: "
                "expected 2 <= base <= max <= 2^20"
            )

    @property
    def per_level_scale(self) -> float:
        """Growth of the resolution from one level to the next."""
        if self.n_levels == 1:
            return 1.0
        return math.exp(math.log(self.max_resolution / self.base_resolution) / (self.n_levels - 1))

    @property
    def levels(self) -> tuple[HashGridLevel, ...]:
        """Every level's scale, resolution, size and place."""
        return _levels(self)

    @property
    def n_entries(self) -> int:
        """Rows of the table, all levels together."""
        return self.levels[-1].offset + self.levels[-1].n_entries

    @property
    def n_output(self) -> int:
        """Width of the encoding: n_levels * n_features."""
        return self.n_levels * self.n_features


@functools.lru_cache(maxsize=64)
def _levels(config: HashGridConfig) -> tuple[HashGridLevel, ...]:
    # The same float32 steps as tiny-cuda-nn: log2 of a float32, exp2f of a float32 product, times base, minus one.
    log2_scale = np.float32(np.log2(np.float64(np.float32(config.per_level_scale))))
    levels: list[HashGridLevel] = []
    offset = 0
    for level in range(config.n_levels):
        power = np.float32(np.exp2(np.float64(np.float32(level) * log2_scale)))
        scale = np.float32(power * np.float32(config.base_resolution)) - np.float32(1.0)
        resolution = math.ceil(float(scale)) + 1
        dense = resolution**3
        entries = min((dense + 7) // 8 * 8, 1 << config.log2_table_size)
        hashed = resolution > _MAX_DENSE_RESOLUTION or entries < dense
        levels.append(HashGridLevel(float(scale), resolution, entries, offset, hashed))
        offset += entries
    return tuple(levels)


def hash_encode(
    positions: torch.Tensor, table: torch.Tensor, config: HashGridConfig, backend: str | None = None
) -> torch.Tensor:
    """Encode positions by trilinear interpolation in every level of a hash grid; differentiable in both tensors.

    Level l: pos = x * scale_l + 0.5, cell = floor(pos), weights from pos - cell; the corner (x, y, z) is entry
    x + y res + z res^2 of a dense level, (x ^ y 2654435761 ^ z 805459861) mod n_entries of a hashed one.

    Args:
        positions: (N, 3) float32; what lies outside [0, 1] is pulled to it.
        table: (config.n_entries, n_features) float32, the levels one after another.
        config: sizes of the grid.
        backend: "cuda", "triton", "cpu" or "reference"; None leaves the choice to the dispatcher.

    Returns:
        (N, n_levels * n_features) float32, level by level.

    Raises:
        ShapeError: a tensor of another shape, dtype or device.
        BackendUnavailable: the backend asked for cannot run here.

    Source:
        Mueller et al., Instant Neural Graphics Primitives, 2022; tiny-cuda-nn's GridEncoding (HashType CoherentPrime).
    """
    if positions.ndim != 2 or positions.shape[1] != 3:
        raise ShapeError(f"positions has shape {tuple(positions.shape)}, expected (N, 3)")
    expected = (config.n_entries, config.n_features)
    if tuple(table.shape) != expected:
        raise ShapeError(f"table has shape {tuple(table.shape)}, expected {expected} for {config}")
    for name, tensor in (("positions", positions), ("table", table)):
        if tensor.dtype != torch.float32:
            raise ShapeError(f"{name} is {tensor.dtype}, expected torch.float32")
    if positions.device != table.device:
        raise ShapeError(f"positions are on {positions.device}, but the table is on {table.device}")
    return dispatch("hash_encode", backend, positions.device)(positions, table, config)
