"""Sampling of training rays by Triton: worked cases, and against plain torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
import torch

from dfanerf_rt.ops.hash_encode import HashGridConfig
from dfanerf_rt.ops.march_rays import march_rays
from dfanerf_rt.ops.render_field import FoldedField


def box(device: str) -> FoldedField:
    """A box of one metre around (0, 0, 1.5), 4^3 cells, 10 cm steps, head and torso in one place."""
    grid = HashGridConfig(n_levels=2, n_features=2, log2_table_size=8, base_resolution=4, max_resolution=8)
    pose = torch.cat([torch.eye(3), torch.tensor([[0.0], [0.0], [1.5]])], dim=1).to(device)

    def zeros(*shape: int) -> torch.Tensor:
        return torch.zeros(*shape, device=device)

    return FoldedField(
        grid=grid,
        table=zeros(grid.n_entries, 2),
        weights=(zeros(8, 4), zeros(8, 8), zeros(4, 8)),
        biases=(zeros(8), zeros(8), zeros(4)),
        aabb=torch.tensor([[-0.5, -0.5, -0.5], [0.5, 0.5, 0.5]], device=device),
        head_to_camera=pose,
        torso_to_camera=pose,
        neck=torch.tensor([0.0, -50.0, 0.0, 1.0], device=device),
        occupancy=torch.ones(4, 4, 4, dtype=torch.uint8, device=device),
        near_m=0.5,
        far_m=2.5,
        step_m=0.1,
    )


def test_the_central_ray_by_hand(device: str) -> None:
    """Samples lie at 0.55, 0.65, ...; the box spans 1 m to 2 m. Of four layers the third is 1.5 m to 1.75 m."""
    ahead, half = torch.tensor([[0.0, 0.0, 1.0]], device=device), torch.tensor([0.5], device=device)
    whole = march_rays(box(device), ahead, half, "triton")
    torch.testing.assert_close(whole.t.cpu(), 1.05 + 0.1 * torch.arange(10))
    layer = torch.zeros(4, 4, 4, dtype=torch.uint8, device=device)
    layer[:, :, 2] = 255
    third = march_rays(dataclasses.replace(box(device), occupancy=layer), ahead, half, "triton")
    torch.testing.assert_close(third.t.cpu(), torch.tensor([1.55, 1.65]))
    empty = march_rays(dataclasses.replace(box(device), occupancy=layer * 0), ahead, half, "triton")
    assert len(empty.t) == 0 and empty.offsets.tolist() == [0, 0]


@pytest.mark.parametrize("step_m", [0.013, 0.031])
def test_agrees_with_the_reference(step_m: float, device: str, some: Callable[[int, int], int]) -> None:
    n, generator = some(5000, 37), torch.Generator().manual_seed(3)
    spread = torch.cat([torch.randn(n, 2, generator=generator) * 0.3, torch.ones(n, 1)], 1)
    directions = torch.nn.functional.normalize(spread, dim=-1).to(device)
    torso = torch.cat([torch.eye(3), torch.tensor([[0.05], [-0.03], [1.45]])], dim=1).to(device)
    occupancy = (torch.rand(16, 16, 16, generator=generator) > 0.5).to(torch.uint8).to(device)
    field = dataclasses.replace(box(device), torso_to_camera=torso, occupancy=occupancy, step_m=step_m)
    jitter = torch.rand(n, generator=generator).to(device)
    ours, theirs = (march_rays(field, directions, jitter, backend) for backend in ("triton", "reference"))
    assert torch.equal(ours.offsets[1:] - ours.offsets[:-1], torch.bincount(ours.ray, minlength=n))
    assert bool((ours.ray[1:] >= ours.ray[:-1]).all())
    # A rounding decides about samples on a cell's border: count those that only one of the two has.
    keys = [torch.round((s.t - 0.5) / step_m - jitter[s.ray]).long() + s.ray * field.n_steps for s in (ours, theirs)]
    counts = torch.bincount(torch.cat(keys))
    assert float((counts == 1).float().sum() / (counts > 0).float().sum()) < 2e-3
    if len(ours.t) == len(theirs.t):
        torch.testing.assert_close(ours.t, theirs.t, atol=1e-5, rtol=0)


def test_no_rays_and_rays_that_are_no_numbers(device: str) -> None:
    none = march_rays(box(device), torch.zeros(0, 3, device=device), torch.zeros(0, device=device), "triton")
    assert none.offsets.tolist() == [0] and none.ray.shape == (0,) and none.t.shape == (0,)
    wild = torch.tensor([[float("nan"), 0.0, 1.0], [1e30, 0.0, 1.0], [0.0, 0.0, float("inf")]], device=device)
    found = march_rays(box(device), wild, torch.full((3,), 0.5, device=device), "triton")
    assert found.offsets.tolist() == [0, 0, 0, 0]


def test_inputs_that_are_not_contiguous(device: str) -> None:
    field = box(device)
    directions = torch.tensor([[0.0, 0.0, 1.0], [0.1, 0.0, 1.0], [0.0, 0.3, 1.0]], device=device)
    jitter = torch.tensor([0.5, 0.1, 0.9], device=device)
    cells = (torch.arange(64, device=device) % 3 > 0).to(torch.uint8).reshape(4, 4, 4)
    expected = march_rays(dataclasses.replace(field, occupancy=cells), directions, jitter, "reference")
    strided = dataclasses.replace(field, occupancy=cells.permute(2, 1, 0).contiguous().permute(2, 1, 0))
    found = march_rays(strided, directions.t().contiguous().t(), jitter.repeat_interleave(2)[::2], "triton")
    assert torch.equal(found.ray, expected.ray) and torch.equal(found.offsets, expected.offsets)
