"""Conditioned first layer by Triton kernels: one bias a frame, then fused products, forward and backward."""

from __future__ import annotations

from typing import Any

import torch

from dfanerf_rt.backends.triton.machine import DEVICES, unavailable_reason

__all__ = ["DEVICES", "condition_layer", "unavailable_reason"]

MAX_PROGRAMS = 512
"""Shares in which the gradient of the weights is summed."""


def condition_layer(
    features: torch.Tensor, condition: torch.Tensor, frame: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor
) -> torch.Tensor:
    """See :func:`dfanerf_rt.ops.condition_layer.condition_layer`; inputs checked by the caller."""
    width = features.shape[1]
    rows = torch.addmm(bias, condition, weight[:, width:].t())
    result: torch.Tensor = _BiasedLayer.apply(features, rows, frame, weight[:, :width])
    return result


class _BiasedLayer(torch.autograd.Function):
    """relu(features @ weight.T + rows[frame]); torch itself differentiates the small product that makes the rows."""

    @staticmethod
    def forward(
        ctx: Any, features: torch.Tensor, rows: torch.Tensor, frame: torch.Tensor, weight: torch.Tensor
    ) -> torch.Tensor:
        from dfanerf_rt.backends.triton.kernels import condition_layer as kernels

        features, rows, weight = features.detach().contiguous(), rows.detach().contiguous(), weight.detach()
        frame = frame.contiguous()
        weight = weight if weight.stride(1) == 1 else weight.contiguous()
        (n, width), n_out = features.shape, weight.shape[0]
        out = features.new_empty(n, n_out)
        if out.numel():
            grid = (-(-n // kernels.LAUNCH["BLOCK_N"]), -(-n_out // kernels.LAUNCH["BLOCK_H"]))
            with torch.cuda.device_of(features):
                kernels.layer_kernel[grid](
                    features, rows, frame, weight, out, n, len(rows), weight.stride(0), width, n_out, **kernels.LAUNCH
                )
        ctx.save_for_backward(features, frame, weight, out)
        ctx.n_frames = len(rows)
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_out: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        from dfanerf_rt.backends.triton.kernels import condition_layer as kernels

        features, frame, weight, out = ctx.saved_tensors
        out, grad_out = out.detach(), grad_out.contiguous()
        grad_features, grad_rows, grad_weight = None, None, None
        with torch.cuda.device_of(features):
            if ctx.needs_input_grad[0]:
                grad_features = _feature_gradient(kernels, grad_out, out, weight, features)
            if ctx.needs_input_grad[1] or ctx.needs_input_grad[3]:
                grad_weight, grad_rows = _sums(kernels, grad_out, out, features, frame, ctx.n_frames)
        return grad_features, grad_rows, None, grad_weight


def _feature_gradient(
    kernels: Any, grad_out: torch.Tensor, out: torch.Tensor, weight: torch.Tensor, features: torch.Tensor
) -> torch.Tensor:
    (n, width), launch = features.shape, kernels.LAUNCH
    gradient = torch.empty_like(features)
    if gradient.numel():
        grid = (-(-n // launch["BLOCK_N"]), -(-width // launch["BLOCK_D"]))
        kernels.feature_gradient_kernel[grid](
            grad_out, out, weight, gradient, n, weight.stride(0), width, out.shape[1], **launch
        )
    return gradient


def _sums(
    kernels: Any, grad_out: torch.Tensor, out: torch.Tensor, features: torch.Tensor, frame: torch.Tensor, n_frames: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Gradients of the weights (H, D) and of the rows (B, H)."""
    (n, width), n_out, launch = features.shape, out.shape[1], kernels.SUMS
    tile, blocks = launch["BLOCK_D"], -(-n // launch["BLOCK_N"])
    filled = -(-width // tile) * tile
    columns = filled + -(-n_frames // tile) * tile
    programs = min(blocks, MAX_PROGRAMS)
    partial = features.new_empty(programs, n_out, columns)
    if partial.numel():
        grid = (programs, -(-n_out // launch["BLOCK_H"]), columns // tile)
        kernels.weight_gradient_kernel[grid](
            grad_out, out, features, frame, partial, n, n_frames, columns, width, n_out, **launch
        )
    total = partial.sum(0)
    return total[:, :width], total[:, filled : filled + n_frames].t()
