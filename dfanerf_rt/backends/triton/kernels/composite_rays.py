"""Compositing of packed samples in Triton: a program a ray, BLOCK samples at a time, their sums by prefix scans.

Samples of ray r are offsets[r] to offsets[r + 1] - 1. Offsets are pulled into the packed arrays: what a caller got
wrong gives a wrong picture, never an access outside.
"""

from __future__ import annotations

import triton
import triton.language as tl

from dfanerf_rt.backends.triton.machine import FUSED

LAUNCH = {"BLOCK": 32, "num_warps": 1, **FUSED}
"""Samples of a ray that are worked on at once, one a thread."""


@triton.jit
def _range_of(offsets, r, n):
    first = tl.minimum(tl.maximum(tl.load(offsets + r), 0), n)
    last = tl.minimum(tl.maximum(tl.load(offsets + r + 1), first), n)
    return first, last


@triton.jit(do_not_specialize=["n"])
def composite_kernel(
    offsets, sigma, rgb, t, colour, transmittance, distortion, weights, n, step_m, BLOCK: tl.constexpr
):
    """Colour (R, 3), transmittance (R,) and distortion (R,) of ray program_id, and its samples' weights."""
    r = tl.program_id(0).to(tl.int64)
    first, last = _range_of(offsets, r, n)
    start = tl.load(t + first, mask=first < last, other=0.0)
    passed = 0.0  # optical depth before the block; the sums below run over the samples before it, too
    red, green, blue, spread = 0.0, 0.0, 0.0, 0.0
    mass, moment = 0.0, 0.0
    for base in range(first, last, BLOCK):
        i = base + tl.arange(0, BLOCK)
        mask = i < last
        thickness = tl.load(sigma + i, mask=mask, other=0.0) * step_m
        # Read again one sample back, in place of subtracting a sample from its own sum: no digits are lost.
        thickness_before = tl.load(sigma + i - 1, mask=mask & (i > base), other=0.0) * step_m
        before = passed + tl.cumsum(thickness_before, axis=0)
        w = tl.exp(-before) * (1.0 - tl.exp(-thickness))
        m = (tl.load(t + i, mask=mask, other=0.0) - start) / step_m
        red += tl.sum(w * tl.load(rgb + i * 3, mask=mask, other=0.0))
        green += tl.sum(w * tl.load(rgb + i * 3 + 1, mask=mask, other=0.0))
        blue += tl.sum(w * tl.load(rgb + i * 3 + 2, mask=mask, other=0.0))
        mass_before = mass + tl.cumsum(w, axis=0) - w
        moment_before = moment + tl.cumsum(w * m, axis=0) - w * m
        spread += tl.sum(2.0 * w * (m * mass_before - moment_before) + w * w / 3.0)
        tl.store(weights + i, w, mask=mask)
        mass += tl.sum(w)
        moment += tl.sum(w * m)
        passed += tl.sum(thickness)
    tl.store(colour + r * 3, red)
    tl.store(colour + r * 3 + 1, green)
    tl.store(colour + r * 3 + 2, blue)
    tl.store(transmittance + r, tl.exp(-passed))
    tl.store(distortion + r, spread)


@triton.jit(do_not_specialize=["n"])
def composite_gradient_kernel(
    offsets,
    rgb,
    t,
    transmittance,
    weights,
    grad_colour,
    grad_transmittance,
    grad_distortion,
    grad_sigma,
    grad_rgb,
    n,
    step_m,
    BLOCK: tl.constexpr,
):
    """Writes grad_sigma (n,) and grad_rgb (n, 3) of the samples of ray program_id, from the last to the first."""
    r = tl.program_id(0).to(tl.int64)
    first, last = _range_of(offsets, r, n)
    start = tl.load(t + first, mask=first < last, other=0.0)
    mass, moment = 0.0, 0.0
    for base in range(first, last, BLOCK):
        i = base + tl.arange(0, BLOCK)
        w = tl.load(weights + i, mask=i < last, other=0.0)
        mass += tl.sum(w)
        moment += tl.sum(w * (tl.load(t + i, mask=i < last, other=0.0) - start) / step_m)
    grad_red = tl.load(grad_colour + r * 3)
    grad_green = tl.load(grad_colour + r * 3 + 1)
    grad_blue = tl.load(grad_colour + r * 3 + 2)
    grad_spread = tl.load(grad_distortion + r)
    left = tl.load(transmittance + r)
    # d weight_j / d sigma_i = -step weight_j for every sample j behind i, and the same for the light that is left.
    pull_behind = left * tl.load(grad_transmittance + r)
    mass_behind, moment_behind = 0.0, 0.0
    for block in range(tl.cdiv(last - first, BLOCK)):
        # Lanes count backwards, so that a prefix scan sums what lies behind a sample.
        i = last - 1 - block * BLOCK - tl.arange(0, BLOCK)
        mask = i >= first
        w = tl.load(weights + i, mask=mask, other=0.0)
        m = tl.where(mask, (tl.load(t + i, mask=mask, other=0.0) - start) / step_m, 0.0)
        mass_after = mass_behind + tl.cumsum(w, axis=0) - w
        moment_after = moment_behind + tl.cumsum(w * m, axis=0) - w * m
        mass_before = mass - mass_after - w
        moment_before = moment - moment_after - w * m
        slope = 2.0 * (m * mass_before - moment_before + moment_after - m * mass_after) + w / 1.5
        value = grad_spread * slope
        value += grad_red * tl.load(rgb + i * 3, mask=mask, other=0.0)
        value += grad_green * tl.load(rgb + i * 3 + 1, mask=mask, other=0.0)
        value += grad_blue * tl.load(rgb + i * 3 + 2, mask=mask, other=0.0)
        pull = pull_behind + tl.cumsum(w * value, axis=0) - w * value
        light = left + mass_after  # what leaves a sample is stopped behind it, or left
        tl.store(grad_sigma + i, step_m * (light * value - pull), mask=mask)
        tl.store(grad_rgb + i * 3, w * grad_red, mask=mask)
        tl.store(grad_rgb + i * 3 + 1, w * grad_green, mask=mask)
        tl.store(grad_rgb + i * 3 + 2, w * grad_blue, mask=mask)
        mass_behind += tl.sum(w)
        moment_behind += tl.sum(w * m)
        pull_behind += tl.sum(w * value)
