"""Hash encoding in Triton: the arithmetic of csrc/math/hash_encode.h, fused multiply-adds and 32-bit wrap-around alike.

A program works on BLOCK positions in one level; the levels of a block are neighbouring programs, so that their parts of
a row meet in the cache. Levels come as tables: scales (L,) float32, and sizes (L, 4) int64 of grid points along an
axis, entries, first entry, and whether hashed.
"""

from __future__ import annotations

import triton
import triton.language as tl

from dfanerf_rt.backends.triton.machine import FUSED

LAUNCH = {"BLOCK": 128, "num_warps": 4, **FUSED}


@triton.jit
def clamp_unit(x):
    """Pull to [0, 1]; NaN becomes 0, so that no index leaves the table."""
    return tl.where(x > 0.0, tl.minimum(x, 1.0), 0.0)


@triton.jit
def load_level(scales, sizes, level):
    """Scale, and grid points, entries (uint32), first entry (int64) and whether hashed, of one level or several."""
    scale = tl.load(scales + level)
    resolution = tl.load(sizes + level * 4).to(tl.uint32)
    n_entries = tl.load(sizes + level * 4 + 1).to(tl.uint32)
    first = tl.load(sizes + level * 4 + 2)
    hashed = tl.load(sizes + level * 4 + 3) != 0
    return scale, resolution, n_entries, first, hashed


@triton.jit
def axis_factors(resolution, hashed):
    """What y and z of a grid point are multiplied with before the three coordinates are joined."""
    y = tl.where(hashed, 2654435761, resolution)
    z = tl.where(hashed, 805459861, resolution * resolution)
    return y.to(tl.uint32), z.to(tl.uint32)


@triton.jit
def locate(x, scale, factor):
    """Lowest grid point, times the axis's factor, and place within the cell of a coordinate in [0, 1]."""
    at = tl.fma(x, scale, 0.5)
    whole = at.to(tl.int32)  # positions are positive: truncation is floor
    return whole.to(tl.uint32) * factor, at - whole.to(tl.float32)


@triton.jit
def step_to(cell, fraction, factor, upper: tl.constexpr):
    """The lower or the upper grid point of an axis, and its weight."""
    if upper:
        cell += factor
        weight = fraction
    else:
        weight = 1.0 - fraction
    return cell, weight


@triton.jit
def entry_of(x, y, z, n_entries, hashed):
    """Entry within the level of a grid point whose coordinates are multiplied with their factors; uint32."""
    scattered = (x ^ y ^ z) & (n_entries - 1)  # a hashed level has a power of two entries
    in_rows = x + y + z
    # At the far faces of the box a dense level wraps round; elsewhere the difference is huge.
    in_rows = tl.minimum(in_rows - n_entries, in_rows)
    return tl.where(hashed, scattered, in_rows)


@triton.jit
def _load_positions(positions, rows, mask):
    x = clamp_unit(tl.load(positions + rows * 3, mask=mask, other=0.0))
    y = clamp_unit(tl.load(positions + rows * 3 + 1, mask=mask, other=0.0))
    z = clamp_unit(tl.load(positions + rows * 3 + 2, mask=mask, other=0.0))
    return x, y, z


@triton.jit(do_not_specialize=["n"])
def encode_kernel(
    positions, table, scales, sizes, out, n, N_LEVELS: tl.constexpr, N_FEATURES: tl.constexpr, BLOCK: tl.constexpr
):
    """Writes one level's part of BLOCK rows of out (n, N_LEVELS * N_FEATURES). Grid: (cdiv(n, BLOCK) * N_LEVELS,)."""
    level = tl.program_id(0) % N_LEVELS
    rows = (tl.program_id(0) // N_LEVELS).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    mask = rows < n
    feature = tl.arange(0, N_FEATURES)[None, :]
    scale, resolution, n_entries, first, hashed = load_level(scales, sizes, level)
    factor_y, factor_z = axis_factors(resolution, hashed)
    x, y, z = _load_positions(positions, rows, mask)
    cell_x, fraction_x = locate(x, scale, 1)
    cell_y, fraction_y = locate(y, scale, factor_y)
    cell_z, fraction_z = locate(z, scale, factor_z)
    total = tl.zeros((BLOCK, N_FEATURES), tl.float32)
    for corner in tl.static_range(8):
        at_x, weight_x = step_to(cell_x, fraction_x, 1, corner & 1)
        at_y, weight_y = step_to(cell_y, fraction_y, factor_y, corner & 2)
        at_z, weight_z = step_to(cell_z, fraction_z, factor_z, corner & 4)
        entry = first + entry_of(at_x, at_y, at_z, n_entries, hashed).to(tl.int64)
        value = tl.load(table + entry[:, None] * N_FEATURES + feature, mask=mask[:, None], other=0.0)
        weight = weight_x * (weight_y * weight_z)
        total = tl.fma(tl.broadcast_to(weight[:, None], (BLOCK, N_FEATURES)), value, total)
    place = (rows[:, None] * N_LEVELS + level) * N_FEATURES + feature
    tl.store(out + place, total, mask=mask[:, None])


@triton.jit(do_not_specialize=["n"])
def table_gradient_kernel(
    positions,
    grad_out,
    scales,
    sizes,
    grad_table,
    n,
    N_LEVELS: tl.constexpr,
    N_FEATURES: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Adds one level's part of BLOCK rows to grad_table, zeros at first. Grid: (cdiv(n, BLOCK) * N_LEVELS,)."""
    level = tl.program_id(0) % N_LEVELS
    rows = (tl.program_id(0) // N_LEVELS).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    mask = rows < n
    feature = tl.arange(0, N_FEATURES)[None, :]
    scale, resolution, n_entries, first, hashed = load_level(scales, sizes, level)
    factor_y, factor_z = axis_factors(resolution, hashed)
    x, y, z = _load_positions(positions, rows, mask)
    cell_x, fraction_x = locate(x, scale, 1)
    cell_y, fraction_y = locate(y, scale, factor_y)
    cell_z, fraction_z = locate(z, scale, factor_z)
    place = (rows[:, None] * N_LEVELS + level) * N_FEATURES + feature
    gradient = tl.load(grad_out + place, mask=mask[:, None], other=0.0)
    for corner in tl.static_range(8):
        at_x, weight_x = step_to(cell_x, fraction_x, 1, corner & 1)
        at_y, weight_y = step_to(cell_y, fraction_y, factor_y, corner & 2)
        at_z, weight_z = step_to(cell_z, fraction_z, factor_z, corner & 4)
        entry = first + entry_of(at_x, at_y, at_z, n_entries, hashed).to(tl.int64)
        weight = weight_x * (weight_y * weight_z)
        target = grad_table + entry[:, None] * N_FEATURES + feature
        tl.atomic_add(target, weight[:, None] * gradient, mask=mask[:, None], sem="relaxed")


@triton.jit(do_not_specialize=["n"])
def position_gradient_kernel(
    positions,
    table,
    grad_out,
    scales,
    sizes,
    grad_positions,
    n,
    N_LEVELS: tl.constexpr,
    N_FEATURES: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Writes BLOCK rows of grad_positions (n, 3), the levels summed one after another. Grid: (cdiv(n, BLOCK),)."""
    rows = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    mask = rows < n
    feature = tl.arange(0, N_FEATURES)[None, :]
    x, y, z = _load_positions(positions, rows, mask)
    total_x = tl.zeros((BLOCK,), tl.float32)
    total_y = tl.zeros((BLOCK,), tl.float32)
    total_z = tl.zeros((BLOCK,), tl.float32)
    for level in range(N_LEVELS):
        scale, resolution, n_entries, first, hashed = load_level(scales, sizes, level)
        factor_y, factor_z = axis_factors(resolution, hashed)
        cell_x, fraction_x = locate(x, scale, 1)
        cell_y, fraction_y = locate(y, scale, factor_y)
        cell_z, fraction_z = locate(z, scale, factor_z)
        place = (rows[:, None] * N_LEVELS + level) * N_FEATURES + feature
        gradient = tl.load(grad_out + place, mask=mask[:, None], other=0.0)
        slope_x = tl.zeros((BLOCK,), tl.float32)
        slope_y = tl.zeros((BLOCK,), tl.float32)
        slope_z = tl.zeros((BLOCK,), tl.float32)
        for corner in tl.static_range(8):
            at_x, weight_x = step_to(cell_x, fraction_x, 1, corner & 1)
            at_y, weight_y = step_to(cell_y, fraction_y, factor_y, corner & 2)
            at_z, weight_z = step_to(cell_z, fraction_z, factor_z, corner & 4)
            entry = first + entry_of(at_x, at_y, at_z, n_entries, hashed).to(tl.int64)
            value = tl.load(table + entry[:, None] * N_FEATURES + feature, mask=mask[:, None], other=0.0)
            pull = tl.sum(gradient * value, axis=1)  # what the output's gradient says about this corner's weight
            slope_x += pull * (weight_y * weight_z) * (1.0 if corner & 1 else -1.0)
            slope_y += pull * (weight_x * weight_z) * (1.0 if corner & 2 else -1.0)
            slope_z += pull * (weight_x * weight_y) * (1.0 if corner & 4 else -1.0)
        total_x += slope_x * scale
        total_y += slope_y * scale
        total_z += slope_z * scale
    _store_unless_clamped(positions, grad_positions, rows * 3, total_x, mask)
    _store_unless_clamped(positions, grad_positions, rows * 3 + 1, total_y, mask)
    _store_unless_clamped(positions, grad_positions, rows * 3 + 2, total_z, mask)


@triton.jit
def _store_unless_clamped(positions, grad_positions, place, gradient, mask):
    given = tl.load(positions + place, mask=mask, other=0.0)
    tl.store(grad_positions + place, tl.where((given >= 0.0) & (given <= 1.0), gradient, 0.0), mask=mask)
