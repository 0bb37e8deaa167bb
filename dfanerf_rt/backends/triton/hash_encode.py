"""Hash encoding by Triton kernels: forward, and backward to the table and to the positions."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import torch

from dfanerf_rt.backends.triton.machine import DEVICES, unavailable_reason

if TYPE_CHECKING:
    from dfanerf_rt.ops.hash_encode import HashGridConfig

__all__ = ["DEVICES", "hash_encode", "level_table", "unavailable_reason"]


def hash_encode(positions: torch.Tensor, table: torch.Tensor, config: HashGridConfig) -> torch.Tensor:
    """See :func:`dfanerf_rt.ops.hash_encode.hash_encode`; inputs checked by the caller."""
    result: torch.Tensor = _HashEncode.apply(positions, table, config)
    return result


@functools.lru_cache(maxsize=64)
def level_table(
    config: HashGridConfig, device: torch.device, n_rows: int | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Scales (L,) float32, and resolution, entries, first entry and whether hashed (L, 4) int64 of a grid's levels.

    With ``n_rows`` there are that many rows; those behind the last level are zero.
    """
    scales = torch.zeros(n_rows or config.n_levels)
    sizes = torch.zeros(len(scales), 4, dtype=torch.int64)
    for row, level in enumerate(config.levels):
        scales[row] = level.scale
        sizes[row] = torch.tensor((level.resolution, level.n_entries, level.offset, int(level.hashed)))
    return scales.to(device), sizes.to(device)


class _HashEncode(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, positions: torch.Tensor, table: torch.Tensor, config: HashGridConfig) -> torch.Tensor:
        from dfanerf_rt.backends.triton.kernels import hash_encode as kernels

        positions, table = positions.detach().contiguous(), table.detach().contiguous()
        ctx.save_for_backward(positions, table)
        ctx.config = config
        n = len(positions)
        out = positions.new_empty(n, config.n_output)
        if n:
            grid = (-(-n // kernels.LAUNCH["BLOCK"]) * config.n_levels,)
            levels = level_table(config, table.device)
            with torch.cuda.device_of(table):
                kernels.encode_kernel[grid](positions, table, *levels, out, n, **_sizes(config, kernels))
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_out: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor | None, None]:
        from dfanerf_rt.backends.triton.kernels import hash_encode as kernels

        positions, table = ctx.saved_tensors
        config, n = ctx.config, len(positions)
        grad_out = grad_out.contiguous()
        levels, sizes = level_table(config, table.device), _sizes(config, kernels)
        blocks = -(-n // kernels.LAUNCH["BLOCK"])
        grad_positions = torch.empty_like(positions) if ctx.needs_input_grad[0] else None
        grad_table = torch.zeros_like(table) if ctx.needs_input_grad[1] else None
        with torch.cuda.device_of(table):
            if n and grad_table is not None:
                grid = (blocks * config.n_levels,)
                kernels.table_gradient_kernel[grid](positions, grad_out, *levels, grad_table, n, **sizes)
            if n and grad_positions is not None:
                grid = (blocks,)
                kernels.position_gradient_kernel[grid](positions, table, grad_out, *levels, grad_positions, n, **sizes)
        return grad_positions, grad_table, None


def _sizes(config: HashGridConfig, kernels: Any) -> dict[str, Any]:
    return {"N_LEVELS": config.n_levels, "N_FEATURES": config.n_features, **kernels.LAUNCH}
