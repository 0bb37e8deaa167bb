"""The conditioned first layer in Triton: relu(features @ weight.T + rows[frame]), and what its gradient adds up to.

Products run on tensor cores, each float32 split into two tf32 (tf32x3): as accurate as float32, and many times faster.
Frames out of range are taken as the nearest row.
"""

from __future__ import annotations

import triton
import triton.language as tl

from dfanerf_rt.backends.triton.machine import FUSED

LAUNCH = {"BLOCK_N": 64, "BLOCK_H": 64, "BLOCK_D": 32, "num_warps": 4, **FUSED}
"""Samples, outputs and features of a tile."""
SUMS = {**LAUNCH, "BLOCK_N": 32, "num_stages": 2}
"""Of the weights' gradient, which keeps its sums in registers: more samples in flight would spill them."""


@triton.jit
def _load_tile(pointer, rows, columns, stride, n_rows, n_columns):
    """Rows and columns of a matrix, zero where it has none."""
    inside = (rows[:, None] < n_rows) & (columns[None, :] < n_columns)
    return tl.load(pointer + rows[:, None] * stride + columns[None, :], mask=inside, other=0.0)


@triton.jit
def _load_gradient(grad_out, out, rows, columns, n, H: tl.constexpr):
    """The output's gradient where the layer's ReLU let it through."""
    gradient = _load_tile(grad_out, rows, columns, H, n, H)
    return tl.where(_load_tile(out, rows, columns, H, n, H) <= 0.0, 0.0, gradient)


@triton.jit
def _load_frame(frame, rows, n, n_frames):
    return tl.minimum(tl.maximum(tl.load(frame + rows, mask=rows < n, other=0), 0), n_frames - 1)


@triton.jit(do_not_specialize=["n", "n_frames"])
def layer_kernel(
    features,
    rows_of_frames,
    frame,
    weight,
    out,
    n,
    n_frames,
    weight_stride,
    D: tl.constexpr,
    H: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_H: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """A tile of out (n, H). Grid: (cdiv(n, BLOCK_N), cdiv(H, BLOCK_H))."""
    rows = tl.program_id(0).to(tl.int64) * BLOCK_N + tl.arange(0, BLOCK_N)
    outputs = tl.program_id(1) * BLOCK_H + tl.arange(0, BLOCK_H)
    total = tl.zeros((BLOCK_N, BLOCK_H), tl.float32)
    for first in range(0, D, BLOCK_D):
        columns = first + tl.arange(0, BLOCK_D)
        x = _load_tile(features, rows, columns, D, n, D)
        w = _load_tile(weight, outputs, columns, weight_stride, H, D)
        total = tl.dot(x, tl.trans(w), total, input_precision="tf32x3")
    which = _load_frame(frame, rows, n, n_frames)
    inside = (rows[:, None] < n) & (outputs[None, :] < H)
    bias = tl.load(rows_of_frames + which[:, None] * H + outputs[None, :], mask=inside, other=0.0)
    activated = tl.maximum(total + bias, 0.0, propagate_nan=tl.PropagateNan.ALL)
    tl.store(out + rows[:, None] * H + outputs[None, :], activated, mask=inside)


@triton.jit(do_not_specialize=["n"])
def feature_gradient_kernel(
    grad_out,
    out,
    weight,
    grad_features,
    n,
    weight_stride,
    D: tl.constexpr,
    H: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_H: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """A tile of grad_features (n, D). Grid: (cdiv(n, BLOCK_N), cdiv(D, BLOCK_D))."""
    rows = tl.program_id(0).to(tl.int64) * BLOCK_N + tl.arange(0, BLOCK_N)
    columns = tl.program_id(1) * BLOCK_D + tl.arange(0, BLOCK_D)
    total = tl.zeros((BLOCK_N, BLOCK_D), tl.float32)
    for first in range(0, H, BLOCK_H):
        outputs = first + tl.arange(0, BLOCK_H)
        gradient = _load_gradient(grad_out, out, rows, outputs, n, H)
        w = _load_tile(weight, outputs, columns, weight_stride, H, D)
        total = tl.dot(gradient, w, total, input_precision="tf32x3")
    inside = (rows[:, None] < n) & (columns[None, :] < D)
    tl.store(grad_features + rows[:, None] * D + columns[None, :], total, mask=inside)


@triton.jit(do_not_specialize=["n", "n_frames"])
def weight_gradient_kernel(
    grad_out,
    out,
    features,
    frame,
    partial,
    n,
    n_frames,
    n_columns,
    D: tl.constexpr,
    H: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_H: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """One program's share of gradient.T @ [features, one column a frame]: partial (programs, H, n_columns).

    The columns of the features are filled up to a multiple of BLOCK_D; behind them, column b sums the gradients of
    frame b, which are those of rows_of_frames[b]. Grid: (programs, cdiv(H, BLOCK_H), n_columns / BLOCK_D).
    """
    outputs = tl.program_id(1) * BLOCK_H + tl.arange(0, BLOCK_H)
    columns = tl.program_id(2) * BLOCK_D + tl.arange(0, BLOCK_D)
    frames = columns - (D + BLOCK_D - 1) // BLOCK_D * BLOCK_D
    total = tl.zeros((BLOCK_H, BLOCK_D), tl.float32)
    for block in range(tl.program_id(0), tl.cdiv(n, BLOCK_N), tl.num_programs(0)):
        rows = (block * BLOCK_N + tl.arange(0, BLOCK_N)).to(tl.int64)
        gradient = _load_gradient(grad_out, out, rows, outputs, n, H)
        x = _load_tile(features, rows, columns, D, n, D)
        which = _load_frame(frame, rows, n, n_frames)
        right = x + (which[:, None] == frames[None, :]).to(tl.float32)
        total = tl.dot(tl.trans(gradient), right, total, input_precision="tf32x3")
    place = (tl.program_id(0) * H + outputs[:, None]).to(tl.int64) * n_columns + columns[None, :]
    tl.store(partial + place, total, mask=outputs[:, None] < H)
