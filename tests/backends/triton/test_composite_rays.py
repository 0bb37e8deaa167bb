"""Compositing of packed samples by Triton: a case by hand, and values and gradients against plain torch."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch

from dfanerf_rt.backends.triton import composite_rays as triton_backend
from dfanerf_rt.ops.composite_rays import CompositedRays, composite_rays
from dfanerf_rt.ops.march_rays import RaySamples

STEP_M = 0.01


def random_samples(n_rays: int, longest: int, device: str) -> tuple[torch.Tensor, torch.Tensor, RaySamples]:
    """Densities, colours, and samples of rays of every length from none on."""
    generator = torch.Generator().manual_seed(n_rays)
    counts = torch.randint(0, longest + 1, (n_rays,), generator=generator)
    counts[n_rays // 2 :][:2] = torch.tensor([0, longest])[: len(counts[n_rays // 2 :])]
    offsets = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    ray = torch.arange(n_rays).repeat_interleave(counts)
    within = torch.arange(len(ray)) - offsets[ray]
    t = 0.5 + STEP_M * (1.7 * within + torch.rand(len(ray), generator=generator))
    sigma, rgb = torch.rand(len(ray), generator=generator) * 40, torch.rand(len(ray), 3, generator=generator)
    return sigma.to(device), rgb.to(device), RaySamples(ray.to(device), t.to(device), offsets.to(device))


def with_gradients(
    sigma: torch.Tensor, rgb: torch.Tensor, samples: RaySamples, backend: str
) -> tuple[CompositedRays, tuple[torch.Tensor, ...]]:
    leaves = sigma.detach().requires_grad_(), rgb.detach().requires_grad_()
    out = composite_rays(*leaves, samples, STEP_M, backend)
    towards = torch.tensor([0.3, -0.5, 0.9], device=sigma.device)
    loss = (out.rgb @ towards).square().sum() + 0.7 * out.transmittance.square().sum() + 0.2 * out.distortion.sum()
    return out, torch.autograd.grad(loss, leaves)


@pytest.mark.parametrize("longest", [3, 32, 75])
def test_values_and_gradients_agree_with_the_reference(
    longest: int, device: str, some: Callable[[int, int], int]
) -> None:
    arguments = random_samples(some(3000, 9), longest, device)
    found, found_gradients = with_gradients(*arguments, "triton")
    expected, expected_gradients = with_gradients(*arguments, "reference")
    for name in CompositedRays._fields:
        torch.testing.assert_close(getattr(found, name), getattr(expected, name), atol=2e-5, rtol=2e-5)
    for ours, theirs in zip(found_gradients, expected_gradients, strict=True):
        torch.testing.assert_close(ours, theirs, atol=2e-5, rtol=2e-4)
    assert not found.weights.requires_grad


def test_two_samples_by_hand(device: str) -> None:
    """Half of the light stops at the first sample, and half of the rest at the second, one step behind."""
    sigma = torch.full((2,), math.log(2.0) / STEP_M, device=device)
    rgb = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]], device=device)
    ray, offsets = torch.zeros(2, dtype=torch.int64, device=device), torch.tensor([0, 2], device=device)
    samples = RaySamples(ray, torch.tensor([1.0, 1.01], device=device), offsets)
    out = composite_rays(sigma, rgb, samples, STEP_M, "triton")
    torch.testing.assert_close(out.weights.cpu(), torch.tensor([0.5, 0.25]))
    torch.testing.assert_close(out.rgb.cpu(), torch.tensor([[0.5, 0.25, 0.0]]))
    torch.testing.assert_close(out.transmittance.cpu(), torch.tensor([0.25]))
    # 2 * 0.5 * 0.25 * 1 step, and a third of 0.25 + 0.0625
    torch.testing.assert_close(out.distortion.cpu(), torch.tensor([0.25 + 0.3125 / 3]), atol=1e-4, rtol=0)


def test_no_digits_are_lost_behind_thin_air(device: str) -> None:
    """A thin sample before an opaque one: the opaque one still weighs exactly what the thin one lets through."""
    sigma = torch.tensor([0.5, 3e6], device=device)
    ray, offsets = torch.zeros(2, dtype=torch.int64, device=device), torch.tensor([0, 2], device=device)
    samples = RaySamples(ray, torch.tensor([1.0, 1.01], device=device), offsets)
    out = composite_rays(sigma, torch.ones(2, 3, device=device), samples, STEP_M, "triton")
    assert float(out.weights[1]) == pytest.approx(math.exp(-0.005), rel=1e-6)


@pytest.mark.parametrize("n_rays", [0, 3])
def test_rays_without_samples(n_rays: int, device: str) -> None:
    nothing = torch.zeros(0, device=device)
    samples = RaySamples(nothing.long(), nothing, torch.zeros(n_rays + 1, dtype=torch.int64, device=device))
    sigma = nothing.clone().requires_grad_()
    out = composite_rays(sigma, nothing.reshape(0, 3), samples, STEP_M, "triton")
    assert torch.equal(out.transmittance, torch.ones(n_rays, device=device))
    assert not out.rgb.any() and not out.distortion.any() and out.rgb.shape == (n_rays, 3)
    (gradient,) = torch.autograd.grad(out.rgb.sum() + out.transmittance.sum(), sigma)
    assert gradient.shape == (0,)


def test_inputs_that_are_not_contiguous(device: str) -> None:
    sigma, rgb, samples = random_samples(5, 7, device)
    expected, expected_gradients = with_gradients(sigma, rgb, samples, "reference")
    strided = sigma.repeat_interleave(2)[::2], rgb.t().contiguous().t()
    samples = RaySamples(samples.ray, samples.t.repeat_interleave(2)[::2], samples.offsets.repeat_interleave(2)[::2])
    found, found_gradients = with_gradients(*strided, samples, "triton")
    torch.testing.assert_close(found.rgb, expected.rgb, atol=1e-5, rtol=1e-5)
    for ours, theirs in zip(found_gradients, expected_gradients, strict=True):
        torch.testing.assert_close(ours, theirs, atol=2e-5, rtol=2e-4)


def test_offsets_that_leave_the_samples_read_nothing_outside(device: str) -> None:
    sigma, rgb, samples = random_samples(4, 6, device)
    wrong = torch.tensor([-5, 3, 2, 10**6, 10**9], device=device)
    # The operator looks at offsets on the CPU alone, so this asks the backend itself.
    rgb, transmittance, *_ = triton_backend.composite_rays(sigma, rgb, samples.t, samples.ray, wrong, STEP_M)
    assert bool(rgb.isfinite().all()) and bool(transmittance.isfinite().all())
    assert float(transmittance[1]) == 1.0  # a range that ends before it begins is empty


def test_only_wanted_gradients_are_made(device: str) -> None:
    sigma, rgb, samples = random_samples(3, 5, device)
    composite_rays(sigma.requires_grad_(), rgb, samples, STEP_M, "triton").rgb.sum().backward()
    assert sigma.grad is not None and rgb.grad is None
