"""The renderer: cases by hand, and the native one against the specification in every SIMD variant."""

from __future__ import annotations

import dataclasses
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from dfanerf_rt import native
from dfanerf_rt.backends.native.render_field import NativeRenderer, Precision
from dfanerf_rt.errors import ShapeError
from dfanerf_rt.ops.camera import Camera
from dfanerf_rt.ops.dispatch import reasons
from dfanerf_rt.ops.hash_encode import HashGridConfig
from dfanerf_rt.ops.render_field import FoldedField, RenderedFrame, render_field
from dfanerf_rt.render.synthetic import HIDDEN, head_camera, head_field

BACKENDS = ("reference", "cpu")
SMALL = HashGridConfig(n_levels=8, log2_table_size=12, base_resolution=8, max_resolution=64)
MIN_PSNR_DB = {"float32": 90.0, "bfloat16": 45.0}
"""Against the specification. Float32 differs by rounding, and by the rare sample that falls beside a cell's edge."""


@pytest.fixture(autouse=True)
def needs_native(request: pytest.FixtureRequest) -> None:
    reason = reasons("render_field", "cpu")["cpu"]
    if reason is not None and "reference" not in request.node.name:
        pytest.skip(reason)


def psnr_db(found: torch.Tensor, expected: torch.Tensor) -> float:
    return -10.0 * math.log10(float(((found.float() - expected.float()) ** 2).mean()) + 1e-20)


def small_field(seed: int = 0, turn_rad: float = 0.2) -> FoldedField:
    return head_field(seed, SMALL, occupancy_resolution=24, turn_rad=turn_rad)


def noise(camera: Camera, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(camera.height, camera.width, 3, generator=generator)


def box_field(sigma: float, depth_m: float, occupied: bool = True) -> FoldedField:
    """A box of one density and the colour sigmoid(1), its near face 1 m in front of the camera."""
    zero = torch.zeros
    still = torch.tensor([[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]])
    return FoldedField(
        grid=SMALL,
        table=zero(SMALL.n_entries, 2),
        weights=(zero(64, 16), zero(64, 64), zero(4, 64)),
        biases=(zero(64), zero(64), torch.tensor([math.log(sigma), 1.0, 1.0, 1.0])),
        aabb=torch.tensor([[-1.0, -1.0, 1.0], [1.0, 1.0, 1.0 + depth_m]]),
        head_to_camera=still,
        torso_to_camera=still,
        neck=torch.tensor([0.0, -10.0, 0.0, 0.0]),
        occupancy=torch.full((8, 8, 8), int(occupied), dtype=torch.uint8),
        near_m=0.5,
        far_m=3.0,
        step_m=0.001,
    )


@pytest.mark.parametrize("backend", BACKENDS)
def test_uniform_slab(backend: str) -> None:
    """alpha = 1 - exp(-sigma L), the colour over the background, the depth of an exponential's mean."""
    sigma, length = 4.0, 0.25
    camera = Camera(1, 1, 1000.0, 0.5, 0.5)
    frame = render_field(box_field(sigma, length), camera, torch.full((1, 1, 3), 0.25), backend=backend)
    alpha = 1.0 - math.exp(-sigma * length)
    assert float(frame.alpha) == pytest.approx(alpha, abs=2e-3)
    colour = 1.0 / (1.0 + math.exp(-1.0))
    torch.testing.assert_close(
        frame.image[0, 0], torch.full((3,), alpha * colour + (1.0 - alpha) * 0.25), atol=2e-3, rtol=0.0
    )
    mean = 1.0 + 1.0 / sigma - length * (1.0 - alpha) / alpha
    assert float(frame.depth_m) == pytest.approx(mean, abs=2e-3)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.uint8])
def test_background_passes_exactly_where_nothing_is(backend: str, dtype: torch.dtype) -> None:
    camera = Camera(19, 11, 20.0, 9.0, 5.0)
    background = noise(camera)
    background = (background * 255).to(torch.uint8) if dtype == torch.uint8 else background
    out = torch.empty(11, 19, 3, dtype=dtype)
    out.fill_(77 if dtype == torch.uint8 else math.nan)
    frame = render_field(box_field(4.0, 0.25, occupied=False), camera, background, out=out, backend=backend)
    assert frame.image is out
    assert torch.equal(out, background)
    assert not frame.alpha.any() and not frame.depth_m.any()


@pytest.mark.parametrize(("width", "height"), [(1, 1), (17, 5), (33, 40)])
def test_native_agrees_with_the_reference(width: int, height: int) -> None:
    field, camera = small_field(), dataclasses.replace(head_camera(width), height=height)
    background = noise(camera)
    expected = render_field(field, camera, background, backend="reference")
    found = render_field(field, camera, background, backend="cpu")
    assert psnr_db(found.image, expected.image) > MIN_PSNR_DB["float32"]
    assert psnr_db(found.alpha, expected.alpha) > MIN_PSNR_DB["float32"]
    seen = expected.alpha > 0.01  # the depth of next to nothing is all rounding
    assert not bool(seen.any()) or float((found.depth_m - expected.depth_m)[seen].abs().max()) < 1e-4


def test_native_agrees_where_the_grid_is_the_usual_one() -> None:
    field, camera = head_field(3), head_camera(24)
    expected = render_field(field, camera, noise(camera), backend="reference")
    found = render_field(field, camera, noise(camera), backend="cpu")
    assert float(expected.alpha.max()) > 0.99 and 0.2 < float(expected.alpha.mean()) < 0.8
    assert psnr_db(found.image, expected.image) > MIN_PSNR_DB["float32"]


def test_samples_at_the_faces_of_the_box() -> None:
    """Where a dense level's index runs over its end, it wraps round as tiny-cuda-nn's does."""
    field = dataclasses.replace(small_field(), occupancy=torch.ones(5, 5, 5, dtype=torch.uint8), near_m=0.1)
    thin = (*field.biases[:2], field.biases[2] - 2.0)
    field = dataclasses.replace(field, biases=thin, table=field.table * 0.3)
    camera = head_camera(24)
    expected = render_field(field, camera, noise(camera), backend="reference")
    found = render_field(field, camera, noise(camera), backend="cpu")
    assert psnr_db(found.image, expected.image) > 80.0


def test_head_and_torso_that_move_as_one() -> None:
    field, camera = small_field(turn_rad=0.0), head_camera(32)
    assert torch.equal(field.head_to_camera, field.torso_to_camera)
    expected = render_field(field, camera, noise(camera), backend="reference")
    found = render_field(field, camera, noise(camera), backend="cpu")
    assert psnr_db(found.image, expected.image) > MIN_PSNR_DB["float32"]


def test_scattered_occupancy_is_never_hopped_over() -> None:
    """Lone cells in empty space, and a sharp neck between two frames far apart, are where hops could go wrong."""
    generator = torch.Generator().manual_seed(5)
    field = small_field(turn_rad=0.6)
    scattered = (torch.rand(16, 16, 16, generator=generator) < 0.03).to(torch.uint8)
    field = dataclasses.replace(field, occupancy=scattered, neck=field.neck * 4.0, near_m=0.3)
    field = dataclasses.replace(field, biases=(*field.biases[:2], torch.tensor([3.0, 1.0, 0.0, -1.0])))
    camera = head_camera(32)
    expected = render_field(field, camera, noise(camera), backend="reference")
    found = render_field(field, camera, noise(camera), backend="cpu")
    assert psnr_db(found.alpha, expected.alpha) > 75.0


def test_inputs_that_are_not_contiguous_and_poisoned_outputs() -> None:
    field, camera = small_field(), head_camera(30)
    background = noise(camera)
    expected = render_field(field, camera, background, backend="cpu").image
    strided = dataclasses.replace(
        field,
        table=field.table.repeat(1, 2)[:, :2],
        weights=tuple(w.t().contiguous().t() for w in field.weights),
        occupancy=field.occupancy.permute(2, 1, 0).contiguous().permute(2, 1, 0),
    )
    out = torch.full((30, 60, 3), math.nan)[:, ::2]
    frame = render_field(strided, camera, background.transpose(0, 1).contiguous().transpose(0, 1), out, backend="cpu")
    assert frame.image is out
    assert torch.equal(out, expected)


def test_bytes_are_the_rounded_floats() -> None:
    field, camera = small_field(), head_camera(32)
    background = (noise(camera) * 255).to(torch.uint8)
    exact = render_field(field, camera, background.float() / 255.0, backend="cpu").image
    found = render_field(field, camera, background, torch.empty(32, 32, 3, dtype=torch.uint8), backend="cpu").image
    assert float((found.float() - exact * 255.0).abs().max()) <= 0.501


def render_native(precision: Precision, n_threads: int) -> RenderedFrame:
    field, camera = small_field(), head_camera(33)
    renderer = NativeRenderer(field.grid, HIDDEN, field.occupancy, field.aabb, precision, n_threads)
    renderer.load_network(field)
    renderer.place(field)
    renderer.load_table(field.table)
    frame = RenderedFrame(torch.full((33, 33, 3), math.nan), torch.full((33, 33), math.nan), torch.empty(33, 33))
    renderer.render(camera, noise(camera), *frame)
    assert renderer.samples > 0
    return frame


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_any_number_of_threads_gives_the_same_bits(precision: Precision) -> None:
    one = render_native(precision, 1)
    for n_threads in (2, 3, 7):
        many = render_native(precision, n_threads)
        assert torch.equal(one.image, many.image) and torch.equal(one.alpha, many.alpha)


@pytest.mark.parametrize("simd", ["portable", "avx2", "avx512"])
def test_every_simd_variant_agrees_with_the_reference(simd: str, tmp_path: Path) -> None:
    variants = native.load().BUILD_INFO["simd_variants"].split()
    if simd not in variants or variants.index(simd) > variants.index(native.load().simd_level()):
        pytest.skip(f"this processor does not run {simd}")
    script = (
        "import sys, importlib.util, torch\n"
        "spec = importlib.util.spec_from_file_location('cases', sys.argv[1])\n"
        "cases = importlib.util.module_from_spec(spec); spec.loader.exec_module(cases)\n"
        "assert cases.native.load().simd_level() == sys.argv[2]\n"
        "torch.save({p: tuple(cases.render_native(p, 2)) for p in cases.MIN_PSNR_DB}, sys.argv[3])\n"
    )
    target = tmp_path / "frames.pt"
    # The variant is chosen once a process.
    command = [sys.executable, "-c", script, __file__, simd, str(target)]
    subprocess.run(command, env={**os.environ, "DFANERF_SIMD": simd}, check=True)
    camera = head_camera(33)
    expected = render_field(small_field(), camera, noise(camera), backend="reference")
    for precision, (image, alpha, _) in torch.load(target, weights_only=True).items():
        assert psnr_db(image, expected.image) > MIN_PSNR_DB[precision], precision
        assert psnr_db(alpha, expected.alpha) > MIN_PSNR_DB[precision], precision


def test_what_cannot_be_rendered_is_named() -> None:
    field, camera = small_field(), head_camera(8)
    background = noise(camera)
    with pytest.raises(ShapeError, match="table"):
        render_field(dataclasses.replace(field, table=field.table[1:]), camera, background)
    with pytest.raises(ShapeError, match="occupancy"):
        render_field(dataclasses.replace(field, occupancy=field.occupancy.bool()), camera, background)
    for name in ("head_to_camera", "torso_to_camera", "neck"):
        with pytest.raises(ShapeError, match="NaN or infinity"):
            render_field(dataclasses.replace(field, **{name: getattr(field, name) / 0.0}), camera, background)
    with pytest.raises(ShapeError, match="samples a ray"):
        render_field(dataclasses.replace(field, step_m=1e-9), camera, background)
    with pytest.raises(ShapeError, match="step_m"):
        render_field(dataclasses.replace(field, step_m=0.0), camera, background)
    with pytest.raises(ShapeError, match="background"):
        render_field(field, camera, background[:, :-1])
    with pytest.raises(ShapeError, match="out"):
        render_field(field, camera, background, out=torch.empty(8, 8, 3, dtype=torch.float64))
    with pytest.raises(ShapeError, match="width"):
        Camera(0, 8, 10.0, 0.0, 0.0)
    with pytest.raises(ShapeError, match="2 features"):
        wide = dataclasses.replace(SMALL, n_features=4)
        NativeRenderer(wide, HIDDEN, field.occupancy, field.aabb, "float32", 1)


def test_camera_resized_sees_the_same() -> None:
    camera = Camera(100, 50, 120.0, 48.0, 26.0)
    assert camera.resized(200, 100) == Camera(200, 100, 240.0, 96.0, 52.0)
    with pytest.raises(ShapeError, match="use 200x100"):
        camera.resized(200, 200)
    middle = Camera(3, 3, 10.0, 1.5, 1.5).ray_directions()
    torch.testing.assert_close(middle[1, 1], torch.tensor([0.0, 0.0, 1.0]))
    torch.testing.assert_close(middle[1, 2], torch.tensor([1.0, 0.0, 10.0]) / math.sqrt(101.0))
