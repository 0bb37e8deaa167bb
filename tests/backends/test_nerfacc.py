"""The nerfacc adapter: everything but nerfacc's CUDA code is checked here, on the CPU, against the reference."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch

from dfanerf_rt.backends.external.nerfacc import library
from dfanerf_rt.backends.external.nerfacc.march_rays import exact_samples, straight_grid
from dfanerf_rt.backends.external.nerfacc.render_field import encode, integrate, torch_values
from dfanerf_rt.errors import BackendUnavailable
from dfanerf_rt.ops.composite_rays import composite_rays
from dfanerf_rt.ops.dispatch import dispatch, reasons
from dfanerf_rt.ops.hash_encode import HashGridConfig, hash_encode
from dfanerf_rt.ops.march_rays import RaySamples, march_rays, march_space
from dfanerf_rt.ops.render_field import FoldedField, render_field
from dfanerf_rt.render.synthetic import head_camera, head_field

SMALL = HashGridConfig(n_levels=8, log2_table_size=12, base_resolution=8, max_resolution=64)


@pytest.fixture
def nerfacc_installed() -> None:
    reason = library.missing_reason()
    if reason is not None:
        pytest.skip(reason)


def moved_head(turn_rad: float, neck: float = 1.0, occupancy: float | None = None) -> FoldedField:
    """A head turned against its torso; with ``occupancy``, that share of all cells, scattered."""
    field = head_field(1, SMALL, occupancy_resolution=20, turn_rad=turn_rad)
    field = dataclasses.replace(field, neck=field.neck * neck)
    if occupancy is not None:
        generator = torch.Generator().manual_seed(9)
        field = dataclasses.replace(
            field, occupancy=(torch.rand(20, 20, 20, generator=generator) < occupancy).to(torch.uint8)
        )
    return field


def rays(width: int = 21) -> torch.Tensor:
    return head_camera(width).ray_directions().reshape(-1, 3)


def packed_samples(seed: int, n_rays: int = 33) -> tuple[torch.Tensor, torch.Tensor, RaySamples]:
    generator = torch.Generator().manual_seed(seed)
    counts = torch.randint(0, 12, (n_rays,), generator=generator)
    counts[0], counts[3], counts[-1] = 0, 0, 0
    offsets = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    ray = torch.arange(n_rays).repeat_interleave(counts)
    t = 0.5 + 0.01 * (1.7 * (torch.arange(len(ray)) - offsets[ray]) + torch.rand(len(ray), generator=generator))
    sigma = torch.rand(len(ray), generator=generator) * 120
    return sigma, torch.rand(len(ray), 3, generator=generator), RaySamples(ray, t, offsets)


@pytest.mark.parametrize("turn_rad", [0.0, 0.15, 0.6, 2.0])
@pytest.mark.parametrize("neck", [0.2, 1.0, 6.0])
@pytest.mark.parametrize("occupancy", [None, 0.02])
def test_the_straightened_grid_loses_no_sample(turn_rad: float, neck: float, occupancy: float | None) -> None:
    """Whatever the reference samples lies, by the head's frame, in an occupied cell of the straightened grid."""
    field = moved_head(turn_rad, neck, occupancy)
    directions = rays()
    space = march_space(field, directions)
    samples = march_rays(field, directions, torch.full((len(directions),), 0.5), "reference")
    assert len(samples.t) > 100
    far = field.near_m + field.n_steps * field.step_m
    binaries, aabb = straight_grid(space, field.occupancy, field.near_m, far)
    places = space.head_origin + samples.t[:, None] * space.head_slope[samples.ray]
    sizes = torch.tensor(binaries.shape)
    cells = ((places - aabb[:3]) / (aabb[3:] - aabb[:3]) * sizes).floor().long()
    assert bool(((cells >= 0) & (cells < sizes)).all())
    assert bool(binaries[cells[:, 0], cells[:, 1], cells[:, 2]].all())
    if turn_rad < 0.2 and neck <= 1.0 and occupancy is None:
        assert float(binaries.float().mean()) < 0.6, "a grid that is occupied everywhere would help nobody"


def test_the_straightened_grid_follows_few_rays() -> None:
    """Two rays span a plane; outside it the map between the frames is not known, and not needed."""
    field, directions = moved_head(0.3), rays()[[160, 225]]
    space = march_space(field, directions)
    samples = march_rays(field, directions, torch.full((2,), 0.25), "reference")
    assert len(samples.t) > 4
    binaries, aabb = straight_grid(space, field.occupancy, field.near_m, field.far_m)
    places = space.head_origin + samples.t[:, None] * space.head_slope[samples.ray]
    cells = ((places - aabb[:3]) / (aabb[3:] - aabb[:3]) * torch.tensor(binaries.shape)).long()
    assert bool(binaries[cells[:, 0], cells[:, 1], cells[:, 2]].all())


def test_what_the_traversal_returns_too_much_is_dropped() -> None:
    """Given every lattice point with the rounding of a running sum, the reference's samples remain, in its order."""
    field, directions = moved_head(0.3), rays()
    space, n_steps = march_space(field, directions), field.n_steps
    jitter = torch.rand(len(directions), generator=torch.Generator().manual_seed(4))
    expected = march_rays(field, directions, jitter, "reference")
    ray = torch.arange(len(directions), dtype=torch.int32).repeat_interleave(n_steps + 3)
    steps = (torch.arange(n_steps + 3) - 1).repeat(len(directions))  # one before near, two behind far
    t = field.near_m + (steps + jitter[ray]) * field.step_m + 3e-6 * torch.randn(len(ray))
    found = exact_samples(space, jitter, field.occupancy, field.near_m, field.step_m, n_steps, ray, t)
    assert torch.equal(found[0], expected.ray) and torch.equal(found[2], expected.offsets)
    torch.testing.assert_close(found[1], expected.t, atol=1e-7, rtol=0)


@pytest.mark.usefixtures("nerfacc_installed")
def test_compositing_agrees_with_the_reference_forward_and_backward() -> None:
    sigma, rgb, samples = packed_samples(1)
    weight = torch.rand(5, generator=torch.Generator().manual_seed(2))
    found = []
    for backend in ("nerfacc", "reference"):
        s, c = sigma.clone().requires_grad_(), rgb.clone().requires_grad_()
        out = composite_rays(s, c, samples, 0.01, backend)
        loss = (out.rgb @ weight[:3]).square().sum() + weight[3] * out.transmittance.square().sum()
        (loss + weight[4] * out.distortion.sum()).backward()
        found.append((*out, s.grad, c.grad))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, atol=2e-5, rtol=2e-4)


@pytest.mark.usefixtures("nerfacc_installed")
def test_compositing_of_two_samples_by_hand() -> None:
    """Half of the light stops at the first sample, and half of the rest at the second, one step behind."""
    sigma = torch.full((2,), math.log(2.0) / 0.01)
    samples = RaySamples(torch.tensor([0, 0]), torch.tensor([1.0, 1.01]), torch.tensor([0, 2]))
    out = composite_rays(sigma, torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]), samples, 0.01, "nerfacc")
    torch.testing.assert_close(out.weights, torch.tensor([0.5, 0.25]))
    torch.testing.assert_close(out.rgb, torch.tensor([[0.5, 0.25, 0.0]]))
    torch.testing.assert_close(out.transmittance, torch.tensor([0.25]))
    torch.testing.assert_close(out.distortion, torch.tensor([0.25 + 0.3125 / 3]), atol=1e-4, rtol=0)


@pytest.mark.usefixtures("nerfacc_installed")
def test_compositing_of_no_samples() -> None:
    sigma, rgb = torch.zeros(0, requires_grad=True), torch.zeros(0, 3, requires_grad=True)
    empty = RaySamples(torch.zeros(0, dtype=torch.int64), torch.zeros(0), torch.zeros(4, dtype=torch.int64))
    out = composite_rays(sigma, rgb, empty, 0.01, "nerfacc")
    assert torch.equal(out.rgb, torch.zeros(3, 3)) and torch.equal(out.transmittance, torch.ones(3))
    (out.rgb.sum() + out.transmittance.sum()).backward()
    assert sigma.grad is not None and rgb.grad is not None


@pytest.mark.parametrize("grid", [SMALL, HashGridConfig(n_levels=3, n_features=4, log2_table_size=19)])
def test_the_encoding_in_torch_is_the_reference(grid: HashGridConfig) -> None:
    generator = torch.Generator().manual_seed(0)
    table = torch.randn(grid.n_entries, grid.n_features, generator=generator)
    positions = torch.rand(501, 3, generator=generator) * 1.2 - 0.1
    positions[:2] = torch.tensor([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]])
    expected = hash_encode(positions, table, grid, "reference")
    torch.testing.assert_close(encode(positions, table, grid), expected, atol=2e-4, rtol=1e-4)


@pytest.mark.usefixtures("nerfacc_installed")
@pytest.mark.parametrize("width", [1, 24])
def test_rounds_add_up_to_the_reference_picture(width: int) -> None:
    """Samples found by the reference in the place of the traversal; all the rest as on a GPU."""
    field, camera = moved_head(0.2), head_camera(width)
    directions = camera.ray_directions().reshape(-1, 3)
    space = march_space(field, directions)
    samples = march_rays(field, directions, torch.full((len(directions),), 0.5), "reference")
    rgb, transmittance, distance = integrate(
        torch_values(field), space, (samples.ray, samples.t, samples.offsets), field.step_m
    )
    expected = render_field(field, camera, torch.zeros(width, width, 3), backend="reference")
    shape = (camera.height, camera.width)
    torch.testing.assert_close(rgb.view(*shape, 3), expected.image, atol=2e-4, rtol=0)
    torch.testing.assert_close(1.0 - transmittance.view(shape), expected.alpha, atol=2e-4, rtol=0)
    alpha = expected.alpha.clamp(min=1e-6)
    seen = expected.alpha > 0.01
    assert float((distance.view(shape) / alpha - expected.depth_m)[seen].abs().sum()) <= 1e-4 * max(1, int(seen.sum()))


def test_it_is_taken_only_by_name() -> None:
    assert dispatch("composite_rays", None, "cpu").__module__.split(".")[2] != "external"
    if library.missing_reason() is None:
        assert "nerfacc" in dispatch("composite_rays", "nerfacc", "cpu").__module__


def test_absence_has_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library.importlib.util, "find_spec", lambda name: None)
    assert library.missing_reason() == "nerfacc is not installed: pip install nerfacc"
    assert library.cuda_missing_reason() == library.missing_reason()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_the_traversal_says_so() -> None:
    if library.missing_reason() is None:
        assert reasons("march_rays")["nerfacc"] == "nerfacc's traversal needs a CUDA GPU"
    with pytest.raises(BackendUnavailable, match="nerfacc: the tensors are on cpu"):
        render_field(moved_head(0.1), head_camera(4), torch.zeros(4, 4, 3), backend="nerfacc")


def on_gpu(value: Any) -> Any:
    """A dataclass of tensors, a tuple of them, or a tensor, on the GPU."""
    if isinstance(value, torch.Tensor):
        return value.cuda()
    if isinstance(value, tuple) and not isinstance(value, str):
        return tuple(on_gpu(item) for item in value)
    if dataclasses.is_dataclass(value) and not isinstance(value, HashGridConfig):
        fields = {f.name: on_gpu(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return dataclasses.replace(value, **fields)  # type: ignore[type-var]
    return value


@pytest.fixture
def nerfacc_on_gpu() -> None:
    reason = library.cuda_missing_reason()
    if reason is not None:
        pytest.skip(reason)


@pytest.mark.gpu
@pytest.mark.usefixtures("nerfacc_on_gpu")
def test_traversal_finds_the_samples_of_the_reference() -> None:
    field = on_gpu(moved_head(0.3))
    directions = rays(65).cuda()
    jitter = torch.rand(len(directions), generator=torch.Generator().manual_seed(4)).cuda()
    ours, theirs = (march_rays(field, directions, jitter, backend) for backend in ("nerfacc", "reference"))
    steps = [((s.t - field.near_m) / field.step_m).floor().int().tolist() for s in (ours, theirs)]
    keys = [set(zip(s.ray.tolist(), n, strict=True)) for s, n in zip((ours, theirs), steps, strict=True)]
    assert len(keys[1]) > 3000 and len(keys[0] ^ keys[1]) <= 1e-3 * len(keys[1])


@pytest.mark.gpu
@pytest.mark.usefixtures("nerfacc_on_gpu")
def test_packed_compositing_agrees_with_the_reference() -> None:
    sigma, rgb, samples = packed_samples(1)
    found = []
    for backend in ("nerfacc", "reference"):
        s, c = sigma.cuda().requires_grad_(), rgb.cuda().requires_grad_()
        out = composite_rays(s, c, on_gpu(samples), 0.01, backend)
        (out.rgb.square().sum() + out.transmittance.square().sum() + out.distortion.sum()).backward()
        found.append((*out, s.grad, c.grad))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, atol=2e-5, rtol=5e-4)


@pytest.mark.gpu
@pytest.mark.usefixtures("nerfacc_on_gpu")
def test_the_baseline_draws_the_reference_picture() -> None:
    field, camera = on_gpu(moved_head(0.2)), head_camera(48)
    background = torch.rand(48, 48, 3, generator=torch.Generator().manual_seed(0)).cuda()
    ours, theirs = (render_field(field, camera, background, backend=b) for b in ("nerfacc", "reference"))
    error = float((ours.image - theirs.image).square().mean())
    assert -10.0 * math.log10(error + 1e-12) > 45.0
