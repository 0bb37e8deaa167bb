"""Concatenation of the condition and the first layer in plain torch: the executable specification."""

from __future__ import annotations

import torch


def condition_layer(
    features: torch.Tensor, condition: torch.Tensor, frame: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor
) -> torch.Tensor:
    """See :func:`dfanerf_rt.ops.condition_layer.condition_layer`; any device and floating dtype."""
    joined = torch.cat([features, condition.index_select(0, frame)], dim=1)
    return torch.nn.functional.linear(joined, weight, bias).relu()
