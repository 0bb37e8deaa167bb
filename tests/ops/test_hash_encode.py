"""hash_encode: a case worked out by hand, and every backend against plain torch."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

from dfanerf_rt import native
from dfanerf_rt.errors import BackendUnavailable, ShapeError
from dfanerf_rt.ops.dispatch import reasons
from dfanerf_rt.ops.hash_encode import HashGridConfig, hash_encode

DEFAULT = HashGridConfig()
SMALL = HashGridConfig(n_levels=5, n_features=2, log2_table_size=9, base_resolution=4, max_resolution=40)

CPU_BACKENDS = [
    "reference",
    pytest.param("cpu", marks=pytest.mark.skipif(bool(native.unavailable_reason()), reason="no native module")),
]


def inputs(config: HashGridConfig, n: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    table = torch.randn(config.n_entries, config.n_features, generator=generator)
    return torch.rand(n, 3, generator=generator), table


def relative(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found.double() - expected.double()).norm() / expected.double().norm().clamp_min(1e-12))


def test_levels_of_the_default_grid() -> None:
    # base 16 to 256 in 16 levels: b = 16^(1/15); scale_l = 16 b^l - 1; the first is 15 and the last 255 less rounding.
    levels = DEFAULT.levels
    assert levels[0] == (15.0, 16, 4096, 0, False)
    assert levels[1].resolution == 20 and levels[1].n_entries == 8000 and levels[1].offset == 4096  # ceil(18.25) + 1
    assert levels[3].n_entries == 28**3 and not levels[3].hashed
    assert levels[4].n_entries == 2**15 and levels[4].hashed  # 34^3 = 39304 grid points do not fit
    assert levels[15].scale == pytest.approx(255.0, abs=1e-3)
    assert DEFAULT.n_entries == 4096 + 8000 + 13824 + 21952 + 12 * 32768


def test_entries_of_a_dense_level_are_a_multiple_of_eight() -> None:
    config = HashGridConfig(n_levels=1, base_resolution=5, max_resolution=5, log2_table_size=10)
    assert config.levels[0] == (4.0, 5, 128, 0, False)  # 5^3 = 125, next multiple of 8


@pytest.mark.parametrize("backend", CPU_BACKENDS)
def test_dense_level_by_hand(backend: str) -> None:
    # One level, 4 grid points an axis, scale 3. x = (0.25, 0.5, 0.75): pos = (1.25, 2.0, 2.75), cell (1, 2, 2),
    # fraction (0.25, 0, 0.75). y has no fraction, so four corners remain, entry = x + 4 y + 16 z:
    #   (1,2,2) = 41 weight 0.75 * 0.25    (2,2,2) = 42 weight 0.25 * 0.25
    #   (1,2,3) = 57 weight 0.75 * 0.75    (2,2,3) = 58 weight 0.25 * 0.75
    config = HashGridConfig(n_levels=1, n_features=1, base_resolution=4, max_resolution=4, log2_table_size=6)
    assert config.levels[0] == (3.0, 4, 64, 0, False)
    table = torch.arange(64.0).reshape(64, 1) ** 2
    found = hash_encode(torch.tensor([[0.25, 0.5, 0.75]]), table, config, backend=backend)
    by_hand = 0.1875 * 41**2 + 0.0625 * 42**2 + 0.5625 * 57**2 + 0.1875 * 58**2
    assert found.item() == pytest.approx(by_hand, rel=1e-6)


@pytest.mark.parametrize("backend", CPU_BACKENDS)
def test_dense_level_wraps_at_its_far_corner(backend: str) -> None:
    # x = (1, 1, 1): pos = 3.5 on each axis, cell 3, the far corners have index 4 of 4 grid points and run on:
    # entry = x + 4 y + 16 z modulo 64, all weights 1/8.
    config = HashGridConfig(n_levels=1, n_features=1, base_resolution=4, max_resolution=4, log2_table_size=6)
    table = torch.arange(64.0).reshape(64, 1)
    entries = [(x + 4 * y + 16 * z) % 64 for x in (3, 4) for y in (3, 4) for z in (3, 4)]
    found = hash_encode(torch.ones(1, 3), table, config, backend=backend)
    assert found.item() == pytest.approx(sum(entries) / 8, rel=1e-6)


@pytest.mark.parametrize("backend", CPU_BACKENDS)
def test_hashed_level_by_hand(backend: str) -> None:
    # 16 grid points an axis in a table of 8: hashed, scale 15. x = (0.1, 0.3, 0.5) * 15 + 0.5 = (2, 5, 8), no fraction:
    # one corner, 2 ^ 5 * 2654435761 ^ 8 * 805459861. Only the low three bits count: 5 * 1 = 5, 8 * 5 = 0 mod 8,
    # 2 ^ 5 ^ 0 = 7. Rounding of 0.1 and 0.3 leaves a trace of the neighbours.
    config = HashGridConfig(n_levels=1, n_features=1, base_resolution=16, max_resolution=16, log2_table_size=3)
    assert config.levels[0] == (15.0, 16, 8, 0, True)
    table = torch.zeros(8, 1)
    table[7] = 1.0
    position = torch.tensor([[0.1, 0.3, 0.5]])
    assert hash_encode(position, table, config, backend=backend).item() == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("backend", CPU_BACKENDS)
def test_a_constant_table_gives_the_constant(backend: str) -> None:
    positions, _ = inputs(DEFAULT, 257)
    table = torch.full((DEFAULT.n_entries, 2), 0.5)
    found = hash_encode(positions, table, DEFAULT, backend=backend)
    torch.testing.assert_close(found, torch.full((257, 32), 0.5))


@pytest.mark.parametrize("n_features", [1, 2, 4, 8])
@pytest.mark.parametrize("n", [0, 1, 15, 16, 17, 700])
def test_cpu_agrees_with_the_reference(n: int, n_features: int) -> None:
    require_cpu_backend()
    config = HashGridConfig(n_levels=5, n_features=n_features, log2_table_size=9, base_resolution=4, max_resolution=40)
    positions, table = inputs(config, n)
    expected = hash_encode(positions, table, config, backend="reference")
    found = hash_encode(positions, table, config, backend="cpu")
    assert found.shape == (n, 5 * n_features)
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("config", [DEFAULT, SMALL, HashGridConfig(n_levels=3, n_features=4, log2_table_size=6)])
def test_gradients_agree_with_the_reference(config: HashGridConfig) -> None:
    require_cpu_backend()
    positions, table = inputs(config, 5_000)
    positions[0] = torch.tensor([-0.5, 0.5, 2.0])  # outside: pulled to the border, where its gradient ends
    grad_out = torch.randn(5_000, config.n_output, generator=torch.Generator().manual_seed(1))
    gradients = {}
    for backend in ("reference", "cpu"):
        leaves = positions.clone().requires_grad_(), table.clone().requires_grad_()
        gradients[backend] = torch.autograd.grad(hash_encode(*leaves, config, backend=backend), leaves, grad_out)
    assert relative(gradients["cpu"][1], gradients["reference"][1]) < 1e-5
    # The gradient in the position jumps at cell borders: count the samples that rounding puts across one.
    difference = (gradients["cpu"][0] - gradients["reference"][0]).norm(dim=1)
    far = difference > 1e-3 * gradients["reference"][0].norm(dim=1).clamp_min(1.0)
    assert far.float().mean() < 2e-3
    assert gradients["cpu"][0][0, 0] == 0.0 and gradients["cpu"][0][0, 2] == 0.0


@pytest.mark.parametrize("backend", CPU_BACKENDS)
def test_gradient_in_the_position_is_the_slope(backend: str) -> None:
    positions, table = inputs(SMALL, 64)
    positions = positions * 0.8 + 0.1
    step = 1e-4
    leaf = positions.clone().requires_grad_()
    (slope,) = torch.autograd.grad(hash_encode(leaf, table, SMALL, backend=backend).sum(), leaf)
    moved = torch.eye(3)[0] * step
    ahead = hash_encode(positions + moved, table, SMALL, backend=backend).double().sum(1)
    behind = hash_encode(positions - moved, table, SMALL, backend=backend).double().sum(1)
    measured = (ahead - behind) / (2 * step)
    agrees = (measured - slope[:, 0]).abs() < 0.02 * slope[:, 0].abs() + 0.3
    assert agrees.float().mean() > 0.9  # the others lie within a step of a cell's border


@pytest.mark.parametrize("backend", CPU_BACKENDS)
def test_gradient_of_the_table_sums_the_weights(backend: str) -> None:
    # Weights of a sample sum to one in each level, so a gradient of ones spreads N into every level and feature.
    positions, table = inputs(SMALL, 1_000)
    leaf = table.requires_grad_()
    (gradient,) = torch.autograd.grad(hash_encode(positions, leaf, SMALL, backend=backend).sum(), leaf)
    for level in SMALL.levels:
        part = gradient[level.offset : level.offset + level.n_entries].sum(0)
        torch.testing.assert_close(part, torch.full((2,), 1_000.0), rtol=1e-4, atol=0.0)


def test_non_contiguous_inputs_and_one_thread() -> None:
    require_cpu_backend()
    positions, table = inputs(SMALL, 100)
    expected = hash_encode(positions, table, SMALL, backend="reference")
    strided = torch.stack([positions, positions], dim=2)[:, :, 0]
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        found = hash_encode(strided, table.t().contiguous().t(), SMALL, backend="cpu")
    finally:
        torch.set_num_threads(threads)
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=1e-5)


def test_positions_that_are_not_numbers_stay_in_the_table() -> None:
    require_cpu_backend()
    _, table = inputs(SMALL, 1)
    odd = torch.tensor([[float("nan"), float("inf"), -float("inf")], [1e30, -1e30, 0.5]])
    assert hash_encode(odd, table, SMALL, backend="cpu").isfinite().all()


def test_every_simd_variant_agrees() -> None:
    require_cpu_backend()
    reached = ["portable", "avx2", "avx512"]
    reached = reached[: reached.index(native.load().simd_level()) + 1]
    script = (
        "import torch; from dfanerf_rt.ops.hash_encode import *; from dfanerf_rt import native;"
        "c = HashGridConfig(); g = torch.Generator().manual_seed(0); x = torch.rand(999, 3, generator=g);"
        "t = torch.randn(c.n_entries, 2, generator=g, requires_grad=True); o = hash_encode(x, t, c, backend='cpu');"
        "o.square().sum().backward();"
        "e = hash_encode(x, t, c, backend='reference'); (h,) = torch.autograd.grad(e.square().sum(), t);"
        "print(native.load().simd_level(), float((o - e).abs().max()), float((t.grad - h).norm() / h.norm()))"
    )
    for variant in reached:
        environment = {**os.environ, "DFANERF_SIMD": variant}
        done = subprocess.run(
            [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
        )
        name, error, gradient_error = done.stdout.split()
        assert name == variant
        assert float(error) < 2e-4  # without a fused multiply-add, positions in cells are rounded once more
        assert float(gradient_error) < 1e-4


def along_rays(n: int) -> torch.Tensor:
    """Positions in runs of 40 a few thousandths apart, as training packs them: neighbours share cells."""
    generator = torch.Generator().manual_seed(7)
    start, slope = torch.rand(n, 3, generator=generator), torch.randn(n, 3, generator=generator)
    ray, place = torch.arange(n) // 40, torch.arange(n) % 40
    return start[ray] + 0.003 * place[:, None] * slope[ray]


@pytest.mark.gpu
@pytest.mark.parametrize("kind", ["scattered", "along rays"])
@pytest.mark.parametrize("n", [1, 31, 33, 10_001])
@pytest.mark.parametrize("n_features", [1, 2, 4, 8])
def test_cuda_agrees_with_the_reference(n_features: int, n: int, kind: str) -> None:
    config = HashGridConfig(n_levels=11, n_features=n_features)
    positions, table = inputs(config, n)
    if kind == "along rays":
        positions = along_rays(n)
    grad_out = torch.randn(n, config.n_output, generator=torch.Generator().manual_seed(1))
    results = {}
    for backend, device in (("reference", "cpu"), ("cuda", "cuda")):
        leaves = positions.to(device).requires_grad_(), table.to(device).requires_grad_()
        out = hash_encode(*leaves, config, backend=backend)
        results[backend] = [out.cpu()] + [g.cpu() for g in torch.autograd.grad(out, leaves, grad_out.to(device))]
    torch.testing.assert_close(results["cuda"][0], results["reference"][0], atol=2e-5, rtol=1e-5)
    assert relative(results["cuda"][2], results["reference"][2]) < 1e-4
    # The gradient in the position jumps at cell borders: count the samples that rounding puts across one.
    expected = results["reference"][1]
    far = (results["cuda"][1] - expected).norm(dim=1) > 1e-2 * expected.norm(dim=1) + 1e-2
    assert far.float().mean() < 2e-3 + 1.0 / n


@pytest.mark.gpu
def test_cuda_takes_nothing_and_strided_and_gives_only_what_is_asked_for() -> None:
    positions, table = (tensor.cuda() for tensor in inputs(SMALL, 100))
    assert hash_encode(positions[:0], table, SMALL, backend="cuda").shape == (0, 10)
    leaf = table.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(hash_encode(positions[:0], leaf, SMALL, backend="cuda").sum(), leaf)
    assert not gradient.any()
    expected = hash_encode(positions, table, SMALL, backend="reference")
    strided = torch.stack([positions, positions], dim=2)[:, :, 0]
    found = hash_encode(strided, table.t().contiguous().t(), SMALL, backend="cuda")
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=1e-5)
    point = positions.clone().requires_grad_()
    (slope,) = torch.autograd.grad(hash_encode(point, table, SMALL, backend="cuda").sum(), point)
    assert slope.isfinite().all() and slope.any()
    with pytest.raises(RuntimeError, match="clone"):  # entries of 8 bytes that begin at 4
        unaligned = torch.zeros(table.numel() + 1, device="cuda")[1:].view_as(table)
        hash_encode(positions, unaligned, SMALL, backend="cuda")


@pytest.mark.parametrize(
    ("positions", "table", "message"),
    [
        (torch.zeros(4, 2), torch.zeros(SMALL.n_entries, 2), "positions has shape (4, 2), expected (N, 3)"),
        (torch.zeros(4, 3), torch.zeros(7, 2), "table has shape (7, 2), expected"),
        (torch.zeros(4, 3).double(), torch.zeros(SMALL.n_entries, 2), "positions is torch.float64"),
    ],
)
def test_wrong_tensors_are_named(positions: torch.Tensor, table: torch.Tensor, message: str) -> None:
    with pytest.raises(ShapeError) as caught:
        hash_encode(positions, table, SMALL)
    assert message in str(caught.value)


def test_the_native_module_checks_for_itself() -> None:
    require_cpu_backend()
    module = native.load()
    grid = module.HashGrid([tuple(level) for level in SMALL.levels], SMALL.n_features)
    positions, table = inputs(SMALL, 4)
    with pytest.raises(ShapeError, match="out: shape \\(4, 3\\), expected \\(4, 10\\)"):
        module.hash_encode_forward(grid, positions, table, torch.empty(4, 3), 1)
    with pytest.raises(ShapeError, match="positions: dtype float64"):
        module.hash_encode_forward(grid, positions.double(), table, torch.empty(4, 10), 1)
    with pytest.raises(ShapeError, match="not contiguous"):
        module.hash_encode_forward(grid, positions, table, torch.empty(10, 4).t(), 1)
    with pytest.raises(ShapeError, match="inconsistent"):
        module.HashGrid([(3.0, 4, 8, 0, False)], 2)


def test_a_bad_configuration_is_named() -> None:
    with pytest.raises(ShapeError, match="n_features is 3"):
        HashGridConfig(n_features=3)


def test_dispatch_lists_every_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    positions, table = inputs(SMALL, 4)
    with pytest.raises(BackendUnavailable) as caught:
        hash_encode(positions, table, SMALL, backend="cuda")
    for name in ("cuda", "triton", "cpu", "reference"):
        assert f"{name}: " in str(caught.value)
    with pytest.raises(BackendUnavailable, match="'tpu' is not known"):
        hash_encode(positions, table, SMALL, backend="tpu")
    monkeypatch.setenv("DFANERF_BACKEND", "triton")
    with pytest.raises(BackendUnavailable, match="'triton' cannot run hash_encode"):
        hash_encode(positions, table, SMALL)
    hash_encode(positions, table, SMALL, backend="reference")  # the argument goes before the environment


def require_cpu_backend() -> None:
    reason = reasons("hash_encode")["cpu"]
    if reason is not None:
        pytest.skip(reason)
