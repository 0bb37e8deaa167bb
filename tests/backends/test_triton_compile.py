"""Every Triton kernel becomes machine code for three generations of GPUs, without spills, with no GPU at hand."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
TOOL = REPOSITORY / "tools" / "compile_triton.py"
ARCHITECTURES = (80, 90, 120)


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What the tool found; in a process of its own, as Triton keeps what it read from the environment."""
    if importlib.util.find_spec("triton") is None:
        pytest.skip("triton is not installed")
    folder = tmp_path_factory.mktemp("compiled")
    environment = {**os.environ, "TRITON_CACHE_DIR": str(folder / "cache"), "PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, str(TOOL), "--json", str(folder / "report.json")]
    command += ["--arch", *map(str, ARCHITECTURES)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (folder / "report.json").exists(), done.stdout + done.stderr
    print(done.stdout)
    found: list[dict[str, Any]] = json.loads((folder / "report.json").read_text())
    return found


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_every_kernel_compiles_without_spills_and_uses_the_tensor_cores(
    arch: int, compiled: list[dict[str, Any]]
) -> None:
    kernels = [result for result in compiled if result["arch"] == arch]
    assert len(kernels) * len(ARCHITECTURES) == len(compiled) > 0
    for result in kernels:
        assert result["cubin_bytes"] > 1000 and 16 <= result["registers"] <= 255, result
    assert {result["name"]: result["fault"] for result in kernels if result["fault"]} == {}


def test_every_kernel_of_the_package_is_compiled(compiled: list[dict[str, Any]]) -> None:
    folder = REPOSITORY / "dfanerf_rt" / "backends" / "triton" / "kernels"
    text = "".join(path.read_text() for path in folder.glob("*.py"))
    written = {line.split("(")[0].removeprefix("def ") for line in text.splitlines() if line.startswith("def ")}
    kernels = {name for name in written if name.endswith("_kernel")}
    assert kernels == {result["name"].split("[")[0] for result in compiled}
