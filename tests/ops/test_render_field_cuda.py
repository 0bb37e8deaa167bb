"""The fused CUDA renderer on a GPU, and what it refuses. (Without a GPU, csrc/tests runs its lines on the host.)"""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch

from dfanerf_rt.avatar import Avatar
from dfanerf_rt.backends.native.cuda_render_field import CudaRenderer
from dfanerf_rt.errors import ShapeError
from dfanerf_rt.field.config import CONDITION_DIM, FieldConfig
from dfanerf_rt.field.field import ConditionalField
from dfanerf_rt.ops.camera import Camera
from dfanerf_rt.ops.hash_encode import HashGridConfig
from dfanerf_rt.ops.render_field import FoldedField, render_field
from dfanerf_rt.render.session import RenderSession
from dfanerf_rt.render.synthetic import head_avatar, head_camera, head_field

SMALL = HashGridConfig(n_levels=8, log2_table_size=12, base_resolution=8, max_resolution=64)
MIN_PSNR_DB = 45.0
"""Table, weights and activations in float16, against the specification in float32."""
TENSORS = ("table", "aabb", "head_to_camera", "torso_to_camera", "neck", "occupancy")


def on_gpu(field: FoldedField) -> FoldedField:
    moved = {name: getattr(field, name).cuda() for name in TENSORS}
    groups = {name: tuple(tensor.cuda() for tensor in getattr(field, name)) for name in ("weights", "biases")}
    return dataclasses.replace(field, **moved, **groups)


def psnr_db(found: torch.Tensor, expected: torch.Tensor) -> float:
    return -10.0 * math.log10(float(((found.cpu().float() - expected.cpu().float()) ** 2).mean()) + 1e-20)


def noise(camera: Camera) -> torch.Tensor:
    return torch.rand(camera.height, camera.width, 3, generator=torch.Generator().manual_seed(0))


def of_width(field: FoldedField, hidden: int) -> FoldedField:
    """The same function by a network of another width: units added that do nothing."""
    w1, w2, w3 = field.weights
    grown = (hidden, w1.shape[1]), (hidden, hidden), (4, hidden)
    weights = [torch.zeros(shape) for shape in grown]
    kept = min(hidden, w1.shape[0])
    weights[0][:kept], weights[1][:kept, :kept], weights[2][:, :kept] = w1[:kept], w2[:kept, :kept], w3[:, :kept]
    biases = [torch.zeros(hidden), torch.zeros(hidden), field.biases[2]]
    for layer in (0, 1):
        biases[layer][:kept] = field.biases[layer][:kept]
    return dataclasses.replace(
        field, weights=(weights[0], weights[1], weights[2]), biases=(biases[0], biases[1], biases[2])
    )


def make_avatar(n_blend: int, size: int = 48) -> Avatar:
    config = FieldConfig(**dataclasses.asdict(SMALL), n_blend=n_blend, concat=True, occupancy_resolution=24)
    return head_avatar(size, config)


def frame_inputs(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    condition = torch.randn(CONDITION_DIM, generator=torch.Generator().manual_seed(seed)) * 0.5
    return condition, torch.tensor([0.02, 0.2 - 0.1 * seed, -0.03, 0.01, 0.0, 0.8])


@pytest.mark.gpu
@pytest.mark.parametrize(("width", "height"), [(1, 1), (17, 5), (64, 64), (257, 131)])
@pytest.mark.parametrize("turn_rad", [0.0, 0.2])
def test_agrees_with_the_reference(width: int, height: int, turn_rad: float) -> None:
    field = head_field(0, SMALL, occupancy_resolution=24, turn_rad=turn_rad)
    camera = dataclasses.replace(head_camera(width), height=height)
    background = noise(camera)
    expected = render_field(on_gpu(field), camera, background.cuda(), backend="reference")
    out = torch.full((height, width, 3), math.nan, device="cuda")
    found = render_field(on_gpu(field), camera, background.cuda(), out=out, backend="cuda")
    assert found.image is out
    assert psnr_db(found.image, expected.image) > MIN_PSNR_DB
    assert psnr_db(found.alpha, expected.alpha) > MIN_PSNR_DB
    seen = expected.alpha > 0.5
    assert not bool(seen.any()) or float((found.depth_m - expected.depth_m)[seen].abs().max()) < 5e-3


@pytest.mark.gpu
@pytest.mark.parametrize("hidden", [32, 64, 128])
@pytest.mark.parametrize("n_levels", [4, 8, 16, 20])
def test_every_width_and_number_of_levels(hidden: int, n_levels: int) -> None:
    grid = dataclasses.replace(SMALL, n_levels=n_levels)
    field = of_width(head_field(1, grid, occupancy_resolution=24), hidden)
    camera = head_camera(64)
    background = noise(camera).cuda()
    expected = render_field(on_gpu(field), camera, background, backend="reference")
    found = render_field(on_gpu(field), camera, background, backend="cuda")
    assert psnr_db(found.image, expected.image) > MIN_PSNR_DB


@pytest.mark.gpu
def test_bytes_are_the_rounded_floats() -> None:
    field, camera = on_gpu(head_field(0, SMALL, occupancy_resolution=24)), head_camera(96)
    background = (noise(camera) * 255).to(torch.uint8).cuda()
    exact = render_field(field, camera, background.float() / 255.0, backend="cuda").image
    out = torch.full((96, 96, 3), 77, dtype=torch.uint8, device="cuda")
    found = render_field(field, camera, background, out, backend="cuda")
    assert float((found.image.float() - exact * 255.0).abs().max()) <= 0.501
    nothing = found.alpha == 0.0
    assert bool(nothing.any()) and torch.equal(found.image[nothing], background[nothing])


@pytest.mark.gpu
def test_inputs_and_outputs_that_are_not_contiguous() -> None:
    field, camera = on_gpu(head_field(0, SMALL, occupancy_resolution=24)), head_camera(40)
    background = noise(camera).cuda()
    expected = render_field(field, camera, background, backend="cuda").image
    strided = dataclasses.replace(field, table=field.table.repeat(1, 2)[:, :2])
    out = torch.full((40, 80, 3), math.nan, device="cuda")[:, ::2]
    turned = background.transpose(0, 1).contiguous().transpose(0, 1)
    assert render_field(strided, camera, turned, out, backend="cuda").image is out
    assert torch.equal(out, expected)


@pytest.mark.gpu
@pytest.mark.parametrize("n_blend", [0, 3])
def test_session_shows_what_the_folded_field_says(n_blend: int) -> None:
    avatar = make_avatar(n_blend)
    session = RenderSession(avatar, device="cuda")
    for seed in (0, 1, 0):  # the captured graph must not remember an earlier frame
        condition, head_pose = frame_inputs(seed)
        with torch.no_grad():
            folded = ConditionalField.from_avatar(avatar).fold(condition, head_pose)
        background = avatar.section("background")["image"]
        expected = render_field(folded, session.camera, background, backend="reference").image * 255.0
        session.fold(condition, head_pose)
        found = session.render()
        assert found.is_cuda and found.dtype == torch.uint8 and session.samples
        assert psnr_db(found.float() / 255.0, expected / 255.0) > MIN_PSNR_DB


@pytest.mark.gpu
def test_a_replayed_graph_gives_the_bits_of_plain_launches() -> None:
    avatar = make_avatar(3)
    session = RenderSession(avatar, device="cuda")
    field = ConditionalField.from_avatar(avatar).cuda().eval()
    renderer = CudaRenderer(field.config.grid, field.config.hidden, field.occupancy, field.aabb, torch.device("cuda"))
    renderer.load_field(field)
    background = avatar.section("background")["image"].cuda()
    for seed in range(3):
        condition, head_pose = frame_inputs(seed)
        session.fold(condition, head_pose)
        picture = torch.full_like(background, 77)
        renderer.fold(condition.cuda(), head_pose.cuda())
        renderer.render(session.camera, background, picture, None, None)
        assert torch.equal(session.render(), picture)
        assert renderer.samples > 0 and renderer.lookups > renderer.samples


@pytest.mark.gpu
def test_other_streams_and_pinned_memory() -> None:
    session = RenderSession(make_avatar(3), device="cuda")
    session.fold(*frame_inputs())
    expected = session.render().cpu()
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    pinned = torch.full_like(expected, 77).pin_memory()
    with torch.cuda.stream(stream):
        session.fold(*frame_inputs(1))
        session.render()
        session.fold(*frame_inputs(0))
        assert session.render(pinned) is pinned
    stream.synchronize()
    assert torch.equal(pinned, expected)
    pageable = torch.full_like(expected, 77)
    session.fold(*frame_inputs(1))
    session.render(pageable)
    session.fold(*frame_inputs(0))
    assert torch.equal(session.render(pageable), expected)


@pytest.mark.gpu
def test_numbers_that_are_none_do_no_harm_on_the_gpu() -> None:
    field = ConditionalField.from_avatar(make_avatar(3)).cuda()
    renderer = CudaRenderer(field.config.grid, field.config.hidden, field.occupancy, field.aabb, torch.device("cuda"))
    renderer.load_field(field)
    picture = torch.zeros(48, 48, 3, dtype=torch.uint8, device="cuda")
    for bad in (math.nan, math.inf, 1e30):
        renderer.fold(torch.full((48,), bad, device="cuda"), torch.full((6,), bad, device="cuda"))
        renderer.render(head_camera(48), picture.clone(), picture, None, None)
        torch.cuda.synchronize()


@pytest.mark.gpu
def test_what_the_renderer_does_not_take_is_named() -> None:
    field, camera = on_gpu(head_field(0, SMALL, occupancy_resolution=24)), head_camera(16)
    device = torch.device("cuda")
    background = noise(camera).cuda()
    with pytest.raises(ShapeError, match="hidden: 48"):
        render_field(on_gpu(of_width(head_field(0, SMALL), 48)), camera, background, backend="cuda")
    with pytest.raises(ShapeError, match="2 features"):
        CudaRenderer(dataclasses.replace(SMALL, n_features=4), 64, field.occupancy, field.aabb, device)
    renderer = CudaRenderer(SMALL, 64, field.occupancy, field.aabb, device)
    image = torch.empty(16, 16, 3, device=device)
    with pytest.raises(ShapeError, match="before"):
        renderer.render(camera, background, image, None, None)
    renderer.load_network(field)
    renderer.load_table(field.table)
    renderer.place(field)
    with pytest.raises(ShapeError, match="lies on cpu"):
        renderer.render(camera, background.cpu(), image, None, None)
    with pytest.raises(ShapeError, match="float64"):
        renderer.render(camera, background, image.double(), None, None)
    with pytest.raises(ShapeError, match="background"):
        renderer.render(camera, background[:, 1:], image, None, None)
    with pytest.raises(ShapeError, match="alpha"):
        renderer.render(camera, background, image, torch.empty(3, 3, device=device), None)
    with pytest.raises(ShapeError, match="fold before"):
        renderer.fold(torch.zeros(48, device=device), torch.zeros(6, device=device))


def test_a_gpu_is_asked_for_by_name() -> None:
    field = head_field(0, SMALL, occupancy_resolution=24)
    with pytest.raises(ShapeError, match="found device cpu"):
        CudaRenderer(SMALL, 64, field.occupancy, field.aabb, torch.device("cpu"))
