"""Compositing of packed samples (the volume rendering behind paper eq. 10 and 11), for training."""

from __future__ import annotations

from typing import NamedTuple

import torch

from dfanerf_rt.errors import ShapeError
from dfanerf_rt.ops.dispatch import dispatch
from dfanerf_rt.ops.march_rays import RaySamples


class CompositedRays(NamedTuple):
    """What the packed samples of R rays add up to."""

    rgb: torch.Tensor
    """(R, 3) sum of weight * rgb, without a background."""
    transmittance: torch.Tensor
    """(R,) light that passes; add ``transmittance * background`` to ``rgb``."""
    distortion: torch.Tensor
    """(R,) spread of the weights along the ray, distances in steps (Barron et al. 2022, eq. 15)."""
    weights: torch.Tensor
    """(N,) weight of every sample; not differentiable."""


def composite_rays(
    sigma: torch.Tensor, rgb: torch.Tensor, samples: RaySamples, step_m: float, backend: str | None = None
) -> CompositedRays:
    """Integrate packed samples: weight_i = T_i (1 - exp(-sigma_i step)), T_i the light that reaches sample i.

    Differentiable with respect to ``sigma`` and ``rgb`` through rgb, transmittance and distortion.

    Args:
        sigma: (N,) density in 1/m.
        rgb: (N, 3) colour.
        samples: which ray each belongs to, and where.
        step_m: length of a sample in metres.
        backend: see :func:`dfanerf_rt.ops.dispatch.dispatch`.

    Raises:
        ShapeError: the shapes disagree.
        BackendUnavailable: the backend asked for cannot run here.
    """
    n = len(samples.t)
    if tuple(sigma.shape) != (n,) or tuple(rgb.shape) != (n, 3):
        found = f"{tuple(sigma.shape)} and {tuple(rgb.shape)}"
        raise ShapeError(f"sigma and rgb have shapes {found}, expected ({n},) and ({n}, 3)")
    run = dispatch("composite_rays", backend, sigma.device)
    return CompositedRays(*run(sigma, rgb, samples.t, samples.ray, samples.offsets, step_m))
