"""Hash encoding by Triton against plain torch, and cases worked out by hand."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from dfanerf_rt.backends.triton.hash_encode import level_table
from dfanerf_rt.ops.hash_encode import HashGridConfig, hash_encode


def grid(n_features: int = 2) -> HashGridConfig:
    """Five levels, of which three are hashed."""
    return HashGridConfig(n_levels=5, n_features=n_features, log2_table_size=9, base_resolution=4, max_resolution=40)


def inputs(config: HashGridConfig, n: int, device: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Positions, one in four outside the box, and a table."""
    generator = torch.Generator().manual_seed(n)
    positions = torch.rand(n, 3, generator=generator) * 1.2 - 0.1
    table = torch.randn(config.n_entries, config.n_features, generator=generator)
    return positions.to(device), table.to(device)


def with_gradients(
    positions: torch.Tensor, table: torch.Tensor, config: HashGridConfig, grad_out: torch.Tensor, backend: str
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    leaves = positions.detach().requires_grad_(), table.detach().requires_grad_()
    out = hash_encode(*leaves, config, backend=backend)
    return out.detach(), *torch.autograd.grad(out, leaves, grad_out)


@pytest.mark.parametrize("n_features", [1, 2, 4, 8])
@pytest.mark.parametrize("n", [1, 129])
def test_values_and_gradients_agree_with_the_reference(n: int, n_features: int, device: str) -> None:
    config = grid(n_features)
    positions, table = inputs(config, n, device)
    grad_out = torch.randn(n, config.n_output, generator=torch.Generator().manual_seed(1)).to(device)
    found = with_gradients(positions, table, config, grad_out, "triton")
    expected = with_gradients(positions, table, config, grad_out, "reference")
    torch.testing.assert_close(found[0], expected[0], atol=2e-5, rtol=1e-5)
    torch.testing.assert_close(found[2], expected[2], atol=2e-5, rtol=1e-4)
    # The gradient in the position jumps at cell borders: count the positions that rounding puts across one.
    away = (found[1] - expected[1]).norm(dim=1) > 1e-4 * expected[1].norm(dim=1).clamp_min(1.0)
    assert float(away.float().mean()) < 0.01
    assert not found[1][(positions < 0.0) | (positions > 1.0)].any()


def test_the_usual_grid(device: str, some: Callable[[int, int], int]) -> None:
    config, n = HashGridConfig(), some(100_000, 40)
    positions, table = inputs(config, n, device)
    grad_out = torch.randn(n, config.n_output, generator=torch.Generator().manual_seed(1)).to(device)
    found = with_gradients(positions, table, config, grad_out, "triton")
    expected = with_gradients(positions, table, config, grad_out, "reference")
    torch.testing.assert_close(found[0], expected[0], atol=2e-5, rtol=1e-5)
    assert float((found[2] - expected[2]).norm() / expected[2].norm()) < 1e-5
    away = (found[1] - expected[1]).norm(dim=1) > 1e-3 * expected[1].norm(dim=1).clamp_min(1.0)
    assert float(away.float().mean()) < 2e-3


def test_a_dense_level_by_hand(device: str) -> None:
    # 4 grid points an axis, scale 3. (0.25, 0.5, 0.75) lies in cell (1, 2, 2) at (0.25, 0, 0.75): four corners,
    # entry x + 4 y + 16 z. (1, 1, 1) lies in cell 3, whose far corners run over the end: modulo 64, all weights 1/8.
    config = HashGridConfig(n_levels=1, n_features=1, base_resolution=4, max_resolution=4, log2_table_size=6)
    table = torch.arange(64.0, device=device).reshape(64, 1) ** 2
    found = hash_encode(torch.tensor([[0.25, 0.5, 0.75], [1.0, 1.0, 1.0]], device=device), table, config, "triton")
    inside = 0.1875 * 41**2 + 0.0625 * 42**2 + 0.5625 * 57**2 + 0.1875 * 58**2
    wrapped = sum(((x + 4 * y + 16 * z) % 64) ** 2 for x in (3, 4) for y in (3, 4) for z in (3, 4)) / 8
    assert found.flatten().tolist() == pytest.approx([inside, wrapped], rel=1e-6)


def test_a_hashed_level_by_hand(device: str) -> None:
    # 16 grid points an axis in 8 entries, scale 15: (0.1, 0.3, 0.5) * 15 + 0.5 = (2, 5, 8), where of
    # 2 ^ 5 * 2654435761 ^ 8 * 805459861 the low three bits are 2 ^ 5 ^ 0 = 7.
    config = HashGridConfig(n_levels=1, n_features=1, base_resolution=16, max_resolution=16, log2_table_size=3)
    table = torch.zeros(8, 1, device=device)
    table[7] = 1.0
    found = hash_encode(torch.tensor([[0.1, 0.3, 0.5]], device=device), table, config, "triton")
    assert found.item() == pytest.approx(1.0, abs=1e-5)


def test_positions_far_outside_and_nan_stay_inside_the_table(device: str) -> None:
    config = grid()
    _, table = inputs(config, 1, device)
    table.requires_grad_()
    wild = torch.tensor([[float("nan"), 0.5, 0.5], [1e30, -1e30, 0.5], [float("inf"), -float("inf"), 2.0]])
    tame = torch.tensor([[0.0, 0.5, 0.5], [1.0, 0.0, 0.5], [1.0, 0.0, 1.0]])
    found, expected = (hash_encode(p.to(device), table, config, "triton") for p in (wild, tame))
    assert torch.equal(found, expected)
    (gradient,) = torch.autograd.grad(found.sum(), table)
    for level in config.levels:  # weights sum to one in each level
        total = gradient[level.offset : level.offset + level.n_entries].sum(0)
        torch.testing.assert_close(total, torch.full_like(total, 3.0))


def test_no_positions(device: str) -> None:
    config = grid()
    positions, table = inputs(config, 0, device)
    found = with_gradients(positions, table, config, torch.zeros(0, config.n_output, device=device), "triton")
    assert found[0].shape == (0, 10) and found[1].shape == (0, 3) and not found[2].any()


def test_inputs_that_are_not_contiguous(device: str) -> None:
    config = grid()
    positions, table = inputs(config, 37, device)
    expected = hash_encode(positions, table, config, "reference")
    strided = positions.repeat(1, 2)[:, :3].t().contiguous().t(), table.t().contiguous().t()
    assert not strided[0].is_contiguous() and not strided[1].is_contiguous()
    torch.testing.assert_close(hash_encode(*strided, config, "triton"), expected, atol=2e-5, rtol=1e-5)
    table.requires_grad_()
    (gradient,) = torch.autograd.grad(hash_encode(positions, table, config, "triton").sum(), table)  # expanded ones
    assert float(gradient.sum()) == pytest.approx(37 * 10, rel=1e-5)


def test_only_wanted_gradients_are_made(device: str) -> None:
    config = grid()
    positions, table = inputs(config, 5, device)
    for leaf, other in ((positions, table), (table, positions)):
        leaf.requires_grad_()
        hash_encode(positions, table, config, "triton").sum().backward()
        assert leaf.grad is not None and other.grad is None
        leaf.requires_grad_(False).grad = None


def test_levels_as_the_kernels_read_them(device: str) -> None:
    scales, sizes = level_table(HashGridConfig(), torch.device(device))
    assert float(scales[0]) == 15.0 and sizes[0].tolist() == [16, 4096, 0, 0]
    assert sizes[4].tolist() == [34, 32768, 4096 + 8000 + 13824 + 21952, 1]
