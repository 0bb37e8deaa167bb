"""The field's network: two hidden layers with ReLU, for many samples."""

from __future__ import annotations

import torch

from dfanerf_rt.errors import ShapeError
from dfanerf_rt.ops.dispatch import dispatch

Layers = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def mlp(
    features: torch.Tensor,
    weights: Layers,
    biases: Layers,
    dtype: torch.dtype = torch.float32,
    backend: str | None = None,
) -> torch.Tensor:
    """w3 relu(w2 relu(w1 features[n] + b1) + b2) + b3 for every sample n; differentiable in every argument.

    Args:
        features: (N, D) float32, encoded positions.
        weights: (H, D), (H, H), (O, H) float32.
        biases: (H,), (H,), (O,) float32.
        dtype: of the hidden layers' products: torch.float32, or torch.bfloat16, whose range needs no scaling of the
            loss. Weights, their gradients and the last layer, which makes the density, are float32 in any case.
        backend: see :func:`dfanerf_rt.ops.dispatch.dispatch`.

    Returns:
        (N, O) float32.

    Raises:
        ShapeError: a tensor of another shape, dtype or device, or products of another type.
        BackendUnavailable: the backend asked for cannot run here.
    """
    _check(features, weights, biases)
    if dtype not in (torch.float32, torch.bfloat16):
        raise ShapeError(f"the network's products cannot be of {dtype}, expected torch.float32 or torch.bfloat16")
    out: torch.Tensor = dispatch("mlp", backend, features.device)(features, weights, biases, dtype)
    return out


def _check(features: torch.Tensor, weights: Layers, biases: Layers) -> None:
    if features.ndim != 2:
        raise ShapeError(f"features has shape {tuple(features.shape)}, expected (N, D)")
    hidden, n_out = (len(tensor) if tensor.ndim else 0 for tensor in weights[::2])
    expected = {
        "weights[0]": (weights[0], (hidden, features.shape[1])),
        "weights[1]": (weights[1], (hidden, hidden)),
        "weights[2]": (weights[2], (n_out, hidden)),
        "biases[0]": (biases[0], (hidden,)),
        "biases[1]": (biases[1], (hidden,)),
        "biases[2]": (biases[2], (n_out,)),
    }
    for name, (tensor, shape) in expected.items():
        if tuple(tensor.shape) != shape:
            raise ShapeError(f"{name} has shape {tuple(tensor.shape)}, expected {shape}")
    for name, tensor in {"features": features, **{name: pair[0] for name, pair in expected.items()}}.items():
        if tensor.dtype != torch.float32:
            raise ShapeError(f"{name} is {tensor.dtype}, expected torch.float32")
        if tensor.device != features.device:
            raise ShapeError(f"{name} is on {tensor.device}, but features are on {features.device}")
