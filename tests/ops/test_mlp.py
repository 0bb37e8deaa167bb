"""The field's network: a case by hand, every backend against plain torch in float64, and bad input."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

from dfanerf_rt.backends.reference.mlp import mlp as in_plain_torch
from dfanerf_rt.errors import ShapeError
from dfanerf_rt.ops.mlp import mlp

BACKENDS = (
    ("reference", "cpu"),
    ("cpu", "cpu"),
    pytest.param("cuda", "cuda", marks=pytest.mark.gpu),
)
SIZES = (  # samples, features, hidden, outputs
    (0, 32, 64, 4),
    (1, 32, 64, 4),
    (47, 16, 64, 4),
    (49, 7, 9, 3),
    (4097, 32, 64, 4),
    (130, 1, 1, 1),
    (517, 48, 100, 20),
)


def inputs(size: tuple[int, ...], seed: int) -> list[torch.Tensor]:
    """features, w1, w2, w3, b1, b2, b3."""
    n, width, hidden, n_out = size
    generator = torch.Generator().manual_seed(seed)
    shapes = ((n, width), (hidden, width), (hidden, hidden), (n_out, hidden), (hidden,), (hidden,), (n_out,))
    scales = (1.0, width**-0.5, hidden**-0.5, hidden**-0.5, 0.3, 0.3, 0.3)
    return [torch.randn(shape, generator=generator) * s for shape, s in zip(shapes, scales, strict=True)]


def run(tensors: list[torch.Tensor], backend: str) -> torch.Tensor:
    features, w1, w2, w3, b1, b2, b3 = tensors
    return mlp(features, (w1, w2, w3), (b1, b2, b3), backend=backend)


def kinks(tensors: list[torch.Tensor]) -> torch.Tensor:
    """(N,) bool: samples at which rounding decides whether a hidden unit is cut off; both gradients are right."""
    features, w1, w2, _, b1, b2, _ = tensors
    first = features @ w1.t() + b1
    second = first.relu() @ w2.t() + b2
    return ((first.abs() < 1e-5).any(1)) | ((second.abs() < 1e-5).any(1))


@pytest.mark.parametrize(("backend", "device"), BACKENDS)
def test_by_hand(backend: str, device: str) -> None:
    # x = 2: relu(3 * 2 - 1) = 5, relu(-5 + 7) = 2, 4 * 2 + 1 = 9. x = 0: relu(-1) = 0, relu(7) = 7, 29.
    numbers = [torch.tensor(value, device=device) for value in ([[2.0], [0.0]], [[3.0]], [[-1.0]], [[4.0]])]
    biases = [torch.tensor([value], device=device) for value in (-1.0, 7.0, 1.0)]
    assert run([*numbers, *biases], backend).tolist() == [[9.0], [29.0]]


@pytest.mark.parametrize(("backend", "device"), BACKENDS)
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("size", SIZES)
def test_values_and_gradients(size: tuple[int, ...], threads: int, backend: str, device: str) -> None:
    given = inputs(size, seed=sum(size))
    exact = [tensor.double().requires_grad_() for tensor in given]
    features, w1, w2, w3, b1, b2, b3 = exact
    expected = in_plain_torch(features, (w1, w2, w3), (b1, b2, b3))
    grad_out = torch.randn(expected.shape, generator=torch.Generator().manual_seed(9))
    grad_out[kinks(exact)] = 0.0
    ours = [tensor.to(device).requires_grad_() for tensor in given]
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        found = run(ours, backend)
        grads = torch.autograd.grad(found, ours, grad_out.to(device))
    finally:
        torch.set_num_threads(before)
    assert found.shape == expected.shape and found.dtype == torch.float32
    torch.testing.assert_close(found.cpu().double(), expected, atol=2e-5, rtol=1e-5)
    for got, want in zip(grads, torch.autograd.grad(expected, exact, grad_out.double()), strict=True):
        assert got.shape == want.shape
        assert float((got.cpu().double() - want).norm()) <= 1e-5 * float(want.norm()) + 1e-9


@pytest.mark.parametrize(("backend", "device"), BACKENDS)
def test_strided_inputs(backend: str, device: str) -> None:
    given = [tensor.to(device) for tensor in inputs((257, 32, 64, 4), seed=5)]
    expected = run(given, "reference")
    strided = [
        tensor.t().contiguous().t() if tensor.ndim == 2 else tensor.repeat_interleave(2)[::2] for tensor in given
    ]
    torch.testing.assert_close(run(strided, backend), expected, atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize(("backend", "device"), BACKENDS)
def test_only_the_gradients_asked_for(backend: str, device: str) -> None:
    tensors = [tensor.to(device).requires_grad_() for tensor in inputs((100, 8, 16, 4), seed=2)]
    every = torch.autograd.grad(run(tensors, backend).sum(), tensors)
    tensors[0] = tensors[0].detach()
    fewer = torch.autograd.grad(run(tensors, backend).sum(), tensors[1:])
    for got, want in zip(fewer, every[1:], strict=True):
        torch.testing.assert_close(got, want)


def test_products_of_bfloat16_stay_near() -> None:
    """By the rule of half precision: no further from float64 than twice what torch is in the same precision."""
    features, w1, w2, w3, b1, b2, b3 = inputs((300, 32, 64, 4), seed=8)
    found = mlp(features, (w1, w2, w3), (b1, b2, b3), torch.bfloat16)
    exact = [tensor.double() for tensor in (features, w1, w2, w3, b1, b2, b3)]
    wanted = in_plain_torch(exact[0], (exact[1], exact[2], exact[3]), (exact[4], exact[5], exact[6]))
    theirs = in_plain_torch(features, (w1, w2, w3), (b1, b2, b3), torch.bfloat16)
    assert found.dtype == torch.float32
    assert float((found - wanted).norm()) <= 2.0 * float((theirs - wanted).norm())
    with pytest.raises(ShapeError, match=r"torch\.float16"):
        mlp(features, (w1, w2, w3), (b1, b2, b3), torch.float16)


@pytest.mark.parametrize("variant", ["portable", "avx2"])
def test_narrower_simd(variant: str) -> None:
    """Every SIMD variant gives the reference's values and gradients; it is chosen once a process."""
    program = (
        "import torch; from tests.ops.test_mlp import inputs, run\n"
        "a = [t.requires_grad_() for t in inputs((101, 30, 50, 4), 3)]\n"
        "found, wanted = run(a, 'cpu'), run(a, 'reference')\n"
        "torch.testing.assert_close(found, wanted, atol=2e-5, rtol=1e-5)\n"
        "for x, y in zip(torch.autograd.grad(found.sum(), a), torch.autograd.grad(wanted.sum(), a)):\n"
        "    assert float((x - y).norm()) <= 1e-4 * float(y.norm())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "DFANERF_SIMD": variant},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if "this processor reaches only" in done.stderr:
        pytest.skip(f"no {variant} on this processor")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("index", "change", "message"),
    [
        (0, lambda t: t[0], r"features has shape \(6,\), expected \(N, D\)"),
        (1, lambda t: t[:, :5], r"weights\[0\] has shape \(8, 5\), expected \(8, 6\)"),
        (2, lambda t: t[:7], r"weights\[1\] has shape \(7, 8\), expected \(8, 8\)"),
        (5, lambda t: t[:2], r"biases\[1\] has shape \(2,\), expected \(8,\)"),
        (3, lambda t: t.double(), r"weights\[2\] is torch.float64, expected torch.float32"),
    ],
)
def test_bad_input_is_named(index: int, change: object, message: str) -> None:
    tensors = inputs((10, 6, 8, 4), seed=0)
    tensors[index] = change(tensors[index])  # type: ignore[operator]
    with pytest.raises(ShapeError, match=message):
        run(tensors, "reference")
