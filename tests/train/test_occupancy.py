"""The grid of densities: the same cells as nerfacc's estimator takes, chance being the same."""

from __future__ import annotations

import pytest
import torch

from dfanerf_rt.train.occupancy import DENSITY_DECAY, OCCUPIED_ALPHA, DensityGrid


def ball(places: torch.Tensor) -> torch.Tensor:
    """(N,) opacity of a ball in the middle of the cube, with a soft rim."""
    return 0.2 * torch.sigmoid(30.0 * (0.3 - (places - 0.5).norm(dim=-1)))


def test_it_is_nerfaccs_grid() -> None:
    nerfacc = pytest.importorskip("nerfacc")
    theirs = nerfacc.OccGridEstimator([0.0, 0.0, 0.0, 1.0, 1.0, 1.0], resolution=12, levels=1).eval()
    ours = DensityGrid(12)
    never = torch.rand(12**3, generator=torch.Generator().manual_seed(3)) < 0.2
    for alphas in (theirs.occs, ours.alphas):
        alphas[never] = -1.0
    with torch.random.fork_rng(devices=[]):
        for step in range(5):
            torch.manual_seed(step)
            theirs._update(step, lambda u: ball(u)[:, None], OCCUPIED_ALPHA, DENSITY_DECAY, 0)
            torch.manual_seed(step)
            ours.look(ball, torch.default_generator)
            ours.decide()
            torch.testing.assert_close(ours.alphas, theirs.occs)
            assert torch.equal(ours.occupied, theirs.binaries.flatten())
    assert 0.05 < float(ours.occupied.float().mean()) < 0.3


def test_a_seed_means_something() -> None:
    grids = [DensityGrid(8) for _ in range(3)]
    for grid, seed in zip(grids, (1, 1, 2), strict=True):
        grid.look(ball, torch.Generator().manual_seed(seed))
    assert torch.equal(grids[0].alphas, grids[1].alphas) and not torch.equal(grids[0].alphas, grids[2].alphas)
