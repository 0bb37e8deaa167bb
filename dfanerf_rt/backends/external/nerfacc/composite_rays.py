"""Compositing by nerfacc: its packed functions on a GPU, its dense ones on the CPU (backend "nerfacc")."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from dfanerf_rt.backends.external.nerfacc import library

DEVICES = ("cpu", "cuda")


def unavailable_reason(backend: str) -> str | None:
    """Why nerfacc cannot composite, or None if it can; on the CPU it needs no CUDA code."""
    return library.cuda_missing_reason() if torch.cuda.is_available() else library.missing_reason()


def composite_rays(
    sigma: torch.Tensor,
    rgb: torch.Tensor,
    t: torch.Tensor,
    ray: torch.Tensor,
    offsets: torch.Tensor,
    step_m: float,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """See :func:`dfanerf_rt.ops.composite_rays.composite_rays`; differentiable by autograd.

    nerfacc has no distortion loss of its own; it is put together from nerfacc's exclusive sums.
    """
    import nerfacc

    n_rays = len(offsets) - 1
    if len(sigma) == 0:
        none = sigma.sum() + rgb.sum()  # zero, and still part of the graph
        return none.expand(n_rays, 3), 1.0 + none.expand(n_rays), none.expand(n_rays), torch.zeros_like(sigma)
    counts = offsets[1:] - offsets[:-1]
    starts = t - t[offsets[:-1].clamp(max=len(t) - 1)][ray]
    spread: Callable[[torch.Tensor], torch.Tensor]
    packed: torch.Tensor | None
    rays: dict[str, Any]
    if sigma.is_cuda:
        library.load()
        spread, packed, rays = _as_it_is, torch.stack([offsets[:-1], counts], dim=1), _packed_rays(ray, n_rays)
        place = torch.arange(len(sigma), device=sigma.device)
    else:
        longest = int(counts.max())
        place = ray * longest + torch.arange(len(ray)) - offsets[ray]
        spread, packed, rays = _dense(place, n_rays, longest), None, {}

    starts, density, colour = spread(starts), spread(sigma), spread(rgb)
    weights, _, _ = nerfacc.render_weight_from_density(
        torch.zeros_like(starts), torch.full_like(starts, step_m), density, packed_info=packed
    )
    total = nerfacc.accumulate_along_rays(weights, colour, **rays)
    depth = nerfacc.accumulate_along_rays(density * step_m, None, **rays)[..., 0]
    middles = starts / step_m
    before, before_middle = (nerfacc.exclusive_sum(values, packed) for values in (weights, weights * middles))
    pairs = weights * (2.0 * (middles * before - before_middle) + weights / 3.0)
    distortion = nerfacc.accumulate_along_rays(pairs, None, **rays)[..., 0]
    return total, torch.exp(-depth), distortion, weights.detach().flatten()[place]


def _as_it_is(values: torch.Tensor) -> torch.Tensor:
    return values.contiguous()


def _packed_rays(ray: torch.Tensor, n_rays: int) -> dict[str, Any]:
    return {"ray_indices": ray, "n_rays": n_rays}


def _dense(place: torch.Tensor, n_rays: int, longest: int) -> Callable[[torch.Tensor], torch.Tensor]:
    """Packed (N, ...) to (rays, samples, ...), zero where a ray has no more samples."""

    def spread(values: torch.Tensor) -> torch.Tensor:
        empty = values.new_zeros(n_rays * longest, *values.shape[1:])
        return empty.index_copy(0, place, values).view(n_rays, longest, *values.shape[1:])

    return spread
