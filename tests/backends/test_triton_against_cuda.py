"""On a GPU: the Triton kernels and those of the native module, which were written apart, agree."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from dfanerf_rt.ops.composite_rays import composite_rays
from dfanerf_rt.ops.condition_layer import condition_layer
from dfanerf_rt.ops.dispatch import reasons
from dfanerf_rt.ops.hash_encode import HashGridConfig, hash_encode
from dfanerf_rt.ops.march_rays import RaySamples, march_rays
from dfanerf_rt.ops.render_field import FoldedField, render_field
from dfanerf_rt.render.synthetic import head_camera, head_field

pytestmark = pytest.mark.gpu
BOTH = ("triton", "cuda")


def require(operator: str) -> None:
    """Skip, saying why, where one of the two cannot run."""
    why = {name: reason for name, reason in reasons(operator, "cuda").items() if name in BOTH and reason is not None}
    if why:
        pytest.skip("; ".join(f"{name}: {reason}" for name, reason in why.items()))


def assert_close(ours: torch.Tensor, theirs: torch.Tensor, relative: float = 1e-5) -> None:
    assert ours.shape == theirs.shape and ours.dtype == theirs.dtype
    assert float((ours - theirs).norm()) <= relative * float(theirs.norm()) + 1e-7


def on_gpu(field: FoldedField) -> FoldedField:
    def moved(value: object) -> object:
        if isinstance(value, torch.Tensor):
            return value.cuda()
        return tuple(part.cuda() for part in value) if isinstance(value, tuple) else value

    return FoldedField(**{f.name: moved(getattr(field, f.name)) for f in dataclasses.fields(field)})


def test_hash_encode() -> None:
    require("hash_encode")
    config, generator = HashGridConfig(), torch.Generator().manual_seed(0)
    positions = torch.rand(50_001, 3, generator=generator).cuda()
    table = torch.randn(config.n_entries, 2, generator=generator).cuda()
    towards = torch.randn(50_001, 32, generator=generator).cuda()
    found = []
    for backend in BOTH:
        leaves = positions.clone().requires_grad_(), table.clone().requires_grad_()
        out = hash_encode(*leaves, config, backend)
        found.append((out.detach(), *torch.autograd.grad(out, leaves, towards)))
    for ours, theirs in zip(*found, strict=True):
        assert_close(ours, theirs)


def test_march_rays_and_composite_rays() -> None:
    require("march_rays")
    require("composite_rays")
    field, generator = on_gpu(head_field(0)), torch.Generator().manual_seed(0)
    directions = head_camera(64).ray_directions("cuda").reshape(-1, 3)
    jitter = torch.rand(len(directions), generator=generator).cuda()
    ours, theirs = (march_rays(field, directions, jitter, backend) for backend in BOTH)
    differing = (ours.offsets.diff() - theirs.offsets.diff()).abs().sum() / len(theirs.t)
    assert float(differing) < 1e-3  # a rounding decides about samples on a cell's border
    sigma = torch.rand(len(ours.t), generator=generator).mul(60).cuda()
    rgb = torch.rand(len(ours.t), 3, generator=generator).cuda()
    found = []
    for backend in BOTH:
        leaves = sigma.clone().requires_grad_(), rgb.clone().requires_grad_()
        out = composite_rays(*leaves, RaySamples(ours.ray, ours.t, ours.offsets), field.step_m, backend)
        loss = out.rgb.square().sum() + out.transmittance.square().sum() + out.distortion.sum()
        found.append((*(part.detach() for part in out), *torch.autograd.grad(loss, leaves)))
    for mine, other in zip(*found, strict=True):
        assert_close(mine, other, 1e-4)


def test_condition_layer() -> None:
    require("condition_layer")
    generator = torch.Generator().manual_seed(0)
    shapes = (70_001, 32), (5, 54), (64, 86), (64,)
    features, condition, weight, bias = (torch.randn(*shape, generator=generator).cuda() for shape in shapes)
    frame = torch.randint(5, (70_001,), generator=generator, dtype=torch.int32).cuda()
    towards = torch.randn(70_001, 64, generator=generator).cuda()
    found = []
    for backend in BOTH:
        leaves = [tensor.clone().requires_grad_() for tensor in (features, condition, weight, bias)]
        out = condition_layer(leaves[0], leaves[1], frame, leaves[2], leaves[3], backend)
        found.append((out.detach(), *torch.autograd.grad(out, leaves, towards)))
    for ours, theirs in zip(*found, strict=True):
        assert_close(ours, theirs, 1e-3)  # a ReLU that a rounding opens moves a whole sample's gradient


def test_render_field() -> None:
    require("render_field")
    field, camera = on_gpu(head_field(0)), head_camera(192)
    background = torch.rand(192, 192, 3, generator=torch.Generator().manual_seed(0)).cuda()
    ours, theirs = (render_field(field, camera, background, backend=backend) for backend in BOTH)
    assert float((ours.image - theirs.image).square().mean().sqrt()) < 2e-3  # one of them in half precision
    assert float((ours.alpha - theirs.alpha).square().mean().sqrt()) < 2e-3
