"""The tiny-cuda-nn adapter: its layout against a model of tiny-cuda-nn written apart in numpy; the rest needs it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dfanerf_rt.backends.external.tcnn import library
from dfanerf_rt.backends.external.tcnn.layout import (
    encoding_config,
    from_tcnn,
    network_config,
    padded_hidden,
    to_tcnn,
)
from dfanerf_rt.errors import ShapeError
from dfanerf_rt.ops.dispatch import reasons
from dfanerf_rt.ops.hash_encode import HashGridConfig, hash_encode
from dfanerf_rt.ops.mlp import mlp
from dfanerf_rt.ops.render_field import render_field
from dfanerf_rt.render.synthetic import head_camera, head_field

GRID = HashGridConfig(n_levels=5, n_features=2, log2_table_size=10, base_resolution=4, max_resolution=64)


def random_field(hidden: int, seed: int = 0) -> tuple[torch.Tensor, tuple, tuple]:
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator) * 0.5

    weights = normal(hidden, GRID.n_output), normal(hidden, hidden), normal(4, hidden)
    return normal(GRID.n_entries, GRID.n_features), weights, (normal(hidden), normal(hidden), normal(4))


def numpy_tcnn(params: np.ndarray, n_neurons: int, n_outputs: int, encoded: np.ndarray) -> np.ndarray:
    """What tiny-cuda-nn does with two hidden layers: pad with ones, multiply row-major matrices, rectify, cut off."""
    n_rows, n_encoded = encoded.shape
    n_inputs = -(-n_encoded // 16) * 16
    state = np.concatenate([encoded, np.ones((n_rows, n_inputs - n_encoded))], axis=1)
    start = 0
    for layer, rows in enumerate((n_neurons, n_neurons, -(-n_outputs // 16) * 16)):
        matrix = params[start : start + rows * state.shape[1]].reshape(rows, state.shape[1])
        start += matrix.size
        state = state @ matrix.T
        if layer < 2:
            state = np.maximum(state, 0.0)
    return state[:, :n_outputs]


@pytest.mark.parametrize("hidden", [8, 15, 16, 63, 64, 128])
def test_the_network_computes_the_same_function(hidden: int) -> None:
    """Biases of all three layers included; the Identity part of the encoding hands on the 1 that carries them."""
    table, weights, biases = random_field(hidden)
    params = to_tcnn(table, weights, biases).double().numpy()
    features = torch.randn(37, GRID.n_output, generator=torch.Generator().manual_seed(1))
    encoded = np.concatenate([features.double().numpy(), np.ones((37, 1))], axis=1)
    found = numpy_tcnn(params, network_config(hidden)["n_neurons"], 4, encoded)
    np.testing.assert_allclose(found, mlp(features, weights, biases).numpy(), rtol=2e-4, atol=2e-4)


def test_the_table_lies_behind_the_network_as_it_is() -> None:
    table, weights, biases = random_field(8)
    params = to_tcnn(table, weights, biases)
    assert len(params) == 16 * 16 + 16 * 16 + 16 * 16 + GRID.n_entries * 2
    assert torch.equal(params[768:].view(-1, 2), table)


@pytest.mark.parametrize("hidden", [8, 64])
def test_there_and_back_is_exact(hidden: int) -> None:
    table, weights, biases = random_field(hidden)
    back = from_tcnn(to_tcnn(table, weights, biases), GRID, hidden)
    assert torch.equal(back.table, table)
    for ours, theirs in zip((*back.weights, *back.biases), (*weights, *biases), strict=True):
        assert torch.equal(ours, theirs)


def test_parameters_that_tiny_cuda_nn_trained_become_a_wider_network_of_ours() -> None:
    hidden = 8
    width = padded_hidden(hidden)
    n_network = width * 16 + width * width + 16 * width
    params = torch.randn(n_network + GRID.n_entries * 2, generator=torch.Generator().manual_seed(3)) * 0.5
    field = from_tcnn(params, GRID, hidden, exact=False)
    assert field.weights[0].shape == (width, GRID.n_output) and field.biases[0].shape == (width,)
    features = torch.randn(21, GRID.n_output, generator=torch.Generator().manual_seed(4))
    encoded = np.concatenate([features.double().numpy(), np.ones((21, 1))], axis=1)
    expected = numpy_tcnn(params.double().numpy(), width, 4, encoded)
    np.testing.assert_allclose(mlp(features, field.weights, field.biases).numpy(), expected, rtol=2e-4, atol=2e-4)
    with pytest.raises(ShapeError, match="exact=False"):
        from_tcnn(params, GRID, hidden)


def test_gradients_pass_through() -> None:
    table, weights, biases = random_field(8)
    leaves = [tensor.clone().requires_grad_() for tensor in (table, *weights, *biases)]
    to_tcnn(leaves[0], tuple(leaves[1:4]), tuple(leaves[4:])).sum().backward()
    assert all(torch.equal(leaf.grad, torch.ones_like(leaf)) for leaf in leaves)


def test_the_wrong_number_of_parameters_is_named() -> None:
    with pytest.raises(ShapeError, match=r"expected \(\d+,\): a network of 128 units"):
        from_tcnn(torch.zeros(7), GRID, 64)


def test_settings() -> None:
    assert [padded_hidden(n) for n in (15, 16, 64, 127, 128)] == [16, 32, 128, 128, 144]
    assert network_config(64)["otype"] == "FullyFusedMLP" and network_config(128)["otype"] == "CutlassMLP"
    nested = encoding_config(GRID)["nested"]
    assert [part["n_dims_to_encode"] for part in nested] == [3, 1]
    assert nested[0]["per_level_scale"] == pytest.approx(2.0)


def test_absence_has_a_reason() -> None:
    if library.missing_reason() is None:
        pytest.skip("tiny-cuda-nn is here")
    for operator in ("hash_encode", "render_field"):
        assert reasons(operator)["tcnn"] == library.missing_reason()
    assert "its source" in str(library.missing_reason()) or "GPU" in str(library.missing_reason())


@pytest.fixture
def tcnn() -> None:
    reason = library.missing_reason()
    if reason is not None:
        pytest.skip(reason)


@pytest.mark.gpu
@pytest.mark.usefixtures("tcnn")
@pytest.mark.parametrize("grid", [GRID, HashGridConfig()])
def test_the_encoding_agrees_with_the_reference(grid: HashGridConfig) -> None:
    generator = torch.Generator().manual_seed(0)
    table = torch.randn(grid.n_entries, grid.n_features, generator=generator).cuda()
    positions = (torch.rand(3001, 3, generator=generator) * 0.98 + 0.01).cuda()
    found = []
    for backend in ("tcnn", "reference"):
        leaf = table.clone().requires_grad_()
        out = hash_encode(positions, leaf, grid, backend)
        out.square().sum().backward()
        found.append((out.detach(), leaf.grad))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=1e-3)
    assert hash_encode(positions[:0], table, grid, "tcnn").shape == (0, grid.n_output)


@pytest.mark.gpu
@pytest.mark.usefixtures("tcnn")
def test_the_stack_draws_the_reference_picture() -> None:
    reason = reasons("render_field", "cuda")["tcnn"]
    if reason is not None:
        pytest.skip(reason)
    from tests.backends.test_nerfacc import on_gpu

    field, camera = on_gpu(head_field(3)), head_camera(48)
    background = torch.rand(48, 48, 3, generator=torch.Generator().manual_seed(0)).cuda()
    ours, theirs = (render_field(field, camera, background, backend=b) for b in ("tcnn", "reference"))
    assert float((ours.image - theirs.image).abs().mean()) < 1.0 / 255.0
