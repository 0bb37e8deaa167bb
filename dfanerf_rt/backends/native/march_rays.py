"""Stratified samples in occupied space by the native module (backend "cpu")."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from dfanerf_rt import native

if TYPE_CHECKING:
    from dfanerf_rt.backends.reference.march_rays import MarchSpace


def unavailable_reason(backend: str) -> str | None:
    """Why the native module cannot march on ``backend``, or None if it can."""
    if backend == "cuda":
        return "march_rays has no CUDA kernel yet"
    return native.missing_reason("march_rays")


def march_rays(
    space: MarchSpace, jitter: torch.Tensor, occupancy: torch.Tensor, near_m: float, step_m: float, n_steps: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """See :func:`dfanerf_rt.ops.march_rays.march_rays`."""
    room = len(jitter) * n_steps
    ray = torch.empty(room, dtype=torch.int64)
    t = torch.empty(room)
    offsets = torch.empty(len(jitter) + 1, dtype=torch.int64)
    count = native.load().march_rays(
        space.head_origin,
        space.torso_origin,
        float(space.neck_origin),
        space.head_slope.contiguous(),
        space.torso_slope.contiguous(),
        space.neck_slope.contiguous(),
        jitter.contiguous(),
        occupancy.contiguous(),
        near_m,
        step_m,
        n_steps,
        ray,
        t,
        offsets,
        torch.get_num_threads(),
    )
    return ray[:count], t[:count], offsets
