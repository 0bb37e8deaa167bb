"""Two hidden layers by the native module's SIMD kernel (backend "cpu", float32), or by torch's products: those of
bfloat16, and on a GPU, where they are cuBLAS's (backend "cuda")."""

from __future__ import annotations

from typing import Any

import torch

from dfanerf_rt import native
from dfanerf_rt.backends.native.streams import missing_reason
from dfanerf_rt.backends.reference import mlp as plain
from dfanerf_rt.backends.reference.mlp import Layers


def unavailable_reason(backend: str) -> str | None:
    """Why the network cannot run on ``backend``, or None if it can; on a GPU it needs torch's products alone."""
    if backend == "cuda":
        return None if torch.cuda.is_available() else native.cuda_unavailable_reason()
    return missing_reason("mlp_forward", backend)


def mlp(features: torch.Tensor, weights: Layers, biases: Layers, dtype: torch.dtype) -> torch.Tensor:
    """See :func:`dfanerf_rt.ops.mlp.mlp`; inputs checked by the caller."""
    if features.device.type == "cuda" or dtype != torch.float32:
        return plain.mlp(features, weights, biases, dtype)
    layers = [tensor for pair in zip(weights, biases, strict=True) for tensor in pair]
    out: torch.Tensor = _Mlp.apply(features, *layers)
    return out


class _Mlp(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: torch.Tensor, *layers: torch.Tensor) -> torch.Tensor:
        inputs = [tensor.detach().contiguous() for tensor in (features, *layers)]
        out = features.new_empty(features.shape[0], layers[-1].shape[0])
        native.load().mlp_forward(*inputs, out, torch.get_num_threads())
        ctx.save_for_backward(*inputs)
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_out: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        features, *layers = ctx.saved_tensors
        grad_features = torch.empty_like(features) if ctx.needs_input_grad[0] else None
        grads = [torch.empty_like(layer) for layer in layers]
        native.load().mlp_backward(
            features, *layers, grad_out.contiguous(), grad_features, *grads, torch.get_num_threads()
        )
        return (grad_features, *grads)
