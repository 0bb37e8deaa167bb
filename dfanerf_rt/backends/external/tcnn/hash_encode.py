"""Hash encoding by tiny-cuda-nn, on a GPU (backend "tcnn"); our table is its parameters as they are."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import torch

from dfanerf_rt.backends.external.tcnn import library
from dfanerf_rt.backends.external.tcnn.layout import grid_config
from dfanerf_rt.errors import BackendUnavailable

if TYPE_CHECKING:
    from dfanerf_rt.ops.hash_encode import HashGridConfig


def unavailable_reason(backend: str) -> str | None:
    """Why tiny-cuda-nn cannot encode here, or None if it can."""
    return library.missing_reason()


def hash_encode(positions: torch.Tensor, table: torch.Tensor, config: HashGridConfig) -> torch.Tensor:
    """See :func:`dfanerf_rt.ops.hash_encode.hash_encode`; in float32, differentiable in both tensors.

    Raises:
        BackendUnavailable: this tiny-cuda-nn lays its table out in another way.
    """
    if positions.shape[0] == 0:
        return positions.sum() + table.sum() * 0.0 + table.new_zeros(0, config.n_output)
    parameters = {"params": table.flatten()}
    encoded: torch.Tensor = torch.func.functional_call(_encoding(config), parameters, (positions.clamp(0.0, 1.0),))
    return encoded


@functools.lru_cache(maxsize=8)
def _encoding(config: HashGridConfig) -> Any:
    import tinycudann

    encoding = tinycudann.Encoding(3, grid_config(config), dtype=torch.float32)
    expected = config.n_entries * config.n_features
    if encoding.params.numel() != expected:
        raise BackendUnavailable(
            f"this tiny-cuda-nn keeps {encoding.params.numel()} parameters for {config}, expected {expected}"
        )
    return encoding
