"""Our table and network in tiny-cuda-nn's layout, and back.

tiny-cuda-nn keeps all parameters of a ``NetworkWithInputEncoding`` in one flat vector: the network's matrices from
first to last, row by row (a row an output), then the hash table, level by level. What differs from ours:

- Inputs and outputs of the network are padded to multiples of 16. Padded outputs are computed and cut off.
- Its layers have no biases. Here the network therefore gets one more input that is always 1 (:func:`encoding_config`
  asks for it), whose column is the first bias. One more hidden unit hands that 1 on, and its columns are the other
  biases: exact, but a unit wider, and the fused network comes in widths 16, 32, 64 and 128 alone. Our 64 hidden units
  become 128, 24,576 multiply-adds a sample in place of 6,400. The table needs no change at all.
- It computes with parameters rounded to half precision; the vector itself is float32.

Source: tiny-cuda-nn's documentation and sources (network_with_input_encoding.h, fully_fused_mlp.cu, identity.h).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from dfanerf_rt.errors import ShapeError

if TYPE_CHECKING:
    from dfanerf_rt.ops.hash_encode import HashGridConfig

ALIGNMENT = 16
FUSED_WIDTHS = (16, 32, 64, 128)
N_OUTPUT = 4

Layers = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


class TcnnField(NamedTuple):
    """What :func:`from_tcnn` reads."""

    table: torch.Tensor
    """(n_entries, F)."""
    weights: Layers
    """(H, L*F), (H, H), (4, H)."""
    biases: Layers
    """(H,), (H,), (4,)."""


def grid_config(grid: HashGridConfig) -> dict[str, Any]:
    """tiny-cuda-nn's settings of the hash grid."""
    return {
        "otype": "HashGrid",
        "n_levels": grid.n_levels,
        "n_features_per_level": grid.n_features,
        "log2_hashmap_size": grid.log2_table_size,
        "base_resolution": grid.base_resolution,
        "per_level_scale": grid.per_level_scale,
        "interpolation": "Linear",
    }


def encoding_config(grid: HashGridConfig) -> dict[str, Any]:
    """Settings of the encoding of four inputs: a position, and the 1 that stands for the biases."""
    return {
        "otype": "Composite",
        "nested": [{"n_dims_to_encode": 3, **grid_config(grid)}, {"n_dims_to_encode": 1, "otype": "Identity"}],
    }


def network_config(hidden: int) -> dict[str, Any]:
    """Settings of a network that holds ours of ``hidden`` units a layer, biases folded in."""
    width = padded_hidden(hidden)
    return {
        "otype": "FullyFusedMLP" if width in FUSED_WIDTHS else "CutlassMLP",
        "activation": "ReLU",
        "output_activation": "None",
        "n_neurons": width,
        "n_hidden_layers": 2,
    }


def padded_hidden(hidden: int) -> int:
    """Units a layer of the network that holds ours: one more for the biases, rounded up to what there is."""
    return next((width for width in FUSED_WIDTHS if width > hidden), _padded(hidden + 1))


def to_tcnn(table: torch.Tensor, weights: Layers, biases: Layers) -> torch.Tensor:
    """Our field as tiny-cuda-nn's parameters, for :func:`encoding_config` and :func:`network_config`.

    Args:
        table: (n_entries, F).
        weights: (H, D), (H, H), (4, H).
        biases: (H,), (H,), (4,).

    Returns:
        (P,) of the table's dtype; differentiable.
    """
    hidden, n_features = weights[0].shape
    width = padded_hidden(hidden)
    shapes = ((width, _padded(n_features + 1)), (width, width), (_padded(N_OUTPUT), width))
    matrices = []
    for number, (shape, weight, bias) in enumerate(zip(shapes, weights, biases, strict=True)):
        matrix = table.new_zeros(shape)
        rows, columns = weight.shape
        matrix[:rows, :columns] = weight
        matrix[:rows, columns] = bias
        if number < 2:
            matrix[hidden, columns] = 1.0
        matrices.append(matrix.flatten())
    return torch.cat([*matrices, table.flatten()])


def from_tcnn(params: torch.Tensor, grid: HashGridConfig, hidden: int, *, exact: bool = True) -> TcnnField:
    """Our field from tiny-cuda-nn's parameters; the other way round from :func:`to_tcnn`.

    Args:
        params: (P,) of a network with the settings of :func:`encoding_config` and :func:`network_config`.
        grid: sizes of the hash grid.
        hidden: units a layer of ours.
        exact: take back what :func:`to_tcnn` wrote, and refuse anything else. False reads any parameters, such as
            those that tiny-cuda-nn has trained on: the result computes the same function with as many hidden units
            as its network has, and biases in the first layer alone.

    Raises:
        ShapeError: the number of parameters is another one, or ``exact`` and the unit that carries the biases is gone.
    """
    width, n_input = padded_hidden(hidden), _padded(grid.n_output + 1)
    shapes = ((width, n_input), (width, width), (_padded(N_OUTPUT), width))
    sizes = [rows * columns for rows, columns in shapes] + [grid.n_entries * grid.n_features]
    if tuple(params.shape) != (sum(sizes),):
        raise ShapeError(
            f"params has shape {tuple(params.shape)}, expected ({sum(sizes)},): a network of {width} units a layer "
            f"({sum(sizes[:3])}) and a table of {grid.n_entries} entries ({sizes[3]})"
        )
    *flat, rest = params.split(sizes)
    first, second, last = (matrix.view(shape) for matrix, shape in zip(flat, shapes, strict=True))
    table = rest.view(grid.n_entries, grid.n_features)
    if not exact:
        # Inputs behind the encoding, padding included, are all 1.
        zeros = params.new_zeros(width), params.new_zeros(N_OUTPUT)
        weights = first[:, : grid.n_output], second, last[:N_OUTPUT]
        return TcnnField(table, weights, (first[:, grid.n_output :].sum(1), *zeros))
    weights = first[:hidden, : grid.n_output], second[:hidden, :hidden], last[:N_OUTPUT, :hidden]
    biases = first[:hidden, grid.n_output], second[:hidden, hidden], last[:N_OUTPUT, hidden]
    if not torch.equal(to_tcnn(table, weights, biases), params):
        raise ShapeError(
            f"params are not those of a field of {hidden} hidden units with biases folded in; "
            "read them with exact=False"
        )
    return TcnnField(table, weights, biases)


def _padded(count: int) -> int:
    return (count + ALIGNMENT - 1) // ALIGNMENT * ALIGNMENT
