"""Conditioned first layer with one bias a frame: products over chunks that stay in cache (backend "cpu"), or CUDA
kernels that write neither the concatenation nor a bias a sample (backend "cuda")."""

from __future__ import annotations

from typing import Any

import torch

from dfanerf_rt import native
from dfanerf_rt.backends.native.streams import missing_reason, stream_of

CHUNK_ROWS = 4096


def unavailable_reason(backend: str) -> str | None:
    """Why the layer cannot run on ``backend``, or None if it can; on the CPU it needs torch's products alone."""
    return missing_reason("condition_layer_forward", backend) if backend == "cuda" else None


def condition_layer(
    features: torch.Tensor, condition: torch.Tensor, frame: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor
) -> torch.Tensor:
    """See :func:`dfanerf_rt.ops.condition_layer.condition_layer`; inputs checked by the caller."""
    width = features.shape[1]
    rows = torch.addmm(bias, condition, weight[:, width:].t())
    layer = _FusedLayer if features.device.type == "cuda" else _ChunkedLayer
    result: torch.Tensor = layer.apply(features, rows, frame, weight[:, :width])
    return result


class _ChunkedLayer(torch.autograd.Function):
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


class _FusedLayer(torch.autograd.Function):
    """The same by the native module, on a GPU."""

    @staticmethod
    def forward(
        ctx: Any, features: torch.Tensor, rows: torch.Tensor, frame: torch.Tensor, weight: torch.Tensor
    ) -> torch.Tensor:
        inputs = [tensor.detach().contiguous() for tensor in (features, rows, frame, weight)]
        out = features.new_empty(features.shape[0], weight.shape[0])
        with stream_of(features.device) as stream:
            native.load().condition_layer_forward(*inputs, out, stream)
        ctx.save_for_backward(*inputs, out)
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_out: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor, None, torch.Tensor]:
        features, rows, frame, weight, out = ctx.saved_tensors
        grad_features = torch.empty_like(features) if ctx.needs_input_grad[0] else None
        grad_rows, grad_weight = torch.empty_like(rows), torch.empty_like(weight)
        with stream_of(features.device) as stream:
            native.load().condition_layer_backward(
                features,
                rows,
                frame,
                weight,
                out.detach(),  # an output: it comes back attached to the graph
                grad_out.contiguous(),
                grad_features,
                grad_rows,
                grad_weight,
                stream,
            )
        return grad_features, grad_rows, None, grad_weight
