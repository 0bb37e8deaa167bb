"""Stratified samples in occupied space in Triton: a program a ray, BLOCK steps at a time.

Whether a step hits an occupied cell is decided once, and kept as a byte: were it worked out again where the samples are
written, a rounding more or less could make a ray's samples run into the next ray's.
"""

from __future__ import annotations

import triton
import triton.language as tl

from dfanerf_rt.backends.triton.machine import FUSED

LAUNCH = {"BLOCK": 64, "num_warps": 2, **FUSED}


@triton.jit
def logistic(x):
    """1 / (1 + exp(-x)); 0 where exp overflows."""
    return 1.0 / (1.0 + tl.exp(-x))


@triton.jit
def in_occupied_cell(cells, u_x, u_y, u_z, resolution, mask):
    """Whether positions lie in the unit box and in an occupied cell of (R, R, R); never for NaN."""
    inside = mask & (u_x >= 0.0) & (u_x < 1.0) & (u_y >= 0.0) & (u_y < 1.0) & (u_z >= 0.0) & (u_z < 1.0)
    x = tl.minimum((u_x * resolution).to(tl.int32), resolution - 1)
    y = tl.minimum((u_y * resolution).to(tl.int32), resolution - 1)
    z = tl.minimum((u_z * resolution).to(tl.int32), resolution - 1)
    cell = (x.to(tl.int64) * resolution + y) * resolution + z
    return inside & (tl.load(cells + cell, mask=inside, other=0) != 0)


@triton.jit
def load_vector(pointer):
    """The three floats at ``pointer``."""
    return tl.load(pointer), tl.load(pointer + 1), tl.load(pointer + 2)


@triton.jit
def _blend(torso_origin, torso_slope, head_origin, head_slope, t, weight):
    torso = torso_origin + t * torso_slope
    return torso + weight * (head_origin + t * head_slope - torso)


@triton.jit(do_not_specialize=["n_steps"])
def march_kernel(
    head_origin,
    head_slope,
    torso_origin,
    torso_slope,
    neck_origin,
    neck_slope,
    jitter,
    cells,
    hits,
    counts,
    near_m,
    step_m,
    n_steps,
    resolution,
    BLOCK: tl.constexpr,
):
    """hits (n_rays, n_steps) uint8 and counts (n_rays,) int64 of ray program_id."""
    r = tl.program_id(0).to(tl.int64)
    torso_x, torso_y, torso_z = load_vector(torso_origin)
    head_x, head_y, head_z = load_vector(head_origin)
    torso_slope_x, torso_slope_y, torso_slope_z = load_vector(torso_slope + r * 3)
    head_slope_x, head_slope_y, head_slope_z = load_vector(head_slope + r * 3)
    neck, neck_step, shift = tl.load(neck_origin), tl.load(neck_slope + r), tl.load(jitter + r)
    found = tl.zeros((), tl.int64)
    for base in range(0, n_steps, BLOCK):
        step = base + tl.arange(0, BLOCK)
        t = near_m + (step.to(tl.float32) + shift) * step_m
        weight = logistic(neck + t * neck_step)
        u_x = _blend(torso_x, torso_slope_x, head_x, head_slope_x, t, weight)
        u_y = _blend(torso_y, torso_slope_y, head_y, head_slope_y, t, weight)
        u_z = _blend(torso_z, torso_slope_z, head_z, head_slope_z, t, weight)
        hit = in_occupied_cell(cells, u_x, u_y, u_z, resolution, step < n_steps)
        tl.store(hits + r * n_steps + step, hit.to(tl.uint8), mask=step < n_steps)
        found += tl.sum(hit.to(tl.int64))
    tl.store(counts + r, found)


@triton.jit(do_not_specialize=["n_steps"])
def write_samples_kernel(jitter, hits, offsets, ray, t, near_m, step_m, n_steps, BLOCK: tl.constexpr):
    """ray (N,) int64 and t (N,) float32 of the samples of ray program_id, from offsets[program_id] on."""
    r = tl.program_id(0).to(tl.int64)
    at = tl.load(offsets + r)
    shift = tl.load(jitter + r)
    for base in range(0, n_steps, BLOCK):
        step = base + tl.arange(0, BLOCK)
        hit = tl.load(hits + r * n_steps + step, mask=step < n_steps, other=0).to(tl.int32)
        place = at + tl.cumsum(hit, axis=0) - 1
        tl.store(ray + place, tl.zeros((BLOCK,), tl.int64) + r, mask=hit != 0)
        tl.store(t + place, near_m + (step.to(tl.float32) + shift) * step_m, mask=hit != 0)
        at += tl.sum(hit)
