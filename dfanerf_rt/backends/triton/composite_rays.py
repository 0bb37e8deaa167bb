"""Compositing of packed samples by Triton kernels, forward and backward."""

from __future__ import annotations

from typing import Any

import torch

from dfanerf_rt.backends.triton.machine import DEVICES, unavailable_reason

__all__ = ["DEVICES", "composite_rays", "unavailable_reason"]


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
        from dfanerf_rt.backends.triton.kernels import composite_rays as kernels

        sigma, rgb = sigma.detach().contiguous(), rgb.detach().contiguous()
        t, offsets = t.detach().contiguous(), offsets.contiguous()
        n_rays = len(offsets) - 1
        colour, transmittance = sigma.new_empty(n_rays, 3), sigma.new_empty(n_rays)
        distortion, weights = sigma.new_empty(n_rays), torch.empty_like(sigma)
        if n_rays:
            outputs = (colour, transmittance, distortion, weights)
            with torch.cuda.device_of(sigma):
                kernels.composite_kernel[(n_rays,)](offsets, sigma, rgb, t, *outputs, len(t), step_m, **kernels.LAUNCH)
        ctx.save_for_backward(rgb, t, offsets, transmittance, weights)
        ctx.step_m = step_m
        ctx.mark_non_differentiable(weights)
        return colour, transmittance, distortion, weights

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor | None, None, None, None]:
        from dfanerf_rt.backends.triton.kernels import composite_rays as kernels

        rgb, t, offsets, transmittance, weights = ctx.saved_tensors
        inputs = (offsets, rgb, t, transmittance.detach(), weights, *(grad.contiguous() for grad in grads[:3]))
        grad_sigma, grad_rgb = torch.empty_like(weights), torch.empty_like(rgb)
        if len(transmittance):
            with torch.cuda.device_of(rgb):
                kernels.composite_gradient_kernel[(len(transmittance),)](
                    *inputs, grad_sigma, grad_rgb, len(t), ctx.step_m, **kernels.LAUNCH
                )
        wanted_sigma, wanted_rgb = ctx.needs_input_grad[:2]
        return grad_sigma if wanted_sigma else None, grad_rgb if wanted_rgb else None, None, None, None
