"""One frame of a folded field in one launch: march, encode, network on tensor cores, composite.

A program keeps RAYS rays in flight. Each turn of its loop finds the next occupied sample of every ray, evaluates the
field at all of them at once, and adds them up; rays that have ended are written out, and new ones taken from a queue
that all programs share, so that long rays do not hold up short ones. Pixels are queued in tiles of 8x8, whose rays read
neighbouring parts of the table.
"""

from __future__ import annotations

import triton
import triton.language as tl

from dfanerf_rt.backends.triton.kernels.hash_encode import (
    axis_factors,
    clamp_unit,
    entry_of,
    load_level,
    locate,
    step_to,
)
from dfanerf_rt.backends.triton.kernels.march_rays import in_occupied_cell, load_vector, logistic
from dfanerf_rt.backends.triton.machine import FUSED

LAUNCH = {"RAYS": 32, "AHEAD": 8, "SLICE": 32, "num_warps": 4, "num_stages": 1, **FUSED}
"""Rays in flight, and steps of each that are looked up at once."""

TILE = tl.constexpr(8)
REFILL_SHARE = tl.constexpr(4)
STOP_TRANSMITTANCE = tl.constexpr(1e-3)
MAX_RAW_SIGMA = tl.constexpr(15.0)
NEVER = tl.constexpr(1 << 30)


@triton.jit
def _pixel_of(ray, width):
    """Column and row of a place in the queue."""
    tile, within = ray // (TILE * TILE), ray % (TILE * TILE)
    tiles_across = (width + TILE - 1) // TILE
    return tile % tiles_across * TILE + within % TILE, tile // tiles_across * TILE + within // TILE


@triton.jit
def _affine(view, at: tl.constexpr, x, y, z):
    """(x, y, z) times the 3x3 matrix at view[at + 3], whose rows are x, y and z."""
    row_x, row_y, row_z = load_vector(view + at + 3), load_vector(view + at + 6), load_vector(view + at + 9)
    a = x * row_x[0] + y * row_y[0] + z * row_z[0]
    b = x * row_x[1] + y * row_y[1] + z * row_z[1]
    c = x * row_x[2] + y * row_y[2] + z * row_z[2]
    return a, b, c


@triton.jit
def _rays_through(view, column, row, focal_px, cx, cy):
    """du/dt by the torso's and by the head's frame, and how fast the neck's plane comes nearer."""
    x, y = (column + 0.5 - cx) / focal_px, (row + 0.5 - cy) / focal_px
    length = tl.sqrt(x * x + y * y + 1.0)
    x, y, z = x / length, y / length, 1.0 / length
    neck = x * tl.load(view + 25) + y * tl.load(view + 26) + z * tl.load(view + 27)
    return _affine(view, 0, x, y, z), _affine(view, 12, x, y, z), neck


@triton.jit
def _positions(view, t, torso, head, neck):
    """u (three coordinates) at distances t along rays; shapes broadcast."""
    weight = logistic(tl.load(view + 24) + t * neck)
    torso_x, torso_y, torso_z = load_vector(view)
    head_x, head_y, head_z = load_vector(view + 12)
    x, y, z = torso_x + t * torso[0], torso_y + t * torso[1], torso_z + t * torso[2]
    x += weight * (head_x + t * head[0] - x)
    y += weight * (head_y + t * head[1] - y)
    z += weight * (head_z + t * head[2] - z)
    return x, y, z


@triton.jit
def _next_samples(
    view, cells, torso, head, neck, step, searching, near_m, step_m, n_steps, resolution, AHEAD: tl.constexpr
):
    """The first occupied step from ``step`` on of every ray that searches; NEVER where there is none."""
    torso_columns = torso[0][:, None], torso[1][:, None], torso[2][:, None]
    head_columns = head[0][:, None], head[1][:, None], head[2][:, None]
    found = tl.full(step.shape, NEVER, tl.int32)
    left = tl.sum(searching.to(tl.int32))
    while left > 0:
        candidate = step[:, None] + tl.arange(0, AHEAD)[None, :]
        t = near_m + (candidate.to(tl.float32) + 0.5) * step_m
        x, y, z = _positions(view, t, torso_columns, head_columns, neck[:, None])
        hit = in_occupied_cell(cells, x, y, z, resolution, searching[:, None] & (candidate < n_steps))
        first = tl.min(tl.where(hit, candidate, NEVER), axis=1)
        found = tl.minimum(found, first)
        step += AHEAD
        searching = searching & (first == NEVER) & (step < n_steps)
        left = tl.sum(searching.to(tl.int32))
    return found


@triton.jit
def _encode(table, scales, sizes, x, y, z, wanted, L: tl.constexpr, N_LEVELS: tl.constexpr, N_FEATURES: tl.constexpr):
    """(RAYS, L * N_FEATURES) encoding of positions, zero for levels from N_LEVELS on."""
    level = tl.arange(0, L)
    scale, resolution, n_entries, first, hashed = load_level(scales, sizes, level)
    factor_y, factor_z = axis_factors(resolution, hashed)
    scale, n_entries, first, hashed = scale[None, :], n_entries[None, :], first.to(tl.int32)[None, :], hashed[None, :]
    factor_y, factor_z = factor_y[None, :], factor_z[None, :]
    cell_x, fraction_x = locate(clamp_unit(x)[:, None], scale, 1)
    cell_y, fraction_y = locate(clamp_unit(y)[:, None], scale, factor_y)
    cell_z, fraction_z = locate(clamp_unit(z)[:, None], scale, factor_z)
    mask = (wanted[:, None] & (level < N_LEVELS)[None, :])[:, :, None]
    feature = tl.arange(0, N_FEATURES)[None, None, :]
    total = tl.zeros((x.shape[0], L, N_FEATURES), tl.float32)
    # Two corners a turn: with all eight in flight, their addresses alone would fill the registers.
    for edge in range(4):
        at_y = cell_y + factor_y * (edge & 1)
        at_z = cell_z + factor_z * (edge >> 1)
        weight_y = tl.where((edge & 1) == 1, fraction_y, 1.0 - fraction_y)
        weight_z = tl.where((edge >> 1) == 1, fraction_z, 1.0 - fraction_z)
        for corner in tl.static_range(2):
            at_x, weight_x = step_to(cell_x, fraction_x, 1, corner)
            entry = first + entry_of(at_x, at_y, at_z, n_entries, hashed).to(tl.int32)
            value = tl.load(table + entry[:, :, None] * N_FEATURES + feature, mask=mask, other=0.0)
            weight = weight_x * (weight_y * weight_z)
            total += weight[:, :, None] * value.to(tl.float32)
    return tl.reshape(total, (x.shape[0], L * N_FEATURES))


@triton.jit
def _product(x, w, total, HALF: tl.constexpr):
    """total + x @ w on tensor cores, in half precision or in float32 split into tf32."""
    return tl.dot(x.to(tl.float16), w.to(tl.float16), total) if HALF else tl.dot(x, w, total, input_precision="tf32x3")


@triton.jit
def _transposed(weight, i, o, N_IN: tl.constexpr, N_OUT: tl.constexpr):
    """Columns i and rows o of weight (N_OUT, N_IN), zero where it has none."""
    inside = (i[:, None] < N_IN) & (o[None, :] < N_OUT)
    return tl.load(weight + o[None, :] * N_IN + i[:, None], mask=inside, other=0.0)


@triton.jit
def _network(
    code,
    weight_1,
    bias_1,
    weight_2,
    bias_2,
    weight_3,
    bias_3,
    IN: tl.constexpr,
    N_IN: tl.constexpr,
    H: tl.constexpr,
    N_HIDDEN: tl.constexpr,
    SLICE: tl.constexpr,
    HALF: tl.constexpr,
):
    """(RAYS, 16), of which the first four columns are raw sigma, r, g and b of code (RAYS, IN).

    The first hidden layer is worked out a slice at a time, and each slice handed on to the second at once: whole weight
    matrices, twice over where float32 is split, would not fit into registers.
    """
    i, h, o = tl.arange(0, IN), tl.arange(0, H), tl.arange(0, 16)
    second = tl.zeros((code.shape[0], H), tl.float32)
    for start in range(0, H, SLICE):
        s = start + tl.arange(0, SLICE)
        first = tl.zeros((code.shape[0], SLICE), tl.float32)
        first = _product(code, _transposed(weight_1, i, s, N_IN, N_HIDDEN), first, HALF)
        first += tl.load(bias_1 + s, mask=s < N_HIDDEN, other=0.0)[None, :]
        second = _product(tl.maximum(first, 0.0), _transposed(weight_2, s, h, N_HIDDEN, N_HIDDEN), second, HALF)
    second += tl.load(bias_2 + h, mask=h < N_HIDDEN, other=0.0)[None, :]
    raw = tl.zeros((code.shape[0], 16), tl.float32)
    raw = _product(tl.maximum(second, 0.0), _transposed(weight_3, h, o, N_HIDDEN, 4), raw, HALF)
    return raw + tl.load(bias_3 + o, mask=o < 4, other=0.0)[None, :]


@triton.jit
def _column(tile, index: tl.constexpr, WIDTH: tl.constexpr):
    return tl.sum(tl.where(tl.arange(0, WIDTH)[None, :] == index, tile, 0.0), axis=1)


@triton.jit(do_not_specialize=["n_steps"])
def render_kernel(
    view,
    cells,
    table,
    scales,
    sizes,
    weight_1,
    bias_1,
    weight_2,
    bias_2,
    weight_3,
    bias_3,
    background,
    image,
    alpha,
    depth,
    queue,
    width,
    height,
    focal_px,
    cx,
    cy,
    near_m,
    step_m,
    n_steps,
    resolution,
    L: tl.constexpr,
    N_LEVELS: tl.constexpr,
    N_FEATURES: tl.constexpr,
    H: tl.constexpr,
    N_HIDDEN: tl.constexpr,
    HALF: tl.constexpr,
    SLICE: tl.constexpr,
    RAYS: tl.constexpr,
    AHEAD: tl.constexpr,
):
    """Writes image (height, width, 3), alpha and depth (height, width). Any grid; queue is one int32 zero.

    view: 28 floats: origin (3,) and slopes (3, 3) of the torso's frame, the same of the head's, origin and slope (3,)
    of the neck's plane; a slope's row is the axis of the direction.
    """
    n_places = (width + TILE - 1) // TILE * ((height + TILE - 1) // TILE) * TILE * TILE
    none = tl.zeros((RAYS,), tl.float32)
    ray = tl.full((RAYS,), NEVER, tl.int32)
    step = tl.zeros((RAYS,), tl.int32)
    light, red, green, blue, distance = none + 1.0, none, none, none, none
    in_flight = 0
    queued = 1
    while in_flight + queued > 0:
        if (queued > 0) & (in_flight <= RAYS - RAYS // REFILL_SHARE):
            idle = ray == NEVER
            first = tl.atomic_add(queue, RAYS - in_flight, sem="relaxed")
            place = first + tl.cumsum(idle.to(tl.int32), axis=0) - 1
            ray = tl.where(idle & (place < n_places), place, ray)
            step = tl.where(idle, 0, step)
            light = tl.where(idle, 1.0, light)
            red, green = tl.where(idle, 0.0, red), tl.where(idle, 0.0, green)
            blue, distance = tl.where(idle, 0.0, blue), tl.where(idle, 0.0, distance)
            queued = (first < n_places).to(tl.int32)
        busy = ray != NEVER
        column, row = _pixel_of(ray, width)
        seen = busy & (column < width) & (row < height)
        torso, head, neck = _rays_through(view, column, row, focal_px, cx, cy)
        step = _next_samples(
            view, cells, torso, head, neck, step, seen & (step < n_steps), near_m, step_m, n_steps, resolution, AHEAD
        )
        found = step != NEVER
        if tl.max(found.to(tl.int32)) > 0:
            t = near_m + (step.to(tl.float32) + 0.5) * step_m
            x, y, z = _positions(view, t, torso, head, neck)
            code = _encode(table, scales, sizes, x, y, z, found, L, N_LEVELS, N_FEATURES)
            raw = _network(
                code,
                weight_1,
                bias_1,
                weight_2,
                bias_2,
                weight_3,
                bias_3,
                L * N_FEATURES,
                N_LEVELS * N_FEATURES,
                H,
                N_HIDDEN,
                SLICE,
                HALF,
            )
            sigma = tl.exp(tl.minimum(_column(raw, 0, 16), MAX_RAW_SIGMA))
            passing = tl.where(found, tl.exp(-sigma * step_m), 1.0)
            weight = light * (1.0 - passing)
            red += weight * logistic(_column(raw, 1, 16))
            green += weight * logistic(_column(raw, 2, 16))
            blue += weight * logistic(_column(raw, 3, 16))
            distance += weight * tl.where(found, t, 0.0)
            light *= passing
        step = tl.where(found, step + 1, n_steps)
        ended = busy & ((light < STOP_TRANSMITTANCE) | (step >= n_steps))
        _write(background, image, alpha, depth, row * width + column, light, red, green, blue, distance, ended & seen)
        ray = tl.where(ended, NEVER, ray)
        in_flight = tl.sum((ray != NEVER).to(tl.int32))


@triton.jit
def _write(background, image, alpha, depth, pixel, light, red, green, blue, distance, mask):
    _write_channel(background, image, pixel * 3, light, red, mask)
    _write_channel(background, image, pixel * 3 + 1, light, green, mask)
    _write_channel(background, image, pixel * 3 + 2, light, blue, mask)
    tl.store(alpha + pixel, 1.0 - light, mask=mask)
    tl.store(depth + pixel, distance / tl.maximum(1.0 - light, 1e-6), mask=mask)


@triton.jit
def _write_channel(background, image, place, light, colour, mask):
    behind = tl.load(background + place, mask=mask, other=0).to(tl.float32)
    if background.dtype.element_ty == tl.uint8:
        behind /= 255.0
    value = tl.minimum(tl.maximum(colour + light * behind, 0.0), 1.0)
    if image.dtype.element_ty == tl.uint8:
        value = value * 255.0 + 8388608.0  # 2^23: adding it rounds to the nearest integer, the low bits are that
        value -= 8388608.0
    tl.store(image + place, value.to(image.dtype.element_ty), mask=mask)
