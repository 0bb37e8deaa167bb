"""Two hidden layers in plain torch: the executable specification."""

from __future__ import annotations

import torch
from torch.nn.functional import linear

Layers = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def mlp(features: torch.Tensor, weights: Layers, biases: Layers, dtype: torch.dtype | None = None) -> torch.Tensor:
    """See :func:`dfanerf_rt.ops.mlp.mlp`; any device and floating dtype."""
    dtype = dtype or features.dtype
    hidden = linear(features.to(dtype), weights[0].to(dtype), biases[0].to(dtype)).relu()
    hidden = linear(hidden, weights[1].to(dtype), biases[1].to(dtype)).relu()
    return linear(hidden.to(features.dtype), weights[2], biases[2])
