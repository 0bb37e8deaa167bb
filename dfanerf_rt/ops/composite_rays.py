"""Compositing of packed samples (the volume rendering behind paper eq. 10 and 11), for training."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch

from dfanerf_rt.errors import ShapeError
from dfanerf_rt.ops.dispatch import dispatch
from dfanerf_rt.ops.march_rays import RaySamples
from dfanerf_rt.ops.render_field import expect


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
        sigma: (N,) float32 density in 1/m; the reference takes everything in float64 as well.
        rgb: (N, 3) float32 colour.
        samples: which ray each belongs to, and where.
        step_m: length of a sample in metres.
        backend: see :func:`dfanerf_rt.ops.dispatch.dispatch`.

    Raises:
        ShapeError: shapes, dtypes or devices disagree, or the samples are not packed as they say.
        BackendUnavailable: the backend asked for cannot run here.
    """
    n = len(samples.t)
    if tuple(sigma.shape) != (n,) or tuple(rgb.shape) != (n, 3):
        found = f"{tuple(sigma.shape)} and {tuple(rgb.shape)}"
        raise ShapeError(f"sigma and rgb have shapes {found}, expected ({n},) and ({n}, 3)")
    exact = backend == "reference" and sigma.dtype == torch.float64
    for name, tensor in (("sigma", sigma), ("rgb", rgb), ("t", samples.t)):
        expect(name, tensor, tuple(tensor.shape), tensor.dtype if exact else torch.float32, sigma.device)
    if not 0.0 < step_m < math.inf:
        raise ShapeError(f"step_m is {step_m}, expected a length in metres")
    _check_packing(samples, n)
    run = dispatch("composite_rays", backend, sigma.device)
    return CompositedRays(*run(sigma, rgb, samples.t, samples.ray, samples.offsets, step_m))


def _check_packing(samples: RaySamples, n: int) -> None:
    device, offsets = samples.t.device, samples.offsets
    expect("ray", samples.ray, (n,), torch.int64, device)
    expect("offsets", offsets, (offsets.numel(),), torch.int64, device)
    if len(offsets) < 1:
        raise ShapeError("offsets is empty, expected one more than there are rays")
    if device.type != "cpu":  # looking would wait for the GPU; its kernels leave no array either
        return
    if int(offsets[0]) != 0 or int(offsets[-1]) != n or not bool((offsets.diff() >= 0).all()):
        raise ShapeError(f"offsets must rise from 0 to the number of samples, {n}")
    if n and not 0 <= int(samples.ray[0]) <= int(samples.ray[-1]) < len(offsets) - 1:
        raise ShapeError(f"ray holds {int(samples.ray[0])} to {int(samples.ray[-1])}, expected 0 to {len(offsets) - 2}")
