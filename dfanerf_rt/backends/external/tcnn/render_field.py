"""The renderer in nerfacc and tiny-cuda-nn (backend "tcnn"): the usual fast stack, encoding and network fused."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import torch

from dfanerf_rt.backends.external.nerfacc import library as nerfacc_library
from dfanerf_rt.backends.external.nerfacc.render_field import Values, render_with
from dfanerf_rt.backends.external.tcnn import library
from dfanerf_rt.backends.external.tcnn.layout import N_OUTPUT, encoding_config, network_config, to_tcnn
from dfanerf_rt.backends.reference.render_field import MAX_RAW_SIGMA
from dfanerf_rt.errors import BackendUnavailable

if TYPE_CHECKING:
    from dfanerf_rt.ops.camera import Camera
    from dfanerf_rt.ops.hash_encode import HashGridConfig
    from dfanerf_rt.ops.render_field import FoldedField


def unavailable_reason(backend: str) -> str | None:
    """Why this stack cannot render here, or None if it can."""
    return library.missing_reason() or nerfacc_library.cuda_missing_reason()


def render_field(
    folded: FoldedField, camera: Camera, background: torch.Tensor, out: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """See :func:`dfanerf_rt.ops.render_field.render_field`; inputs checked by the caller, on a CUDA GPU."""
    with torch.no_grad():
        return render_with(tcnn_values(folded), folded, camera, background, out)


def tcnn_values(folded: FoldedField) -> Values:
    """The field by ``tinycudann.NetworkWithInputEncoding``, in half precision.

    Raises:
        BackendUnavailable: this tiny-cuda-nn lays its parameters out in another way.
    """
    network = _network(folded.grid, int(folded.weights[0].shape[0]))
    params = to_tcnn(folded.table, folded.weights, folded.biases)
    if network.params.numel() != params.numel():
        raise BackendUnavailable(
            f"this tiny-cuda-nn keeps {network.params.numel()} parameters for {folded.grid}, expected {params.numel()}"
        )
    parameters = {"params": params.half()}

    def values(positions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        inputs = torch.cat([positions.clamp(0.0, 1.0), torch.ones_like(positions[:, :1])], dim=1)
        raw = torch.func.functional_call(network, parameters, (inputs,)).float()
        return torch.exp(raw[:, 0].clamp(max=MAX_RAW_SIGMA)), torch.sigmoid(raw[:, 1:])

    return values


@functools.lru_cache(maxsize=4)
def _network(grid: HashGridConfig, hidden: int) -> Any:
    import tinycudann

    return tinycudann.NetworkWithInputEncoding(3 + 1, N_OUTPUT, encoding_config(grid), network_config(hidden))
