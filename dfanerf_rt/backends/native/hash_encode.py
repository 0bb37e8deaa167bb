"""Hash encoding by the native module: SIMD on the CPU (backend "cpu"), CUDA kernels on a GPU (backend "cuda")."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import torch

from dfanerf_rt import native
from dfanerf_rt.backends.native.streams import missing_reason, stream_of

if TYPE_CHECKING:
    from dfanerf_rt.ops.hash_encode import HashGridConfig


def unavailable_reason(backend: str) -> str | None:
    """Why the native module cannot encode on ``backend`` ("cpu" or "cuda"), or None if it can."""
    return missing_reason("hash_encode_forward", backend)


def hash_encode(positions: torch.Tensor, table: torch.Tensor, config: HashGridConfig) -> torch.Tensor:
    """See :func:`dfanerf_rt.ops.hash_encode.hash_encode`; inputs checked by the caller, on the CPU or a CUDA GPU."""
    result: torch.Tensor = _HashEncode.apply(positions, table, config)
    return result


@functools.lru_cache(maxsize=64)
def _grid(config: HashGridConfig) -> Any:
    return native.load().HashGrid([tuple(level) for level in config.levels], config.n_features)


class _HashEncode(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, positions: torch.Tensor, table: torch.Tensor, config: HashGridConfig) -> torch.Tensor:
        positions, table = positions.detach().contiguous(), table.detach().contiguous()
        ctx.save_for_backward(positions, table)
        ctx.config = config
        out = torch.empty(positions.shape[0], config.n_output, device=table.device)
        with stream_of(table.device) as stream:
            native.load().hash_encode_forward(_grid(config), positions, table, out, torch.get_num_threads(), stream)
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_out: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor | None, None]:
        positions, table = ctx.saved_tensors
        grad_positions = torch.empty_like(positions) if ctx.needs_input_grad[0] else None
        grad_table = torch.empty_like(table) if ctx.needs_input_grad[1] else None
        grad_out, threads = grad_out.contiguous(), torch.get_num_threads()
        with stream_of(table.device) as stream:
            native.load().hash_encode_backward(
                _grid(ctx.config), positions, table, grad_out, grad_table, grad_positions, threads, stream
            )
        return grad_positions, grad_table, None
