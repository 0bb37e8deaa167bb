"""Which entries of a hash grid a picture can ever read."""

from __future__ import annotations

import numpy as np
import torch

from dfanerf_rt.backends.reference.hash_encode import entry_of_points
from dfanerf_rt.ops.hash_encode import HashGridConfig, HashGridLevel


def reached_entries(occupancy: torch.Tensor, grid: HashGridConfig) -> torch.Tensor:
    """Entries that interpolation in an occupied cell touches; rendering reads no others.

    Args:
        occupancy: (R, R, R); 0 is empty space.
        grid: sizes of the hash grid over the same box.

    Returns:
        (n_entries,) bool. At the borders of cells it is generous, so that no backend's rounding reads beside it.
    """
    filled = occupancy.cpu().numpy() != 0
    if filled.all():
        return torch.ones(grid.n_entries, dtype=torch.bool)
    reached = torch.zeros(grid.n_entries, dtype=torch.bool)
    for level in grid.levels:
        first, last = _cells_of_points(level, filled.shape[0])
        for x in range(len(first)):
            plane = filled[first[x] : last[x] + 1].any(axis=0)
            y, z = np.nonzero(_spread(_spread(plane, first, last).T, first, last).T)
            points = np.stack([np.full_like(y, x), y, z], axis=1)
            reached[level.offset + entry_of_points(torch.from_numpy(points), level)] = True
    return reached


def _cells_of_points(level: HashGridLevel, resolution: int) -> tuple[np.ndarray, np.ndarray]:
    """For every grid point along an axis, the first and the last cell whose samples read it."""
    edges = np.arange(resolution + 1) / resolution * level.scale + 0.5
    hair = 1e-3 + 1e-6 * level.scale
    low = np.floor(edges[:-1] - hair)
    high = np.floor(edges[1:] + hair) + 1
    points = np.arange(int(high[-1]) + 1)
    return np.searchsorted(high, points), np.searchsorted(low, points, side="right") - 1


def _spread(plane: np.ndarray, first: np.ndarray, last: np.ndarray) -> np.ndarray:
    """(R, n) bool cells to (points, n): whether any of the cells that read a point is filled."""
    found = plane[first]
    for step in range(1, int((last - first).max()) + 1):
        found |= plane[np.minimum(first + step, last)]
    return found
