"""Dense compositing: cases worked by hand, invariants, gradients."""

from __future__ import annotations

import math

import pytest
import torch

from dfanerf_rt.errors import ShapeError
from dfanerf_rt.ops.composite import composite


def test_two_samples_by_hand() -> None:
    # alpha = 1 - exp(-sigma step): ln 2 of optical depth halves the light, ln 4 quarters it.
    sigma = torch.tensor([[math.log(2.0), math.log(4.0)]]) / 0.5
    rgb = torch.tensor([[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]])
    out = composite(sigma, rgb, torch.ones(1, 2, dtype=torch.bool), 0.5)
    torch.testing.assert_close(out.weights, torch.tensor([[0.5, 0.5 * 0.75]]))
    torch.testing.assert_close(out.rgb, torch.tensor([[0.5, 0.375, 0.0]]))
    torch.testing.assert_close(out.transmittance, torch.tensor([0.125]))
    torch.testing.assert_close(out.alpha, torch.tensor([0.875]))


def test_uniform_slab() -> None:
    # Whatever the step, a slab of density sigma and length L has alpha = 1 - exp(-sigma L).
    for n_samples in (1, 7, 64):
        out = composite(
            torch.full((1, n_samples), 3.0),
            torch.ones(1, n_samples, 3),
            torch.ones(1, n_samples, dtype=torch.bool),
            0.4 / n_samples,
        )
        assert float(out.alpha) == pytest.approx(1.0 - math.exp(-3.0 * 0.4), abs=1e-6)
        assert float(out.rgb[0, 0]) == pytest.approx(float(out.alpha), abs=1e-6)


def test_invalid_samples_weigh_nothing_whatever_they_hold() -> None:
    generator = torch.Generator().manual_seed(0)
    sigma, rgb = torch.rand(5, 9, generator=generator) * 20, torch.rand(5, 9, 3, generator=generator)
    valid = torch.rand(5, 9, generator=generator) > 0.4
    poisoned = torch.where(valid, sigma, torch.full_like(sigma, math.inf)).requires_grad_()
    out = composite(poisoned, rgb, valid, 0.05)
    expected = composite(torch.where(valid, sigma, torch.zeros(())), rgb, torch.ones_like(valid), 0.05)
    torch.testing.assert_close(out.weights, expected.weights)
    out.rgb.sum().backward()
    assert poisoned.grad is not None and bool(poisoned.grad.isfinite().all())


def test_a_ray_stops_after_the_sample_that_made_it_opaque() -> None:
    # Each sample lets a tenth pass: the third brings 1e-3 below 2e-3, the fourth is not reached.
    sigma = torch.full((1, 5), math.log(10.0))
    out = composite(sigma, torch.ones(1, 5, 3), torch.ones(1, 5, dtype=torch.bool), 1.0, stop_transmittance=2e-3)
    torch.testing.assert_close(out.weights, torch.tensor([[0.9, 0.09, 0.009, 0.0, 0.0]]))
    torch.testing.assert_close(out.transmittance, torch.tensor([1e-3]))


def test_gradient_is_that_of_finite_differences() -> None:
    generator = torch.Generator().manual_seed(1)
    sigma = (torch.rand(3, 4, generator=generator, dtype=torch.float64) * 5).requires_grad_()
    rgb = torch.rand(3, 4, 3, generator=generator, dtype=torch.float64).requires_grad_()
    valid = torch.rand(3, 4, generator=generator) > 0.2
    assert torch.autograd.gradcheck(lambda s, c: composite(s, c, valid, 0.1)[:3], (sigma, rgb))


def test_shapes_are_checked() -> None:
    good = torch.zeros(2, 3), torch.zeros(2, 3, 3), torch.ones(2, 3, dtype=torch.bool)
    with pytest.raises(ShapeError, match="rgb"):
        composite(good[0], torch.zeros(2, 3), good[2], 0.1)
    with pytest.raises(ShapeError, match="valid"):
        composite(good[0], good[1], torch.ones(2, 3), 0.1)
    with pytest.raises(ShapeError, match="sigma"):
        composite(torch.zeros(3), good[1], good[2], 0.1)
