"""Sampling of training rays: worked cases, and the native module against plain torch."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from dfanerf_rt.errors import ShapeError
from dfanerf_rt.ops.hash_encode import HashGridConfig
from dfanerf_rt.ops.march_rays import march_rays, march_space, sample_positions
from dfanerf_rt.ops.render_field import FoldedField

BACKENDS = ("cpu", "reference")


def folded_box() -> FoldedField:
    """A box of one metre around (0, 0, 1.5), 4^3 cells, 10 cm steps, head and torso in one place."""
    grid = HashGridConfig(n_levels=2, n_features=2, log2_table_size=8, base_resolution=4, max_resolution=8)
    pose = torch.cat([torch.eye(3), torch.tensor([[0.0], [0.0], [1.5]])], dim=1)
    return FoldedField(
        grid=grid,
        table=torch.zeros(grid.n_entries, 2),
        weights=(torch.zeros(8, 4), torch.zeros(8, 8), torch.zeros(4, 8)),
        biases=(torch.zeros(8), torch.zeros(8), torch.zeros(4)),
        aabb=torch.tensor([[-0.5, -0.5, -0.5], [0.5, 0.5, 0.5]]),
        head_to_camera=pose,
        torso_to_camera=pose,
        neck=torch.tensor([0.0, -50.0, 0.0, 1.0]),
        occupancy=torch.ones(4, 4, 4, dtype=torch.uint8),
        near_m=0.5,
        far_m=2.5,
        step_m=0.1,
    )


@pytest.mark.parametrize("backend", BACKENDS)
def test_central_ray_fills_the_box(backend: str) -> None:
    """Samples lie at 0.55, 0.65, ...; the box spans 1 m to 2 m, which is ten of them."""
    samples = march_rays(folded_box(), torch.tensor([[0.0, 0.0, 1.0]]), torch.tensor([0.5]), backend)
    torch.testing.assert_close(samples.t, 1.05 + 0.1 * torch.arange(10))
    assert samples.offsets.tolist() == [0, 10]
    positions = sample_positions(march_space(folded_box(), torch.tensor([[0.0, 0.0, 1.0]])), samples)
    torch.testing.assert_close(positions[:, 2], 0.05 + 0.1 * torch.arange(10), atol=1e-6, rtol=0)


@pytest.mark.parametrize("backend", BACKENDS)
def test_empty_cells_are_skipped(backend: str) -> None:
    """With only the third layer of four occupied, samples from 1.5 m to 1.75 m stay."""
    occupancy = torch.zeros(4, 4, 4, dtype=torch.uint8)
    occupancy[:, :, 2] = 1
    field = dataclasses.replace(folded_box(), occupancy=occupancy)
    samples = march_rays(field, torch.tensor([[0.0, 0.0, 1.0]]), torch.tensor([0.5]), backend)
    torch.testing.assert_close(samples.t, torch.tensor([1.55, 1.65]))
    field = dataclasses.replace(folded_box(), occupancy=torch.zeros(4, 4, 4, dtype=torch.uint8))
    samples = march_rays(field, torch.tensor([[0.0, 0.0, 1.0]]), torch.tensor([0.5]), backend)
    assert len(samples.t) == 0 and samples.offsets.tolist() == [0, 0]


def test_backends_agree_with_head_and_torso_apart() -> None:
    generator = torch.Generator().manual_seed(3)
    directions = torch.nn.functional.normalize(
        torch.cat([torch.randn(257, 2, generator=generator) * 0.3, torch.ones(257, 1)], 1), dim=-1
    )
    torso = torch.cat([torch.eye(3), torch.tensor([[0.05], [-0.03], [1.45]])], dim=1)
    occupancy = (torch.rand(16, 16, 16, generator=generator) > 0.5).to(torch.uint8)
    field = dataclasses.replace(folded_box(), torso_to_camera=torso, occupancy=occupancy, step_m=0.013)
    jitter = torch.rand(257, generator=generator)
    ours, theirs = (march_rays(field, directions, jitter, backend) for backend in BACKENDS)
    # A sample on the border of a cell may fall to either side: count those few, and compare the rest.
    keys = [set(zip(s.ray.tolist(), ((s.t - 0.5) / 0.013).floor().int().tolist(), strict=True)) for s in (ours, theirs)]
    assert len(keys[1]) > 3000
    assert len(keys[0] ^ keys[1]) <= 1e-3 * len(keys[1])
    assert torch.equal(torch.bincount(ours.ray, minlength=257).cumsum(0), ours.offsets[1:])


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"expected \(R, 3\) and \(R,\)"):
        march_rays(folded_box(), torch.zeros(4, 3), torch.zeros(5))
