"""The renderer in Triton: worked cases, and whole frames against plain torch."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import pytest
import torch

from dfanerf_rt.backends.native.render_field import Precision as NativePrecision
from dfanerf_rt.backends.triton import render_field as triton_backend
from dfanerf_rt.backends.triton.machine import INTERPRETING
from dfanerf_rt.backends.triton.render_field import Precision, render_frame
from dfanerf_rt.errors import ShapeError
from dfanerf_rt.field.config import CONDITION_DIM, FieldConfig
from dfanerf_rt.field.field import ConditionalField
from dfanerf_rt.ops.camera import Camera
from dfanerf_rt.ops.hash_encode import HashGridConfig
from dfanerf_rt.ops.render_field import FoldedField, render_field
from dfanerf_rt.render.session import RenderSession
from dfanerf_rt.render.synthetic import head_avatar, head_camera, head_field

SMALL = HashGridConfig(n_levels=5, n_features=2, log2_table_size=9, base_resolution=4, max_resolution=40)
MIN_PSNR_DB = {"float32": 90.0, "float16": 60.0}


@pytest.fixture(autouse=True)
def few_large_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """The interpreter pays by the operation, whatever its size: more rays in flight, more steps ahead."""
    if INTERPRETING:
        from dfanerf_rt.backends.triton.kernels import render_field as kernels

        monkeypatch.setitem(kernels.LAUNCH, "RAYS", 64)
        monkeypatch.setitem(kernels.LAUNCH, "AHEAD", 32)


def moved(field: FoldedField, device: str) -> FoldedField:
    """The same field on another device."""
    values = {f.name: getattr(field, f.name) for f in dataclasses.fields(field)}
    for name, value in values.items():
        if isinstance(value, torch.Tensor):
            values[name] = value.to(device)
        elif isinstance(value, tuple):
            values[name] = tuple(part.to(device) for part in value)
    return FoldedField(**values)


def head(device: str, grid: HashGridConfig = SMALL, steps: int = 32) -> FoldedField:
    """Head and torso turned against each other, with wide steps."""
    field = head_field(0, grid, 16)
    return moved(dataclasses.replace(field, step_m=field.step_m * 128 / steps), device)


def slab(sigma: float, depth_m: float, device: str, occupied: bool = True, step_m: float = 0.01) -> FoldedField:
    """A box of uniform density 1/m and colour before it, which begins 1 m ahead of the camera."""
    still = torch.cat([torch.eye(3), torch.zeros(3, 1)], dim=1)
    grid = HashGridConfig(n_levels=2, n_features=2, log2_table_size=6, base_resolution=4, max_resolution=8)
    field = FoldedField(
        grid=grid,
        table=torch.zeros(grid.n_entries, 2),
        weights=(torch.zeros(8, 4), torch.zeros(8, 8), torch.zeros(4, 8)),
        biases=(torch.zeros(8), torch.zeros(8), torch.tensor([math.log(sigma), 1.0, 0.0, -1.0])),
        aabb=torch.tensor([[-1.0, -1.0, 1.0], [1.0, 1.0, 1.0 + depth_m]]),
        head_to_camera=still,
        torso_to_camera=still,
        neck=torch.tensor([0.0, -10.0, 0.0, 0.0]),
        occupancy=torch.full((8, 8, 8), int(occupied), dtype=torch.uint8),
        near_m=0.91,
        far_m=1.5,
        step_m=step_m,
    )
    return moved(field, device)


def noise(camera: Camera, device: str) -> torch.Tensor:
    generator = torch.Generator().manual_seed(9)
    return torch.rand(camera.height, camera.width, 3, generator=generator).to(device)


def psnr_db(found: torch.Tensor, expected: torch.Tensor) -> float:
    return -10.0 * math.log10(float((found - expected).square().mean()) + 1e-20)


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_a_head_agrees_with_the_reference(precision: Precision, device: str, some: Callable[[int, int], int]) -> None:
    few = 11 if precision == "float32" else 6  # half precision is slow where it is interpreted
    camera = dataclasses.replace(head_camera(some(129, few)), height=some(101, few - 1))
    field, background = head(device), noise(camera, device)
    image = torch.empty_like(background)
    alpha, depth = render_frame(field, camera, background, image, precision)
    expected = render_field(field, camera, background, backend="reference")
    assert float(expected.alpha.max()) > 0.99 and 0.2 < float(expected.alpha.mean()) < 0.8
    assert psnr_db(image, expected.image) > MIN_PSNR_DB[precision]
    assert psnr_db(alpha, expected.alpha) > MIN_PSNR_DB[precision]
    seen = expected.alpha > 0.01  # the depth of next to nothing is all rounding
    assert float((depth - expected.depth_m)[seen].abs().max()) < (1e-4 if precision == "float32" else 1e-2)


def test_the_usual_grid_and_head_and_torso_as_one(device: str, some: Callable[[int, int], int]) -> None:
    field = head(device, HashGridConfig(), some(128, 24))
    field = dataclasses.replace(field, torso_to_camera=field.head_to_camera)
    camera = head_camera(some(256, 5))
    background = noise(camera, device)
    expected = render_field(field, camera, background, backend="reference")
    found = render_field(field, camera, background, backend="triton")
    assert psnr_db(found.image, expected.image) > MIN_PSNR_DB["float32"]


@pytest.mark.parametrize("n_features", [1, 4, 8])
def test_other_sizes_of_grid_and_network(n_features: int, device: str) -> None:
    """Three levels and 20 hidden units, which are filled up to powers of two."""
    grid = HashGridConfig(n_levels=3, n_features=n_features, log2_table_size=8, base_resolution=4, max_resolution=16)
    field, generator = slab(5.0, 0.3, device, step_m=0.05), torch.Generator().manual_seed(n_features)
    shapes = (20, 3 * n_features), (20, 20), (4, 20)
    field = dataclasses.replace(
        field,
        grid=grid,
        table=torch.randn(grid.n_entries, n_features, generator=generator).to(device),
        weights=tuple((torch.randn(*shape, generator=generator) * 0.4).to(device) for shape in shapes),
        biases=tuple((torch.randn(shape[0], generator=generator) * 0.4 + 1.0).to(device) for shape in shapes),
    )
    camera = Camera(7, 5, 12.0, 3.0, 2.5)
    background = noise(camera, device)
    expected = render_field(field, camera, background, backend="reference")
    found = render_field(field, camera, background, backend="triton")
    assert float(expected.alpha.mean()) > 0.1
    assert psnr_db(found.image, expected.image) > MIN_PSNR_DB["float32"]


def test_a_uniform_slab_by_hand(device: str) -> None:
    """0.3 m of density 4/m stop 1 - exp(-1.2) of the light; the depth is the mean of an exponential cut off."""
    camera = Camera(1, 1, 1000.0, 0.5, 0.5)
    background = torch.full((1, 1, 3), 0.25, device=device)
    frame = render_field(slab(4.0, 0.3, device, step_m=0.03), camera, background, backend="triton")
    alpha = 1.0 - math.exp(-1.2)
    assert float(frame.alpha) == pytest.approx(alpha, abs=1e-5)
    colours = torch.tensor([1.0, 0.0, -1.0]).sigmoid()
    torch.testing.assert_close(frame.image.cpu()[0, 0], alpha * colours + (1.0 - alpha) * 0.25, atol=1e-5, rtol=0.0)
    # The ten samples lie in the middles of their steps, which moves the mean by less than a millimetre.
    assert float(frame.depth_m) == pytest.approx(1.0 + 0.25 - 0.3 * (1.0 - alpha) / alpha, abs=1e-3)


def test_a_ray_stops_after_the_sample_that_makes_it_opaque(device: str) -> None:
    """Every sample halves the light: after the tenth, 2^-10 < 0.001 is left, though twenty more would follow."""
    camera = Camera(1, 1, 1000.0, 0.5, 0.5)
    field = slab(math.log(2.0) / 0.01, 0.3, device)
    frame = render_field(field, camera, torch.zeros(1, 1, 3, device=device), backend="triton")
    assert 1.0 - float(frame.alpha) == pytest.approx(2.0**-10, rel=2e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.uint8])
def test_the_background_passes_exactly_where_nothing_is(dtype: torch.dtype, device: str) -> None:
    camera = Camera(19, 11, 20.0, 9.0, 5.0)
    background = noise(camera, device)
    background = (background * 255).to(torch.uint8) if dtype == torch.uint8 else background
    out = torch.full_like(background, 77 if dtype == torch.uint8 else math.nan)
    frame = render_field(slab(4.0, 0.2, device, occupied=False), camera, background, out, backend="triton")
    assert frame.image is out and torch.equal(out, background)
    assert not frame.alpha.any() and not frame.depth_m.any()


def test_bytes_are_the_rounded_floats_and_layouts_do_not_matter(device: str) -> None:
    field, camera = head(device), head_camera(6)
    background = (noise(camera, device) * 255).to(torch.uint8)
    exact = render_field(field, camera, background.float() / 255.0, backend="reference").image
    strided = dataclasses.replace(
        field,
        table=field.table.t().contiguous().t(),
        weights=tuple(w.t().contiguous().t() for w in field.weights),
        occupancy=field.occupancy.permute(2, 1, 0).contiguous().permute(2, 1, 0),
    )
    out = torch.full((6, 12, 3), 99, dtype=torch.uint8, device=device)[:, ::2]
    turned = background.transpose(0, 1).contiguous().transpose(0, 1)
    frame = render_field(strided, camera, turned, out, backend="triton")
    assert frame.image is out
    assert float((out.float() - exact * 255.0).abs().max()) <= 0.501


def test_a_pose_that_is_no_number_shows_the_background(device: str) -> None:
    camera = head_camera(4)
    field = head(device)
    field = dataclasses.replace(field, head_to_camera=torch.full((3, 4), math.nan, device=device))
    background = noise(camera, device)
    # The operator refuses it; this is what the backend does by itself.
    assert torch.equal(triton_backend.render_field(field, camera, background, None)[0], background)


@pytest.mark.parametrize(("precision", "max_error"), [("float32", 0.51), ("bfloat16", 1.5)])
def test_a_session_shows_what_the_folded_field_says(
    precision: NativePrecision, max_error: float, device: str, some: Callable[[int, int], int]
) -> None:
    avatar = head_avatar(some(96, 5), FieldConfig(**dataclasses.asdict(SMALL), occupancy_resolution=16, n_steps=32))
    session = RenderSession(avatar, device, backend="triton", precision=precision)
    condition, head_pose = torch.zeros(CONDITION_DIM), torch.tensor([0.02, 0.2, -0.03, 0.01, 0.0, 0.8])
    session.fold(condition, head_pose)
    out = torch.full_like(session.render(), 9, device="cpu")  # a GPU's picture, too, may be asked for in host memory
    session.fold(condition + 0.1, head_pose)
    assert session.render(out) is out
    if device == "cuda":
        torch.cuda.synchronize()
    with torch.no_grad():
        folded = ConditionalField.from_avatar(avatar).fold(condition + 0.1, head_pose)
    background = avatar.section("background")["image"]
    expected = render_field(folded, session.camera, background, backend="reference")
    away = (out.float() - expected.image * 255.0).abs()
    assert float((away > max_error).float().mean()) < 1e-3
    assert float((session.alpha.cpu() - expected.alpha).abs().max()) < 1e-2


def test_networks_that_are_too_wide_are_named(device: str) -> None:
    field, camera = slab(1.0, 0.2, device), Camera(2, 2, 2.0, 1.0, 1.0)
    wide = dataclasses.replace(
        field,
        weights=tuple(torch.zeros(*shape, device=device) for shape in ((200, 4), (200, 200), (4, 200))),
        biases=tuple(torch.zeros(n, device=device) for n in (200, 200, 4)),
    )
    with pytest.raises(ShapeError, match="200 hidden"):
        render_field(wide, camera, noise(camera, device), backend="triton")
