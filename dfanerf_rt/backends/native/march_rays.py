"""Stratified samples in occupied space by the native module (backends "cpu" and "cuda")."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from dfanerf_rt import native
from dfanerf_rt.backends.native.streams import missing_reason, stream_of

if TYPE_CHECKING:
    from dfanerf_rt.backends.reference.march_rays import MarchSpace

STEPS_PER_WORD = 32


def unavailable_reason(backend: str) -> str | None:
    """Why the native module cannot march on ``backend``, or None if it can."""
    return missing_reason("march_rays_count", backend)


def march_rays(
    space: MarchSpace, jitter: torch.Tensor, occupancy: torch.Tensor, near_m: float, step_m: float, n_steps: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """See :func:`dfanerf_rt.ops.march_rays.march_rays`.

    On a GPU it waits for the device once, between finding the samples and writing them: how many there are decides
    the size of every tensor that follows.
    """
    module, n, threads = native.load(), len(jitter), torch.get_num_threads()
    jitter = jitter.contiguous()
    hits = torch.empty(n, -(-n_steps // STEPS_PER_WORD), dtype=torch.int32, device=jitter.device)
    offsets = torch.zeros(n + 1, dtype=torch.int64, device=jitter.device)
    with stream_of(jitter.device) as stream:
        module.march_rays_count(
            space.head_origin.contiguous(),
            space.torso_origin.contiguous(),
            space.neck_origin,
            space.head_slope.contiguous(),
            space.torso_slope.contiguous(),
            space.neck_slope.contiguous(),
            jitter,
            occupancy.contiguous(),
            near_m,
            step_m,
            n_steps,
            hits,
            offsets[1:],
            threads,
            stream,
        )
        offsets.cumsum_(0)
        count = int(offsets[-1])
        ray = torch.empty(count, dtype=torch.int64, device=jitter.device)
        t = torch.empty(count, device=jitter.device)
        module.march_rays_write(jitter, near_m, step_m, n_steps, hits, offsets, ray, t, threads, stream)
    return ray, t, offsets
