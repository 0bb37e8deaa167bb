"""Volume rendering in the dense form, differentiable, plain torch: the executable specification."""

from __future__ import annotations

import torch


def composite_weights(
    sigma: torch.Tensor, valid: torch.Tensor, step_m: float | torch.Tensor, stop_transmittance: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights of the samples and what light is left behind them; used by ``render_field`` and ``composite_rays``.

    Args:
        sigma: (R, S) density in 1/m.
        valid: (R, S) bool.
        step_m: metres, a number or anything that broadcasts to (R, S).
        stop_transmittance: samples that less light reaches weigh nothing.

    Returns:
        (R, S) weights and (R,) final transmittance.
    """
    optical_depth = torch.where(valid, sigma, torch.zeros_like(sigma)) * step_m
    # The sum before each sample, so that its transmittance is exp(-sum): stable where 1 - alpha underflows.
    before = torch.cumsum(optical_depth, dim=-1) - optical_depth
    transmittance = torch.exp(-before)
    weights = transmittance * -torch.expm1(-optical_depth)
    if stop_transmittance > 0.0:
        reached = transmittance >= stop_transmittance
        weights = torch.where(reached, weights, torch.zeros_like(weights))
        optical_depth = torch.where(reached, optical_depth, torch.zeros_like(optical_depth))
    return weights, torch.exp(-optical_depth.sum(dim=-1))
