"""The chunked MLP against torch's own layers, values and every gradient."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import linear

from dfanerf_rt.field.mlp import CHUNK_ROWS, mlp


@pytest.mark.parametrize("n_rows", [0, 1, CHUNK_ROWS, CHUNK_ROWS + 3])
def test_agrees_with_linear_layers(n_rows: int) -> None:
    generator = torch.Generator().manual_seed(0)
    shapes = [(8, 6), (8,), (8, 8), (8,), (4, 8), (4,)]
    layers = [torch.randn(shape, generator=generator).mul_(0.5).requires_grad_() for shape in shapes]
    x = torch.randn(n_rows, 6, generator=generator, requires_grad=True)
    w1, b1, w2, b2, w3, b3 = layers
    ours = mlp(x, (w1, w2, w3), (b1, b2, b3))
    theirs = linear(linear(linear(x, w1, b1).relu(), w2, b2).relu(), w3, b3)
    torch.testing.assert_close(ours, theirs)
    weight = torch.randn(n_rows, 4, generator=generator)
    for a, b in zip(
        torch.autograd.grad((ours * weight).sum(), [x, *layers]),
        torch.autograd.grad((theirs * weight).sum(), [x, *layers]),
        strict=True,
    ):
        torch.testing.assert_close(a, b, atol=2e-3, rtol=1e-4)
