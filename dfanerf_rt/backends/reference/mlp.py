"""Two hidden layers in plain torch: the executable specification."""

from __future__ import annotations

import torch
from torch.nn.functional import linear

Layers = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def mlp(features: torch.Tensor, weights: Layers, biases: Layers) -> torch.Tensor:
    """See :func:`dfanerf_rt.ops.mlp.mlp`; any device and floating dtype."""
    hidden = linear(features, weights[0], biases[0]).relu()
    hidden = linear(hidden, weights[1], biases[1]).relu()
    return linear(hidden, weights[2], biases[2])
