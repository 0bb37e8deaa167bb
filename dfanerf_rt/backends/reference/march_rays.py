"""Stratified samples in occupied space, plain torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from dfanerf_rt.backends.reference.render_field import occupied

if TYPE_CHECKING:
    from dfanerf_rt.ops.render_field import FoldedField


@dataclass(frozen=True)
class MarchSpace:
    """Rays in the field's unit cube: u(t) = torso + w (head - torso), both affine in t, w = sigmoid(neck(t))."""

    head_origin: torch.Tensor
    """(3,) u of the camera's centre by the head's frame."""
    head_slope: torch.Tensor
    """(R, 3) du/dt by the head's frame."""
    torso_origin: torch.Tensor
    torso_slope: torch.Tensor
    neck_origin: torch.Tensor
    """() signed distance of the camera's centre from the neck's plane, in units of its softness."""
    neck_slope: torch.Tensor
    """(R,)."""


def march_space(folded: FoldedField, directions: torch.Tensor) -> MarchSpace:
    """Both frames of a folded field along rays with unit directions (R, 3); differentiable."""
    head, torso = folded.head_to_camera, folded.torso_to_camera
    extent = folded.aabb[1] - folded.aabb[0]
    head_origin, head_slope = -(head[:, 3] @ head[:, :3]), directions @ head[:, :3]
    torso_origin, torso_slope = -(torso[:, 3] @ torso[:, :3]), directions @ torso[:, :3]
    return MarchSpace(
        head_origin=(head_origin - folded.aabb[0]) / extent,
        head_slope=head_slope / extent,
        torso_origin=(torso_origin - folded.aabb[0]) / extent,
        torso_slope=torso_slope / extent,
        neck_origin=head_origin @ folded.neck[:3] + folded.neck[3],
        neck_slope=head_slope @ folded.neck[:3],
    )


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
