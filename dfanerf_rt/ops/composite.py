"""Compositing samples along rays (the volume rendering behind paper eq. 10 and 11), for training and reference."""

from __future__ import annotations

from typing import NamedTuple

import torch

from dfanerf_rt.backends.reference.composite import composite_weights
from dfanerf_rt.errors import ShapeError


class Composited(NamedTuple):
    """What a bundle of R rays with S samples each adds up to."""

    rgb: torch.Tensor
    """(R, 3) sum of weight * rgb, without a background."""
    alpha: torch.Tensor
    """(R,) 1 - transmittance behind the last sample."""
    transmittance: torch.Tensor
    """(R,) light that passes; add ``transmittance * background`` to ``rgb``."""
    weights: torch.Tensor
    """(R, S) weight of every sample; ``(weights * t).sum(-1) / alpha`` is the depth."""


def composite(
    sigma: torch.Tensor,
    rgb: torch.Tensor,
    valid: torch.Tensor,
    step_m: float | torch.Tensor,
    *,
    stop_transmittance: float = 0.0,
) -> Composited:
    """Integrate density and colour along rays: weight_i = T_i (1 - exp(-sigma_i step)), T_i = prod_{j<i} (1 - alpha_j).

    Differentiable with respect to ``sigma``, ``rgb`` and ``step_m``.

    Args:
        sigma: (R, S) density in 1/m, not negative.
        rgb: (R, S, 3) colour in [0, 1].
        valid: (R, S) bool; a sample that is not valid has no density, whatever ``sigma`` says.
        step_m: length of a sample in metres: a number, or a tensor that broadcasts to (R, S).
        stop_transmittance: a ray stops after the sample that brought its transmittance below this; 0 never stops.

    Returns:
        The composited rays.

    Raises:
        ShapeError: the shapes disagree, or ``valid`` is not bool.
    """
    if sigma.ndim != 2:
        raise ShapeError(f"sigma has shape {tuple(sigma.shape)}, expected (rays, samples)")
    if tuple(rgb.shape) != (*sigma.shape, 3):
        raise ShapeError(f"rgb has shape {tuple(rgb.shape)}, expected {(*sigma.shape, 3)}")
    if valid.shape != sigma.shape or valid.dtype != torch.bool:
        raise ShapeError(f"valid is {valid.dtype} {tuple(valid.shape)}, expected bool {tuple(sigma.shape)}")
    weights, transmittance = composite_weights(sigma, valid, step_m, stop_transmittance)
    colour = (weights.unsqueeze(-1) * rgb).sum(dim=-2)
    return Composited(rgb=colour, alpha=1.0 - transmittance, transmittance=transmittance, weights=weights)
