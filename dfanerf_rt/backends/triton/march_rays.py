"""Stratified samples in occupied space by Triton kernels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from dfanerf_rt.backends.triton.machine import DEVICES, unavailable_reason

if TYPE_CHECKING:
    from dfanerf_rt.backends.reference.march_rays import MarchSpace

__all__ = ["DEVICES", "march_rays", "unavailable_reason"]


def march_rays(
    space: MarchSpace, jitter: torch.Tensor, occupancy: torch.Tensor, near_m: float, step_m: float, n_steps: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """See :func:`dfanerf_rt.ops.march_rays.march_rays`; returns ray, t and offsets.

    It waits for the device once, between finding the samples and writing them: their number is a size.
    """
    from dfanerf_rt.backends.triton.kernels import march_rays as kernels

    n, device = len(jitter), jitter.device
    jitter = jitter.contiguous()
    hits = torch.empty(n, n_steps, dtype=torch.uint8, device=device)
    offsets = torch.zeros(n + 1, dtype=torch.int64, device=device)
    inputs = (
        space.head_origin,
        space.head_slope,
        space.torso_origin,
        space.torso_slope,
        space.neck_origin,
        space.neck_slope,
    )
    with torch.cuda.device_of(jitter):
        if n:
            kernels.march_kernel[(n,)](
                *(tensor.detach().contiguous() for tensor in inputs),
                jitter,
                occupancy.contiguous(),
                hits,
                offsets[1:],
                near_m,
                step_m,
                n_steps,
                occupancy.shape[0],
                **kernels.LAUNCH,
            )
        offsets = offsets.cumsum(0)
        count = int(offsets[-1])
        ray = torch.empty(count, dtype=torch.int64, device=device)
        t = torch.empty(count, device=device)
        if count:
            kernels.write_samples_kernel[(n,)](jitter, hits, offsets, ray, t, near_m, step_m, n_steps, **kernels.LAUNCH)
    return ray, t, offsets
