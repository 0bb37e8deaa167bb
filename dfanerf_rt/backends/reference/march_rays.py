"""Stratified samples in occupied space, plain torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from dfanerf_rt.backends.reference.render_field import occupied

if TYPE_CHECKING:
    from dfanerf_rt.ops.march_rays import MarchSpace, RaySamples


def march_rays(
    space: MarchSpace, jitter: torch.Tensor, occupancy: torch.Tensor, near_m: float, step_m: float, n_steps: int
) -> RaySamples:
    """See :func:`dfanerf_rt.ops.march_rays.march_rays`."""
    from dfanerf_rt.ops.march_rays import RaySamples, sample_positions

    n_rays = len(jitter)
    t = near_m + (torch.arange(n_steps, device=jitter.device) + jitter[:, None]) * step_m
    every = torch.arange(n_rays, device=jitter.device).repeat_interleave(n_steps)
    candidates = RaySamples(every, t.flatten(), torch.arange(n_rays + 1, device=jitter.device) * n_steps)
    positions = sample_positions(space, candidates)
    # Positions come clamped to the closed cube, and the box ends before 1: what was outside touches a face.
    valid = occupied(occupancy, positions) & (positions > 0).all(-1)
    counts = valid.view(n_rays, n_steps).sum(1)
    offsets = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    return RaySamples(every[valid], candidates.t[valid], offsets)
