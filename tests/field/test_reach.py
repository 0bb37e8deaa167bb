"""Entries that rendering reads, against what interpolation itself touches."""

from __future__ import annotations

import pytest
import torch

from dfanerf_rt.backends.reference.hash_encode import hash_encode
from dfanerf_rt.field.reach import reached_entries
from dfanerf_rt.ops.hash_encode import HashGridConfig

GRIDS = (
    HashGridConfig(n_levels=6, log2_table_size=10, base_resolution=4, max_resolution=48),  # finer than the cells
    HashGridConfig(n_levels=3, log2_table_size=9, base_resolution=3, max_resolution=7),  # coarser
    HashGridConfig(n_levels=1, log2_table_size=14, base_resolution=2, max_resolution=2),
)


def touched(positions: torch.Tensor, grid: HashGridConfig) -> torch.Tensor:
    """Entries that weigh in the encoding of positions: those with a gradient."""
    table = torch.zeros(grid.n_entries, grid.n_features, requires_grad=True)
    hash_encode(positions, table, grid).sum().backward()
    assert table.grad is not None
    return table.grad.abs().sum(dim=1) > 0


@pytest.mark.parametrize("grid", GRIDS)
def test_samples_in_occupied_cells_read_no_other_entries(grid: HashGridConfig) -> None:
    resolution, generator = 12, torch.Generator().manual_seed(0)
    occupancy = (torch.rand(resolution, resolution, resolution, generator=generator) < 0.02).to(torch.uint8)
    occupancy[0, 0, 0] = occupancy[-1, -1, -1] = 1
    cells = occupancy.nonzero()
    corners = torch.cartesian_prod(*[torch.tensor([0.0, 1.0 - 2.0**-20])] * 3)
    within = torch.cat([corners, torch.rand(2000, 3, generator=generator)])
    positions = ((cells[:, None, :] + within) / resolution).reshape(-1, 3).float().clamp(max=1.0)
    reached, read = reached_entries(occupancy, grid), touched(positions, grid)
    assert not bool((read & ~reached).any())
    # Generous by a hair alone: where borders of cells lie on those of the grid, that is a neighbour more.
    assert float(reached.float().sum()) <= 1.4 * float(read.float().sum())


def test_full_and_empty_space() -> None:
    grid = GRIDS[0]
    assert bool(reached_entries(torch.ones(4, 4, 4, dtype=torch.uint8), grid).all())
    assert not bool(reached_entries(torch.zeros(4, 4, 4, dtype=torch.uint8), grid).any())
