"""Stratified samples in occupied space, plain torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from dfanerf_rt.backends.reference.render_field import occupied

if TYPE_CHECKING:
    from dfanerf_rt.ops.march_rays import MarchSpace


def march_rays(
    space: MarchSpace, jitter: torch.Tensor, occupancy: torch.Tensor, near_m: float, step_m: float, n_steps: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """See :func:`dfanerf_rt.ops.march_rays.march_rays`; returns ray, t and offsets."""
    n_rays = len(jitter)
    t = (near_m + (torch.arange(n_steps, device=jitter.device) + jitter[:, None]) * step_m).flatten()
    ray = torch.arange(n_rays, device=jitter.device).repeat_interleave(n_steps)
    valid = occupied(occupancy, unit_positions(space, ray, t))
    counts = valid.view(n_rays, n_steps).sum(1)
    offsets = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    return ray[valid], t[valid], offsets


def unit_positions(space: MarchSpace, ray: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    """(N, 3) places in the field's unit cube of samples at distances (N,) along rays (N,); differentiable."""
    torso = space.torso_origin + t[:, None] * space.torso_slope[ray]
    head = space.head_origin + t[:, None] * space.head_slope[ray]
    weight = torch.sigmoid(space.neck_origin + t * space.neck_slope[ray])
    return torso + weight[:, None] * (head - torso)
