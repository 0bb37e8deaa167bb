"""The conditioned first layer: a case by hand, every backend against plain torch in float64, and bad input."""

from __future__ import annotations

import pytest
import torch

from dfanerf_rt.backends.reference.condition_layer import condition_layer as in_plain_torch
from dfanerf_rt.errors import ShapeError
from dfanerf_rt.ops.condition_layer import condition_layer

BACKENDS = (
    ("reference", "cpu"),
    ("cpu", "cpu"),
    pytest.param("cuda", "cuda", marks=pytest.mark.gpu),
)
SIZES = (  # samples, features, frames, condition, outputs
    (0, 32, 3, 54, 64),
    (1, 32, 1, 54, 64),
    (63, 7, 2, 5, 9),
    (64, 32, 4, 0, 64),
    (4097, 32, 5, 54, 64),
    (130, 1, 1, 1, 1),
    (517, 48, 3, 10, 300),
)


def inputs(size: tuple[int, ...], seed: int, ordered: bool = True) -> list[torch.Tensor]:
    """features, condition, frame, weight, bias; the frames one after another, or mixed."""
    n, width, n_frames, n_condition, n_out = size
    generator = torch.Generator().manual_seed(seed)
    frame = torch.randint(n_frames, (n,), generator=generator, dtype=torch.int32)
    return [
        torch.randn(n, width, generator=generator),
        torch.randn(n_frames, n_condition, generator=generator),
        frame.sort().values if ordered else frame,
        torch.randn(n_out, width + n_condition, generator=generator) / (width + n_condition) ** 0.5,
        torch.randn(n_out, generator=generator),
    ]


def gradients(out: torch.Tensor, arguments: list[torch.Tensor], grad_out: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Of those arguments that require one."""
    return torch.autograd.grad(out, [tensor for tensor in arguments if tensor.requires_grad], grad_out)


def leaves(tensors: list[torch.Tensor], device: str, dtype: torch.dtype = torch.float32) -> list[torch.Tensor]:
    """The same arguments on another device, and all but the frames requiring a gradient."""
    return [
        tensor.to(device) if tensor.dtype == torch.int32 else tensor.to(device, dtype).requires_grad_()
        for tensor in tensors
    ]


@pytest.mark.parametrize(("backend", "device"), BACKENDS)
def test_two_frames_by_hand(backend: str, device: str) -> None:
    # One output: 2 x + 3 c - 10 with x = 4, 1, 1 and c = 1, 1, 5 (frames 0, 0, 1): 1, -5, 7.
    out = condition_layer(
        torch.tensor([[4.0], [1.0], [1.0]], device=device),
        torch.tensor([[1.0], [5.0]], device=device),
        torch.tensor([0, 0, 1], dtype=torch.int32, device=device),
        torch.tensor([[2.0, 3.0]], device=device),
        torch.tensor([-10.0], device=device),
        backend,
    )
    assert out.tolist() == [[1.0], [0.0], [7.0]]


@pytest.mark.parametrize(("backend", "device"), BACKENDS)
@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("size", SIZES)
def test_values_and_gradients(size: tuple[int, ...], ordered: bool, backend: str, device: str) -> None:
    arguments = inputs(size, seed=sum(size), ordered=ordered)
    exact = leaves(arguments, "cpu", torch.float64)
    expected = in_plain_torch(*exact)
    grad_out = torch.randn(expected.shape, generator=torch.Generator().manual_seed(9))
    # Where rounding decides whether an output is cut off, both gradients are right: leave those out.
    features, condition, frame, weight, bias = exact
    grad_out[(torch.cat([features, condition[frame]], 1) @ weight.t() + bias).abs() < 1e-4] = 0.0
    ours = leaves(arguments, device)
    found = condition_layer(*ours, backend)
    assert found.shape == expected.shape and found.dtype == torch.float32
    torch.testing.assert_close(found.cpu().double(), expected, atol=2e-5, rtol=1e-5)
    wanted = gradients(expected, exact, grad_out.double())
    for got, want in zip(gradients(found, ours, grad_out.to(device)), wanted, strict=True):
        assert got.shape == want.shape
        difference = (got.cpu().double() - want).norm()
        assert float(difference) <= 1e-5 * float(want.norm()) + 1e-9


@pytest.mark.parametrize(("backend", "device"), BACKENDS)
def test_strided_inputs(backend: str, device: str) -> None:
    arguments = inputs((257, 32, 3, 54, 64), seed=5)
    expected = in_plain_torch(*arguments)
    features, condition, frame, weight, bias = (tensor.to(device) for tensor in arguments)
    out = condition_layer(
        features.t().contiguous().t(),
        torch.stack([condition, condition], 2)[:, :, 1],
        torch.stack([frame, frame], 1)[:, 0],
        weight.t().contiguous().t(),
        bias.repeat_interleave(2)[::2],
        backend,
    )
    torch.testing.assert_close(out.cpu(), expected, atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize(("backend", "device"), BACKENDS)
def test_only_the_gradients_asked_for(backend: str, device: str) -> None:
    """Frozen features, as where the encoding is not trained, leave the other gradients as they are."""
    arguments = leaves(inputs((100, 32, 2, 6, 64), seed=2), device)
    all_of_them = gradients(condition_layer(*arguments, backend), arguments, torch.ones(100, 64, device=device))
    arguments[0] = arguments[0].detach()
    fewer = gradients(condition_layer(*arguments, backend), arguments, torch.ones(100, 64, device=device))
    for got, want in zip(fewer, all_of_them[1:], strict=True):
        torch.testing.assert_close(got, want)


@pytest.mark.gpu
def test_frames_out_of_range_read_the_nearest_row_on_a_gpu() -> None:
    features, condition, frame, weight, bias = (tensor.cuda() for tensor in inputs((64, 8, 3, 4, 16), seed=3))
    wild = torch.where(torch.arange(64, device="cuda") % 2 == 0, frame - 100, frame + 100).int()
    out = condition_layer(features, condition, wild, weight, bias, "cuda")
    expected = condition_layer(features, condition, wild.clamp(0, 2), weight, bias, "reference")
    torch.testing.assert_close(out, expected, atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("which", "tensor", "message"),
    [
        (0, torch.zeros(4), "features has shape (4,), expected (N, D)"),
        (1, torch.zeros(2), "condition has shape (2,), expected (B, C)"),
        (1, torch.zeros(0, 3), "condition has no rows, expected one a frame of the 4 samples"),
        (2, torch.zeros(3, dtype=torch.int32), "frame has shape (3,), expected (4,)"),
        (2, torch.zeros(4, dtype=torch.int64), "frame is torch.int64, expected torch.int32"),
        (2, torch.tensor([0, 1, 2, 0], dtype=torch.int32), "frame holds 0 to 2, expected rows of condition, 0 to 1"),
        (2, torch.tensor([0, -1, 1, 0], dtype=torch.int32), "frame holds -1 to 1"),
        (3, torch.zeros(8, 7), "weight has shape (8, 7), expected (H, 8)"),
        (4, torch.zeros(9), "bias has shape (9,), expected (8,)"),
        (0, torch.zeros(4, 5).double(), "features is torch.float64, expected torch.float32"),
    ],
)
def test_wrong_tensors_are_named(which: int, tensor: torch.Tensor, message: str) -> None:
    arguments = inputs((4, 5, 2, 3, 8), seed=1)
    arguments[which] = tensor
    with pytest.raises(ShapeError) as caught:
        condition_layer(*arguments)
    assert message in str(caught.value)
