"""The session against the operator, on an avatar made by formula."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch

from dfanerf_rt.avatar import Avatar
from dfanerf_rt.errors import AvatarError, BackendUnavailable, ShapeError
from dfanerf_rt.field.config import CONDITION_DIM, FieldConfig
from dfanerf_rt.field.field import ConditionalField
from dfanerf_rt.ops.dispatch import reasons
from dfanerf_rt.ops.hash_encode import HashGridConfig
from dfanerf_rt.ops.render_field import render_field
from dfanerf_rt.render.session import RenderSession
from dfanerf_rt.render.synthetic import head_avatar

SIZE = 32
needs_native = pytest.mark.skipif(
    reasons("render_field", "cpu")["cpu"] is not None, reason=str(reasons("render_field", "cpu")["cpu"])
)


def make_avatar(n_blend: int = 3) -> Avatar:
    grid = HashGridConfig(n_levels=8, log2_table_size=12, base_resolution=8, max_resolution=64)
    return head_avatar(
        SIZE, FieldConfig(**dataclasses.asdict(grid), n_blend=n_blend, concat=True, occupancy_resolution=24)
    )


def frame_inputs(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    condition = torch.randn(CONDITION_DIM, generator=torch.Generator().manual_seed(seed)) * 0.5
    return condition, torch.tensor([0.02, 0.2, -0.03, 0.01, 0.0, 0.8])


@needs_native
@pytest.mark.parametrize("n_blend", [0, 3])
@pytest.mark.parametrize(("precision", "max_error"), [("float32", 0.03), ("bfloat16", 1.5)])
def test_session_shows_what_the_folded_field_says(n_blend: int, precision: str, max_error: float) -> None:
    avatar = make_avatar(n_blend)
    session = RenderSession(avatar, precision=precision)  # type: ignore[arg-type]
    for seed in (0, 1):  # the second frame must not remember the first
        condition, head_pose = frame_inputs(seed)
        with torch.no_grad():
            folded = ConditionalField.from_avatar(avatar).fold(condition, head_pose)
        background = avatar.section("background")["image"]
        expected = render_field(folded, session.camera, background, backend="reference").image * 255.0
        session.fold(condition, head_pose)
        found = session.render()
        assert found.dtype == torch.uint8 and session.samples
        rms = float((found.float() - expected).square().mean().sqrt())
        assert rms < math.hypot(1.0 / math.sqrt(12.0), max_error)  # rounding to bytes, and the renderer's own


@needs_native
def test_render_writes_into_the_callers_buffer() -> None:
    session = RenderSession(make_avatar())
    session.fold(*frame_inputs())
    kept = session.render().clone()
    out = torch.full((SIZE, SIZE, 3), 99, dtype=torch.uint8)
    assert session.render(out) is out
    assert torch.equal(out, kept)
    assert float(session.alpha.max()) > 0.9 and float(session.alpha.min()) == 0.0


def test_reference_session_is_the_operator() -> None:
    avatar = make_avatar()
    session = RenderSession(avatar, backend="reference")
    session.fold(*frame_inputs())
    with torch.no_grad():
        folded = ConditionalField.from_avatar(avatar).fold(*frame_inputs())
    out = torch.empty(SIZE, SIZE, 3, dtype=torch.uint8)
    render_field(folded, session.camera, avatar.section("background")["image"], out=out, backend="reference")
    assert torch.equal(session.render(), out)


def test_size_scales_the_camera_and_the_background() -> None:
    avatar = make_avatar()
    session = RenderSession(avatar, size=2 * SIZE)
    assert (session.width, session.height) == (2 * SIZE, 2 * SIZE)
    assert session.camera.focal_px == 2 * avatar.meta.focal_px
    session.fold(*frame_inputs())
    large = session.render().float()
    small_session = RenderSession(avatar, size=(SIZE, SIZE))
    small_session.fold(*frame_inputs())
    small_session.render()
    shrunk = torch.nn.functional.avg_pool2d(session.alpha[None, None], 2)[0, 0]
    assert float((shrunk - small_session.alpha).abs().mean()) < 0.02
    assert large.shape == (2 * SIZE, 2 * SIZE, 3)


def test_what_is_wrong_is_named() -> None:
    avatar = make_avatar()
    session = RenderSession(avatar)
    with pytest.raises(ShapeError, match="before fold"):
        session.render()
    session.fold(*frame_inputs())
    with pytest.raises(ShapeError, match="expected uint8"):
        session.render(torch.empty(SIZE, SIZE, 3))
    with pytest.raises(ShapeError, match="48"):
        session.fold(torch.zeros(47), torch.zeros(6))
    with pytest.raises(ShapeError, match="aspect"):
        RenderSession(avatar, size=(SIZE, 2 * SIZE))
    with pytest.raises(BackendUnavailable):
        RenderSession(avatar, backend="cuda")
    if not torch.cuda.is_available():
        with pytest.raises(BackendUnavailable, match="no CUDA GPU"):
            RenderSession(avatar, device="cuda")
    del avatar.tensors["background.image"]
    with pytest.raises(AvatarError, match=r"background\.image"):
        RenderSession(avatar)


@needs_native
def test_numpy_arrays_are_written_in_place() -> None:
    session = RenderSession(make_avatar())
    condition, head_pose = frame_inputs()
    session.fold(condition.numpy(), head_pose.numpy())
    larger = np.full((SIZE + 4, SIZE + 2, 3), 7, np.uint8)
    session.render(out=larger[2:-2, 1:-1])
    session.fold(condition, head_pose)
    assert np.array_equal(larger[2:-2, 1:-1], session.render().numpy())
    assert (larger[:2] == 7).all() and (larger[:, 0] == 7).all() and (larger[:, -1] == 7).all()
    larger.flags.writeable = False
    with pytest.raises(ShapeError, match="read-only"):
        session.render(out=larger[2:-2, 1:-1])


@needs_native
def test_an_unchanged_frame_is_the_same_picture() -> None:
    session = RenderSession(make_avatar())
    session.fold(*frame_inputs())
    first = session.render().clone()
    session.fold(*frame_inputs())
    out = torch.zeros_like(first)
    assert torch.equal(session.render(out), first)
    session.fold(*frame_inputs(1))
    assert not torch.equal(session.render(out), first)
    session.fold(*frame_inputs())
    assert torch.equal(session.render(), first)


@needs_native
@pytest.mark.parametrize("concat", [False, True])
def test_native_fold_agrees_with_the_fields(concat: bool) -> None:
    """Also far outside the training range, where condition and pose are pulled back, and with a torso that follows."""
    generator = torch.Generator().manual_seed(3)
    avatar = make_avatar()
    config = FieldConfig(**{**avatar.meta.field, "concat": concat})
    tensors = dict(avatar.tensors)
    if not concat:
        tensors["field.condition_weight"] = tensors["field.condition_weight"][:, :0]
    tensors["field.pose_weight"] = torch.randn(64, 6, generator=generator) * 0.05
    tensors["field.head_follow"] = torch.eye(6) + torch.randn(6, 6, generator=generator) * 0.1
    tensors["field.torso_follow"] = torch.randn(6, 6, generator=generator) * 0.1
    tensors["field.pose_std"] = torch.full((6,), 0.05)
    avatar = Avatar(dataclasses.replace(avatar.meta, field=dataclasses.asdict(config)), tensors)
    session = RenderSession(avatar, precision="float32")
    condition = torch.randn(CONDITION_DIM, generator=generator) * 3.0
    head_pose = torch.tensor([0.1, -0.4, 0.05, 0.02, -0.01, 0.85])
    with torch.no_grad():
        folded = ConditionalField.from_avatar(avatar).fold(condition, head_pose)
    background = avatar.section("background")["image"]
    expected = render_field(folded, session.camera, background, backend="reference")
    session.fold(condition, head_pose)
    difference = session.render().float() - expected.image * 255.0
    assert float(difference.square().mean().sqrt()) < 0.5
    assert float((session.alpha - expected.alpha).abs().mean()) < 1e-3


@needs_native
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_numbers_that_are_not_finite_are_refused(bad: float) -> None:
    session = RenderSession(make_avatar())
    condition, head_pose = frame_inputs()
    with pytest.raises(ShapeError, match="NaN"):
        session.fold(condition, torch.where(torch.arange(6) == 4, bad, head_pose))
    with pytest.raises(ShapeError, match="NaN"):
        session.fold(torch.where(torch.arange(48) == 7, bad, condition), head_pose)
    with pytest.raises(ShapeError, match="reach"):
        session.fold(condition, torch.tensor([0.0, 0.0, 0.0, 0.0, 0.0, -1e6]))
