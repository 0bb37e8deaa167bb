"""Compositing of packed samples by the native module (backends "cpu" and "cuda")."""

from __future__ import annotations

from typing import Any

import torch

from dfanerf_rt import native
from dfanerf_rt.backends.native.streams import missing_reason, stream_of


def unavailable_reason(backend: str) -> str | None:
    """Why the native module cannot composite on ``backend``, or None if it can."""
    return missing_reason("composite_rays_forward", backend)


def composite_rays(
    sigma: torch.Tensor,
    rgb: torch.Tensor,
    t: torch.Tensor,
    ray: torch.Tensor,
    offsets: torch.Tensor,
    step_m: float,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """See :func:`dfanerf_rt.ops.composite_rays.composite_rays`."""
    result: tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor] = _CompositeRays.apply(
        sigma, rgb, t, offsets, step_m
    )
    return result


class _CompositeRays(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, sigma: torch.Tensor, rgb: torch.Tensor, t: torch.Tensor, offsets: torch.Tensor, step_m: float
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        sigma, rgb = sigma.detach().contiguous(), rgb.detach().contiguous()
        t, offsets = t.contiguous(), offsets.contiguous()
        n_rays = len(offsets) - 1
        colour, transmittance = sigma.new_empty(n_rays, 3), sigma.new_empty(n_rays)
        distortion, weights = sigma.new_empty(n_rays), torch.empty_like(sigma)
        outputs = colour, transmittance, distortion, weights
        with stream_of(sigma.device) as stream:
            native.load().composite_rays_forward(
                offsets, sigma, rgb, t, step_m, *outputs, torch.get_num_threads(), stream
            )
        ctx.save_for_backward(sigma, rgb, t, offsets, transmittance, weights)
        ctx.step_m = step_m
        ctx.mark_non_differentiable(weights)
        return outputs

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, None, None, None]:
        sigma, rgb, t, offsets, transmittance, weights = ctx.saved_tensors
        colour, light, distortion = (grad.contiguous() for grad in grads[:3])
        grad_sigma, grad_rgb = torch.empty_like(sigma), torch.empty_like(rgb)
        with stream_of(sigma.device) as stream:
            native.load().composite_rays_backward(
                offsets,
                sigma,
                rgb,
                t,
                ctx.step_m,
                transmittance.detach(),  # an output: it comes back attached to the graph
                weights,
                colour,
                light,
                distortion,
                grad_sigma,
                grad_rgb,
                torch.get_num_threads(),
                stream,
            )
        return grad_sigma, grad_rgb, None, None, None
