"""Conditioned first layer: one bias a frame, then products over chunks that stay in cache (backend "cpu")."""

from __future__ import annotations

from typing import Any

import torch

CHUNK_ROWS = 4096


def unavailable_reason(backend: str) -> str | None:
    """Why the layer cannot run on ``backend``, or None if it can; on the CPU it needs torch's products alone."""
    return "condition_layer has no CUDA kernel yet" if backend == "cuda" else None


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
        out = features.new_empty(features.shape[0], weight.shape[0])
        for start in range(0, len(frame), CHUNK_ROWS):
            part = slice(start, start + CHUNK_ROWS)
            biases = rows.index_select(0, frame[part])
            torch.addmm(biases, features[part], weight.t(), out=out[part]).relu_()
        ctx.save_for_backward(features, frame, weight, out)
        ctx.n_frames = len(rows)
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_out: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor, None, torch.Tensor]:
        features, frame, weight, out = ctx.saved_tensors
        grad_features = torch.empty_like(features) if ctx.needs_input_grad[0] else None
        grad_rows = weight.new_zeros(ctx.n_frames, weight.shape[0])
        grad_weight = torch.zeros_like(weight)
        for start in range(0, len(frame), CHUNK_ROWS):
            part = slice(start, start + CHUNK_ROWS)
            grad = torch.ops.aten.threshold_backward(grad_out[part], out[part], 0)
            grad_weight.addmm_(grad.t(), features[part])
            grad_rows.index_add_(0, frame[part], grad)
            if grad_features is not None:
                torch.mm(grad, weight, out=grad_features[part])
        return grad_features, grad_rows, None, grad_weight
