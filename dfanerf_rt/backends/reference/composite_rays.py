"""Compositing of packed samples in plain torch: they are spread over a dense (rays, samples) grid."""

from __future__ import annotations

import torch

from dfanerf_rt.backends.reference.composite import composite_weights


def composite_rays(
    sigma: torch.Tensor,
    rgb: torch.Tensor,
    t: torch.Tensor,
    ray: torch.Tensor,
    offsets: torch.Tensor,
    step_m: float,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """See :func:`dfanerf_rt.ops.composite_rays.composite_rays`; differentiable by autograd."""
    n_rays = len(offsets) - 1
    longest = max(1, int((offsets[1:] - offsets[:-1]).max())) if n_rays else 1
    place = ray * longest + torch.arange(len(ray), device=ray.device) - offsets[ray]

    def spread(values: torch.Tensor) -> torch.Tensor:
        empty = values.new_zeros(n_rays * longest, *values.shape[1:])
        return empty.index_copy(0, place, values).view(n_rays, longest, *values.shape[1:])

    valid = spread(torch.ones_like(sigma)) > 0
    weights, transmittance = composite_weights(spread(sigma), valid, step_m, 0.0)
    colour = (weights[..., None] * spread(rgb)).sum(1)
    first = t[offsets[:-1].clamp(max=max(len(t) - 1, 0))] if len(t) else t.new_zeros(n_rays)
    middles = torch.where(valid, (spread(t) - first[:, None]) / step_m, torch.zeros_like(weights))
    apart = (middles[:, :, None] - middles[:, None, :]).abs()
    between = torch.einsum("ri,rj,rij->r", weights, weights, apart)
    distortion = between + weights.square().sum(1) / 3.0
    return colour, transmittance, distortion, weights.detach().flatten()[place]
