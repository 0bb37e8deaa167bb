"""Packed compositing: a case by hand, both backends against each other and against the dense operator."""

from __future__ import annotations

import math

import pytest
import torch

from dfanerf_rt.errors import ShapeError
from dfanerf_rt.ops.composite_rays import composite_rays
from dfanerf_rt.ops.march_rays import RaySamples

BACKENDS = ("cpu", "reference")


def random_samples(seed: int, n_rays: int = 33) -> tuple[torch.Tensor, torch.Tensor, RaySamples]:
    generator = torch.Generator().manual_seed(seed)
    counts = torch.randint(0, 12, (n_rays,), generator=generator)
    counts[3] = 0
    offsets = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    ray = torch.arange(n_rays).repeat_interleave(counts)
    within = torch.arange(len(ray)) - offsets[ray]
    t = 0.5 + 0.01 * (1.7 * within + torch.rand(len(ray), generator=generator))
    sigma = torch.rand(len(ray), generator=generator) * 120
    return sigma, torch.rand(len(ray), 3, generator=generator), RaySamples(ray, t, offsets)


@pytest.mark.parametrize("backend", BACKENDS)
def test_two_samples_by_hand(backend: str) -> None:
    """Half of the light stops at the first sample, and half of the rest at the second, one step behind."""
    sigma = torch.full((2,), math.log(2.0) / 0.01)
    rgb = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    samples = RaySamples(torch.tensor([0, 0]), torch.tensor([1.0, 1.01]), torch.tensor([0, 2]))
    out = composite_rays(sigma, rgb, samples, 0.01, backend)
    torch.testing.assert_close(out.weights, torch.tensor([0.5, 0.25]))
    torch.testing.assert_close(out.rgb, torch.tensor([[0.5, 0.25, 0.0]]))
    torch.testing.assert_close(out.transmittance, torch.tensor([0.25]))
    # 2 * 0.5 * 0.25 * 1 step, and a third of 0.25 + 0.0625
    torch.testing.assert_close(out.distortion, torch.tensor([0.25 + 0.3125 / 3]), atol=1e-4, rtol=0)


def test_backends_agree_forward_and_backward() -> None:
    sigma, rgb, samples = random_samples(1)
    weight = torch.rand(5, generator=torch.Generator().manual_seed(2))
    found = []
    for backend in BACKENDS:
        s, c = sigma.clone().requires_grad_(), rgb.clone().requires_grad_()
        out = composite_rays(s, c, samples, 0.01, backend)
        loss = (out.rgb @ weight[:3]).square().sum() + weight[3] * out.transmittance.square().sum()
        (loss + weight[4] * out.distortion.sum()).backward()
        found.append((*out, s.grad, c.grad))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, atol=2e-5, rtol=2e-4)


def test_gradient_against_differences() -> None:
    sigma, rgb, samples = random_samples(4, n_rays=6)
    s = sigma.double().requires_grad_()

    def loss(values: torch.Tensor) -> torch.Tensor:
        out = composite_rays(values, rgb.double(), samples, 0.01, "reference")
        return out.rgb.sum() + out.transmittance.square().sum() + out.distortion.sum()

    assert torch.autograd.gradcheck(loss, (s,), eps=1e-4, atol=1e-6)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("n_samples", [1, 7, 64])
def test_uniform_slab(backend: str, n_samples: int) -> None:
    """Whatever the step, a slab of density 3/m and 0.4 m thick stops 1 - exp(-1.2) of the light."""
    step = 0.4 / n_samples
    samples = RaySamples(
        torch.zeros(n_samples, dtype=torch.int64), step * torch.arange(n_samples), torch.tensor([0, n_samples])
    )
    out = composite_rays(torch.full((n_samples,), 3.0), torch.ones(n_samples, 3), samples, step, backend)
    assert float(out.transmittance) == pytest.approx(math.exp(-1.2), abs=1e-6)
    torch.testing.assert_close(out.rgb, 1 - out.transmittance[:, None].expand(1, 3))


def test_wrong_shapes_are_refused() -> None:
    sigma, rgb, samples = random_samples(1)
    with pytest.raises(ShapeError, match="expected"):
        composite_rays(sigma[1:], rgb, samples, 0.01)
    with pytest.raises(ShapeError, match="offsets"):
        bad = RaySamples(samples.ray, samples.t, samples.offsets + 1)
        composite_rays(sigma, rgb, bad, 0.01, "cpu")
