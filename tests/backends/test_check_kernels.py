"""What tools/check_kernels.py reads from ptxas, and what it computes from that."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "tools" / "check_kernels.py"
PTXAS = """ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function '_ZN13render_kernelINS0_7NetworkILi2ELi64EEEEEvNS0_9RenderJobE' for 'sm_90'
ptxas info    : Function properties for _ZN13render_kernelINS0_7NetworkILi2ELi64EEEEEvNS0_9RenderJobE
    8 bytes stack frame, 12 bytes spill stores, 16 bytes spill loads
ptxas info    : Used 122 registers, used 1 barriers
ptxas info    : Compiling entry function '_ZN4cuda10mix_kernelENS0_6MixJobE' for 'sm_90'
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 34 registers, used 0 barriers
"""


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("check_kernels", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["check_kernels"] = module
    spec.loader.exec_module(module)
    return module


def test_reads_the_renderer_and_nothing_else(script: ModuleType) -> None:
    (kernel,) = script.parse(PTXAS, 90)
    assert (kernel.inputs, kernel.hidden, kernel.registers) == (32, 64, 122)
    assert (kernel.spilled_bytes, kernel.stack_bytes, kernel.bad) == (28, 8, True)
    with pytest.raises(ValueError, match="no render_kernel"):
        script.parse(PTXAS.split("Compiling entry")[0], 90)


def test_occupancy_by_hand(script: ModuleType) -> None:
    # 122 registers go as 128: 65536 / (128 * 256) = 2 blocks of 8 warps. With 80 it would be 3.
    # Shared memory: 144 + 528 + 4 * (4 * (2 + 4) * 128 + 4 * 64) + 8 * 32 * 64 bytes.
    assert script.Kernel(90, 32, 64, 122, 0, 0).warps == 16
    assert script.Kernel(90, 32, 64, 80, 0, 0).warps == 24
    assert script.Kernel(90, 32, 64, 80, 0, 0).shared_bytes == 30368
    assert script.Kernel(86, 64, 64, 80, 0, 0).warps == 8  # 100 KiB hold one block of 50 KiB and what it reserves
    assert script.Kernel(75, 64, 128, 200, 0, 0).warps == 0


def test_without_nvcc_it_says_so_and_passes(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(script, "find_nvcc", lambda: None)
    assert script.main([]) == 0
    assert "NOT CHECKED" in capsys.readouterr().out
