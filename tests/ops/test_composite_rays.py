"""Packed compositing: a case by hand, every backend against plain torch in float64, and bad input."""

from __future__ import annotations

import math

import pytest
import torch

from dfanerf_rt import native
from dfanerf_rt.backends.native.streams import stream_of
from dfanerf_rt.errors import ShapeError
from dfanerf_rt.ops.composite_rays import composite_rays
from dfanerf_rt.ops.march_rays import RaySamples

BACKENDS = (
    ("cpu", "cpu"),
    ("reference", "cpu"),
    pytest.param("cuda", "cuda", marks=pytest.mark.gpu),
)
NATIVE_DEVICES = ("cpu", pytest.param("cuda", marks=pytest.mark.gpu))
STEP_M = 0.01


def random_samples(seed: int, n_rays: int = 33, longest: int = 12) -> tuple[torch.Tensor, torch.Tensor, RaySamples]:
    generator = torch.Generator().manual_seed(seed)
    counts = torch.randint(0, longest, (n_rays,), generator=generator)
    counts[n_rays // 2] = 0
    offsets = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    ray = torch.arange(n_rays).repeat_interleave(counts)
    within = torch.arange(len(ray)) - offsets[ray]
    t = 0.5 + STEP_M * (1.7 * within + torch.rand(len(ray), generator=generator))
    sigma = torch.rand(len(ray), generator=generator) * 1000 / longest
    return sigma, torch.rand(len(ray), 3, generator=generator), RaySamples(ray, t, offsets)


def on(device: str, samples: RaySamples) -> RaySamples:
    return RaySamples(samples.ray.to(device), samples.t.to(device), samples.offsets.to(device))


@pytest.mark.parametrize(("backend", "device"), BACKENDS)
def test_two_samples_by_hand(backend: str, device: str) -> None:
    """Half of the light stops at the first sample, and half of the rest at the second, one step behind."""
    sigma = torch.full((2,), math.log(2.0) / STEP_M, device=device)
    rgb = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]], device=device)
    samples = on(device, RaySamples(torch.tensor([0, 0]), torch.tensor([1.0, 1.01]), torch.tensor([0, 2])))
    out = (tensor.cpu() for tensor in composite_rays(sigma, rgb, samples, STEP_M, backend))
    colour, transmittance, distortion, weights = out
    torch.testing.assert_close(weights, torch.tensor([0.5, 0.25]))
    torch.testing.assert_close(colour, torch.tensor([[0.5, 0.25, 0.0]]))
    torch.testing.assert_close(transmittance, torch.tensor([0.25]))
    # 2 * 0.5 * 0.25 * 1 step, and a third of 0.25 + 0.0625
    torch.testing.assert_close(distortion, torch.tensor([0.25 + 0.3125 / 3]), atol=1e-4, rtol=0)


@pytest.mark.parametrize(("backend", "device"), BACKENDS)
@pytest.mark.parametrize(("n_rays", "longest"), [(1, 9), (33, 12), (150, 40), (7, 300)])
def test_values_and_gradients(n_rays: int, longest: int, backend: str, device: str) -> None:
    sigma, rgb, samples = random_samples(n_rays, n_rays, longest)
    towards = torch.rand(5, generator=torch.Generator().manual_seed(2)) - 0.3
    found = []
    for name, place, dtype in (("reference", "cpu", torch.float64), (backend, device, torch.float32)):
        s, c = (tensor.to(place, dtype).requires_grad_() for tensor in (sigma, rgb))
        moved, w = on(place, samples), towards.to(place, dtype)
        if dtype == torch.float64:
            moved = RaySamples(moved.ray, moved.t.double(), moved.offsets)
        out = composite_rays(s, c, moved, STEP_M, name)
        loss = (out.rgb @ w[:3]).square().sum() + w[3] * out.transmittance.square().sum()
        gradients = torch.autograd.grad(loss + w[4] * out.distortion.sum(), (s, c))
        found.append([tensor.detach().cpu().double() for tensor in (*out, *gradients)])
    for expected, ours in zip(*found, strict=True):
        torch.testing.assert_close(ours, expected, atol=2e-5, rtol=2e-4)
    for expected, ours in zip(found[0][4:], found[1][4:], strict=True):
        assert float((ours - expected).norm()) <= 1e-4 * float(expected.norm()) + 1e-9
        if len(expected):
            alike = torch.nn.functional.cosine_similarity(ours.flatten(), expected.flatten(), dim=0)
            assert float(alike) > 1 - 1e-6


def test_gradient_against_differences() -> None:
    sigma, rgb, samples = random_samples(4, n_rays=6)
    s = sigma.double().requires_grad_()

    def loss(values: torch.Tensor) -> torch.Tensor:
        out = composite_rays(values, rgb.double(), samples, STEP_M, "reference")
        return out.rgb.sum() + out.transmittance.square().sum() + out.distortion.sum()

    assert torch.autograd.gradcheck(loss, (s,), eps=1e-4, atol=1e-6)


@pytest.mark.parametrize(("backend", "device"), BACKENDS)
@pytest.mark.parametrize("n_samples", [1, 7, 64])
def test_uniform_slab(backend: str, device: str, n_samples: int) -> None:
    """Whatever the step, a slab of density 3/m and 0.4 m thick stops 1 - exp(-1.2) of the light."""
    step = 0.4 / n_samples
    ray, t = torch.zeros(n_samples, dtype=torch.int64), step * torch.arange(n_samples)
    samples = on(device, RaySamples(ray, t, torch.tensor([0, n_samples])))
    sigma, rgb = torch.full((n_samples,), 3.0, device=device), torch.ones(n_samples, 3, device=device)
    out = composite_rays(sigma, rgb, samples, step, backend)
    assert float(out.transmittance) == pytest.approx(math.exp(-1.2), abs=1e-6)
    torch.testing.assert_close(out.rgb, 1 - out.transmittance[:, None].expand(1, 3))


@pytest.mark.parametrize(("backend", "device"), BACKENDS)
@pytest.mark.parametrize("n_rays", [0, 5])
def test_rays_without_samples_let_all_light_through(n_rays: int, backend: str, device: str) -> None:
    offsets = torch.zeros(n_rays + 1, dtype=torch.int64)
    samples = on(device, RaySamples(offsets[:0], torch.zeros(0), offsets))
    sigma, rgb = (torch.zeros(shape, device=device, requires_grad=True) for shape in ((0,), (0, 3)))
    out = composite_rays(sigma, rgb, samples, STEP_M, backend)
    assert out.rgb.shape == (n_rays, 3) and not out.rgb.any() and not out.distortion.any()
    assert out.transmittance.tolist() == [1.0] * n_rays
    (out.rgb.sum() + out.transmittance.sum()).backward()
    assert sigma.grad is not None and sigma.grad.shape == (0,)


@pytest.mark.parametrize(("backend", "device"), BACKENDS)
def test_strided_inputs(backend: str, device: str) -> None:
    sigma, rgb, samples = random_samples(8)
    expected = composite_rays(sigma, rgb, samples, STEP_M, "reference")
    moved = on(device, samples)
    apart = RaySamples(moved.ray, torch.stack([moved.t, moved.t], 1)[:, 1], moved.offsets.repeat_interleave(2)[::2])
    columns = rgb.to(device).t().contiguous().t()
    out = composite_rays(sigma.to(device).repeat_interleave(2)[::2], columns, apart, STEP_M, backend)
    for ours, theirs in zip(out, expected, strict=True):
        torch.testing.assert_close(ours.cpu(), theirs, atol=2e-5, rtol=2e-4)


@pytest.mark.parametrize("device", NATIVE_DEVICES)
def test_every_output_is_written(device: str) -> None:
    """The native functions write all of what they are handed, whatever lay there."""
    sigma, rgb, samples = random_samples(6, n_rays=21, longest=50)
    expected = composite_rays(sigma, rgb, samples, STEP_M, "reference")
    poison = [torch.full_like(tensor, torch.nan, device=device) for tensor in expected]
    inputs = [tensor.to(device) for tensor in (samples.offsets, sigma, rgb, samples.t)]
    gradients = [torch.full_like(tensor, torch.nan, device=device) for tensor in (sigma, rgb)]
    with stream_of(torch.device(device)) as stream:
        native.load().composite_rays_forward(*inputs, STEP_M, *poison, 2, stream)
        light, weights = poison[1], poison[3]
        ones = [torch.ones_like(tensor) for tensor in poison[:3]]
        native.load().composite_rays_backward(*inputs, STEP_M, light, weights, *ones, *gradients, 2, stream)
    for ours, theirs in zip(poison, expected, strict=True):
        torch.testing.assert_close(ours.cpu(), theirs, atol=2e-5, rtol=2e-4)
    assert all(bool(gradient.isfinite().all()) for gradient in gradients)


def test_wrong_shapes_are_refused() -> None:
    sigma, rgb, samples = random_samples(1)
    with pytest.raises(ShapeError, match="expected"):
        composite_rays(sigma[1:], rgb, samples, STEP_M)
    with pytest.raises(ShapeError, match="step_m is 0"):
        composite_rays(sigma, rgb, samples, 0.0)
    with pytest.raises(ShapeError, match=r"sigma is torch.float16, expected torch.float32"):
        composite_rays(sigma.half(), rgb, samples, STEP_M)
    for bad, message in (
        (RaySamples(samples.ray, samples.t, samples.offsets + 1), "offsets must rise from 0"),
        (RaySamples(samples.ray, samples.t, samples.offsets.flip(0)), "offsets must rise from 0"),
        (RaySamples(samples.ray, samples.t, samples.offsets[:0]), "offsets is empty"),
        (RaySamples(samples.ray, samples.t, samples.offsets.int()), "offsets is torch.int32"),
        (RaySamples(samples.ray[1:], samples.t, samples.offsets), "ray has shape"),
        (RaySamples(samples.ray + 99, samples.t, samples.offsets), "ray holds"),
        (RaySamples(samples.ray, samples.t.double(), samples.offsets), "t is torch.float64"),
    ):
        with pytest.raises(ShapeError, match=message):
            composite_rays(sigma, rgb, bad, STEP_M)
