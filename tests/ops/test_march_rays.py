"""Sampling of training rays: worked cases, and the native module against plain torch."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from dfanerf_rt.errors import ShapeError
from dfanerf_rt.ops.hash_encode import HashGridConfig
from dfanerf_rt.ops.march_rays import RaySamples, march_rays, march_space, sample_positions
from dfanerf_rt.ops.render_field import FoldedField

BACKENDS = (
    ("cpu", "cpu"),
    ("reference", "cpu"),
    pytest.param("cuda", "cuda", marks=pytest.mark.gpu),
)
NATIVE = (("cpu", "cpu"), pytest.param("cuda", "cuda", marks=pytest.mark.gpu))


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


def moved(field: FoldedField, device: str) -> FoldedField:
    """The tensors that the marching reads, on another device."""
    names = ("table", "aabb", "head_to_camera", "torso_to_camera", "neck", "occupancy")
    return dataclasses.replace(field, **{name: getattr(field, name).to(device) for name in names})


def march(field: FoldedField, directions: torch.Tensor, jitter: torch.Tensor, backend: str, device: str) -> RaySamples:
    """On a device, and back."""
    found = march_rays(moved(field, device), directions.to(device), jitter.to(device), backend)
    return RaySamples(found.ray.cpu(), found.t.cpu(), found.offsets.cpu())


AHEAD = torch.tensor([[0.0, 0.0, 1.0]])


@pytest.mark.parametrize(("backend", "device"), BACKENDS)
def test_central_ray_fills_the_box(backend: str, device: str) -> None:
    """Samples lie at 0.55, 0.65, ...; the box spans 1 m to 2 m, which is ten of them."""
    samples = march(folded_box(), AHEAD, torch.tensor([0.5]), backend, device)
    torch.testing.assert_close(samples.t, 1.05 + 0.1 * torch.arange(10))
    assert samples.offsets.tolist() == [0, 10]
    positions = sample_positions(march_space(folded_box(), AHEAD), samples)
    torch.testing.assert_close(positions[:, 2], 0.05 + 0.1 * torch.arange(10), atol=1e-6, rtol=0)


@pytest.mark.parametrize(("backend", "device"), BACKENDS)
def test_empty_cells_are_skipped(backend: str, device: str) -> None:
    """With only the third layer of four occupied, samples from 1.5 m to 1.75 m stay."""
    occupancy = torch.zeros(4, 4, 4, dtype=torch.uint8)
    occupancy[:, :, 2] = 1
    field = dataclasses.replace(folded_box(), occupancy=occupancy)
    samples = march(field, AHEAD, torch.tensor([0.5]), backend, device)
    torch.testing.assert_close(samples.t, torch.tensor([1.55, 1.65]))
    field = dataclasses.replace(folded_box(), occupancy=torch.zeros(4, 4, 4, dtype=torch.uint8))
    samples = march(field, AHEAD, torch.tensor([0.5]), backend, device)
    assert len(samples.t) == 0 and samples.offsets.tolist() == [0, 0]


@pytest.mark.parametrize(("backend", "device"), BACKENDS)
def test_no_rays(backend: str, device: str) -> None:
    samples = march(folded_box(), torch.zeros(0, 3), torch.zeros(0), backend, device)
    assert len(samples.ray) == 0 and len(samples.t) == 0 and samples.offsets.tolist() == [0]


@pytest.mark.parametrize(("backend", "device"), NATIVE)
@pytest.mark.parametrize("resolution", [1, 5, 16])
@pytest.mark.parametrize("step_m", [0.11, 0.013])
def test_agrees_with_the_reference_where_head_and_torso_are_apart(
    step_m: float, resolution: int, backend: str, device: str
) -> None:
    generator = torch.Generator().manual_seed(3)
    directions = torch.nn.functional.normalize(
        torch.cat([torch.randn(257, 2, generator=generator) * 0.3, torch.ones(257, 1)], 1), dim=-1
    )
    torso = torch.cat([torch.eye(3), torch.tensor([[0.05], [-0.03], [1.45]])], dim=1)
    occupancy = (torch.rand(resolution, resolution, resolution, generator=generator) > 0.5).to(torch.uint8)
    occupancy[0, 0, 0] = 7  # any number but zero is occupied
    field = dataclasses.replace(folded_box(), torso_to_camera=torso, occupancy=occupancy, step_m=step_m)
    jitter = torch.rand(257, generator=generator)
    expected = march(field, directions, jitter, "reference", "cpu")
    strided = directions.t().contiguous().t()
    ours = march(field, strided, torch.stack([jitter, jitter], 1)[:, 0], backend, device)
    # A sample on the border of a cell may fall to either side: count those few, and compare the rest.
    steps = [((s.t - field.near_m) / step_m - jitter[s.ray]).round().int() for s in (ours, expected)]
    keys = [set(zip(s.ray.tolist(), i.tolist(), strict=True)) for s, i in zip((ours, expected), steps, strict=True)]
    assert len(keys[1]) > 400
    assert len(keys[0] ^ keys[1]) <= 1e-3 * len(keys[1])
    assert torch.equal(torch.bincount(ours.ray, minlength=257).cumsum(0), ours.offsets[1:])
    torch.testing.assert_close(ours.t, field.near_m + (steps[0] + jitter[ours.ray]) * step_m)
    forward = ours.t[1:] > ours.t[:-1]
    assert bool((ours.ray[1:] >= ours.ray[:-1]).all()) and bool((forward | (ours.ray[1:] != ours.ray[:-1])).all())


@pytest.mark.parametrize(("backend", "device"), BACKENDS)
def test_directions_that_are_not_numbers_meet_nothing(backend: str, device: str) -> None:
    directions = torch.tensor([[0.0, 0.0, 1.0], [torch.nan, 0.0, 1.0], [torch.inf, 0.0, 1.0]])
    samples = march(folded_box(), directions, torch.full((3,), 0.5), backend, device)
    assert samples.offsets.tolist() == [0, 10, 10, 10]


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"expected \(R, 3\) and \(R,\)"):
        march_rays(folded_box(), torch.zeros(4, 3), torch.zeros(5))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"step_m": 0.0}, "step > 0"),
        ({"step_m": float("nan")}, "step > 0"),
        ({"step_m": 1e-9}, "more than 65536 samples"),
        ({"far_m": float("inf")}, "near < far"),
        ({"occupancy": torch.ones(4, 4, 3, dtype=torch.uint8)}, "occupancy has shape"),
        ({"occupancy": torch.ones(4, 4, 4)}, "occupancy is torch.float32"),
    ],
)
def test_a_space_that_cannot_be_marched_is_named(changes: dict[str, object], message: str) -> None:
    rays = torch.tensor([[0.0, 0.0, 1.0]]), torch.tensor([0.5])
    with pytest.raises(ShapeError, match=message):
        march_rays(dataclasses.replace(folded_box(), **changes), *rays)  # type: ignore[arg-type]
    with pytest.raises(ShapeError, match=r"directions is torch.float64"):
        march_rays(folded_box(), rays[0].double(), rays[1])
