"""The conditioned first layer by Triton: a case by hand, and values and gradients against plain torch in float64."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from dfanerf_rt.ops.condition_layer import condition_layer

SIZES = (  # samples, features, frames, condition, outputs
    (1, 32, 1, 48, 64),
    (65, 7, 2, 5, 9),
    (130, 40, 35, 3, 70),
    (64, 32, 4, 0, 64),
)


def inputs(size: tuple[int, ...], device: str) -> list[torch.Tensor]:
    """features, condition, frame, weight, bias; frames in no order."""
    n, width, n_frames, n_condition, n_out = size
    generator = torch.Generator().manual_seed(n)
    tensors = [
        torch.randn(n, width, generator=generator),
        torch.randn(n_frames, n_condition, generator=generator),
        torch.randint(n_frames, (n,), generator=generator, dtype=torch.int32),
        torch.randn(n_out, width + n_condition, generator=generator) / (width + n_condition) ** 0.5,
        torch.randn(n_out, generator=generator),
    ]
    return [tensor.to(device) for tensor in tensors]


def with_gradients(
    arguments: list[torch.Tensor], towards: torch.Tensor, backend: str, dtype: torch.dtype = torch.float32
) -> list[torch.Tensor]:
    leaves = [tensor if tensor.dtype == torch.int32 else tensor.detach().to(dtype) for tensor in arguments]
    wanted = [leaf.requires_grad_() for leaf in leaves if leaf.dtype != torch.int32]
    if dtype == torch.float64:  # the operator itself takes float32 alone
        from dfanerf_rt.backends.reference.condition_layer import condition_layer as in_plain_torch

        out = in_plain_torch(*leaves)
    else:
        out = condition_layer(*leaves, backend=backend)
    return [out.detach(), *torch.autograd.grad(out, wanted, towards.to(dtype))]


def assert_as_exact_as_float32(arguments: list[torch.Tensor]) -> None:
    """No farther from float64 than twice what torch is in float32, or a few roundings."""
    n, n_out = len(arguments[0]), len(arguments[4])
    towards = torch.randn(n, n_out, generator=torch.Generator().manual_seed(5)).to(arguments[0].device)
    exact = with_gradients(arguments, towards, "reference", torch.float64)
    plain = with_gradients(arguments, towards, "reference")
    found = with_gradients(arguments, towards, "triton")
    same = (exact[0] > 0.0) == (found[0] > 0.0)  # a ReLU that rounding closes or opens moves a whole gradient
    assert float((~same).float().mean()) < 1e-4
    for ours, theirs, truth in zip(found, plain, exact, strict=True):
        assert ours.shape == truth.shape
        scale = float(truth.norm()) + 1e-12
        ours_off, theirs_off = float((ours - truth).norm()) / scale, float((theirs - truth).norm()) / scale
        assert ours_off <= 2.0 * theirs_off + 1e-6


@pytest.mark.parametrize("size", SIZES)
def test_values_and_gradients_agree_with_the_reference(size: tuple[int, ...], device: str) -> None:
    assert_as_exact_as_float32(inputs(size, device))


def test_the_usual_size(device: str, some: Callable[[int, int], int]) -> None:
    assert_as_exact_as_float32(inputs((some(200_003, 150), 32, 4, 54, 64), device))


def test_two_frames_by_hand(device: str) -> None:
    # One output: 2 x + 3 c - 10 with x = 4, 1, 1 and c = 1, 1, 5 (frames 0, 0, 1): 1, -5, 7.
    features, condition = torch.tensor([[4.0], [1.0], [1.0]]), torch.tensor([[1.0], [5.0]])
    frame = torch.tensor([0, 0, 1], dtype=torch.int32)
    weight, bias = torch.tensor([[2.0, 3.0]]), torch.tensor([-10.0])
    arguments = [tensor.to(device) for tensor in (features, condition, frame, weight, bias)]
    found = with_gradients(arguments, torch.ones(3, 1, device=device), "triton")
    wanted = [[1.0, 0.0, 7.0], [2.0, 0.0, 2.0], [3.0, 3.0], [5.0, 6.0], [2.0]]
    assert [tensor.flatten().tolist() for tensor in found] == wanted


@pytest.mark.parametrize("size", [(0, 32, 3, 48, 64), (5, 0, 2, 3, 4), (3, 2, 1, 0, 0)])
def test_sizes_of_zero(size: tuple[int, ...], device: str) -> None:
    n, width, n_frames, n_condition, n_out = size
    arguments = inputs(size, device)
    towards = torch.ones(n, n_out, device=device)
    found, expected = (with_gradients(arguments, towards, backend) for backend in ("triton", "reference"))
    assert found[0].shape == (n, n_out)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    assert found[3].shape == (n_out, width + n_condition) and found[2].shape == (n_frames, n_condition)


def test_inputs_that_are_not_contiguous(device: str) -> None:
    arguments = inputs((33, 6, 3, 4, 8), device)
    expected = condition_layer(*arguments, backend="reference")
    strided = [tensor.repeat_interleave(2, dim=-1)[..., ::2] for tensor in arguments]
    strided[3] = arguments[3].t().contiguous().t()
    torch.testing.assert_close(condition_layer(*strided, backend="triton"), expected, atol=1e-5, rtol=1e-5)
    leaf = arguments[0].requires_grad_()
    condition_layer(*arguments, backend="triton").sum().backward()  # an expanded gradient
    assert leaf.grad is not None and bool(leaf.grad.isfinite().all())


def test_frames_out_of_range_read_the_nearest_row(device: str) -> None:
    from dfanerf_rt.backends.triton.condition_layer import condition_layer as unchecked

    arguments = inputs((4, 5, 3, 2, 6), device)
    arguments[2] = torch.tensor([-(2**31), -1, 3, 2**31 - 1], dtype=torch.int32, device=device)
    near = torch.tensor([0, 0, 2, 2], dtype=torch.int32, device=device)
    assert torch.equal(unchecked(*arguments), unchecked(*arguments[:2], near, *arguments[3:]))


def test_what_is_no_number_stays_so(device: str) -> None:
    arguments = inputs((3, 5, 2, 3, 4), device)
    arguments[0][1, 2] = float("nan")
    found, expected = (condition_layer(*arguments, backend=backend) for backend in ("triton", "reference"))
    assert torch.equal(found.isnan(), expected.isnan()) and bool(found[1].isnan().all())


def test_only_wanted_gradients_are_made(device: str) -> None:
    for wanted in (0, 1, 3, 4):
        arguments = inputs((9, 5, 2, 3, 4), device)
        arguments[wanted].requires_grad_()
        condition_layer(*arguments, backend="triton").sum().backward()
        assert [i for i, tensor in enumerate(arguments) if tensor.grad is not None] == [wanted]
