from __future__ import annotations

import pytest
import torch

from dfanerf_rt.train.muon import Muon, orthogonalised


@pytest.mark.parametrize("shape", [(8, 30), (30, 8), (12, 12)])
def test_the_step_is_nearly_orthogonal_and_points_where_the_gradient_does(shape: tuple[int, int]) -> None:
    gradient = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    u, s, v = torch.linalg.svd(gradient, full_matrices=False)
    found = orthogonalised(gradient)
    # The polynomials change the singular values alone, and bring all that are not tiny to between 0.7 and 1.2.
    changed = torch.diagonal(u.mT @ found @ v.mT)
    torch.testing.assert_close(u @ torch.diag(changed) @ v, found, atol=1e-8, rtol=0)
    assert changed[s > 0.05 * s.norm()].min() > 0.6 and changed.max() < 1.25


def test_a_step_has_the_size_of_adams() -> None:
    weight = torch.nn.Parameter(torch.zeros(64, 16, 3))
    weight.grad = torch.randn(64, 16, 3, generator=torch.Generator().manual_seed(1))
    Muon([weight], lr=0.1).step()
    # As 16 x 192: 16 singular values near 1, over 64 x 48 numbers, times 0.2 sqrt(192)
    assert weight.std().item() == pytest.approx(0.1 * 0.2 * 192**0.5 * (16 / (64 * 48)) ** 0.5, rel=0.2)


def test_it_finds_the_minimum_of_a_quadratic() -> None:
    target = torch.randn(6, 10, generator=torch.Generator().manual_seed(2))
    weight = torch.nn.Parameter(torch.zeros(6, 10))
    optimiser = Muon([weight], lr=0.1)
    for step in range(300):
        optimiser.param_groups[0]["lr"] = 0.1 * (1 - step / 300)
        optimiser.zero_grad()
        (0.5 * (weight - target).square().sum()).backward()
        optimiser.step()
    torch.testing.assert_close(weight, target, atol=0.02, rtol=0)
