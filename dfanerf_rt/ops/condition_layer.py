"""The paper's concatenation (eq. 10) and the network's first layer, for samples of several frames at once."""

from __future__ import annotations

import torch

from dfanerf_rt.errors import ShapeError
from dfanerf_rt.ops.dispatch import dispatch


def condition_layer(
    features: torch.Tensor,
    condition: torch.Tensor,
    frame: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor,
    backend: str | None = None,
) -> torch.Tensor:
    """relu(weight @ [features[n], condition[frame[n]]] + bias) for every sample n.

    A condition is constant over its frame, so the backends add it as one bias a frame and never write the
    concatenation out. Differentiable with respect to every argument but ``frame``.

    Args:
        features: (N, D) float32, the encoded positions.
        condition: (B, C) float32, one row a frame.
        frame: (N,) int32, the row of ``condition`` that each sample belongs to. Out of range it is an error on the
            CPU, and taken as the nearest row on a GPU, where looking would wait for the device.
        weight: (H, D + C) float32, columns in the order [features, condition].
        bias: (H,) float32.
        backend: see :func:`dfanerf_rt.ops.dispatch.dispatch`.

    Returns:
        (N, H) float32.

    Raises:
        ShapeError: a tensor of another shape, dtype or device, or a frame out of range.
        BackendUnavailable: the backend asked for cannot run here.

    Source:
        Yao et al., DFA-NeRF, 2022, eq. 10.
    """
    _check(features, condition, frame, weight, bias)
    run = dispatch("condition_layer", backend, features.device)
    out: torch.Tensor = run(features, condition, frame, weight, bias)
    return out


def _check(
    features: torch.Tensor, condition: torch.Tensor, frame: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor
) -> None:
    for name, tensor, wanted in (("features", features, "(N, D)"), ("condition", condition, "(B, C)")):
        if tensor.ndim != 2:
            raise ShapeError(f"{name} has shape {tuple(tensor.shape)}, expected {wanted}")
    (n, width), (n_frames, n_condition) = features.shape, condition.shape
    if tuple(frame.shape) != (n,):
        raise ShapeError(f"frame has shape {tuple(frame.shape)}, expected ({n},), one row of condition a sample")
    if weight.ndim != 2 or weight.shape[1] != width + n_condition:
        raise ShapeError(f"weight has shape {tuple(weight.shape)}, expected (H, {width + n_condition})")
    if tuple(bias.shape) != (weight.shape[0],):
        raise ShapeError(f"bias has shape {tuple(bias.shape)}, expected ({weight.shape[0]},)")
    named = {"features": features, "condition": condition, "frame": frame, "weight": weight, "bias": bias}
    for name, tensor in named.items():
        dtype = torch.int32 if name == "frame" else torch.float32
        if tensor.dtype != dtype:
            raise ShapeError(f"{name} is {tensor.dtype}, expected {dtype}")
        if tensor.device != features.device:
            raise ShapeError(f"{name} is on {tensor.device}, but features are on {features.device}")
    if n and n_frames == 0:
        raise ShapeError(f"condition has no rows, expected one a frame of the {n} samples")
    if n and frame.device.type == "cpu":
        low, high = (int(value) for value in torch.aminmax(frame))
        if low < 0 or high >= n_frames:
            raise ShapeError(f"frame holds {low} to {high}, expected rows of condition, 0 to {n_frames - 1}")
