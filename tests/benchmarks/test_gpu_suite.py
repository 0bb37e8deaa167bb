"""The suite for a GPU machine: its steps on the CPU, and what it runs needs nothing that a bare machine lacks."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from result_schema import read_results

from dfanerf_rt.ops.dispatch import reasons
from tests.benchmarks.conftest import BENCHMARKS

REPOSITORY = BENCHMARKS.parent
SUITE = BENCHMARKS / "gpu_suite.sh"
ABSENT = (
    "av",
    "librosa",
    "soundfile",
    "soxr",
    "mediapipe",
    "nerfacc",
    "tyro",
    "numba",
    "pyaudio",
    "matplotlib",
    "aiortc",
)
"""What a bare GPU machine lacks."""


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    merged = {**os.environ, "PYTHON": sys.executable, **environment}
    return subprocess.run([str(SUITE), *arguments], env=merged, capture_output=True, text=True, check=False)


def test_dry_run_names_every_step() -> None:
    done = run("--dry-run")
    assert done.returncode == 0, done.stderr
    for part in (
        "build_ext --inplace",
        "-m gpu --require-gpu",
        "bench_ops.py --device cuda",
        "bench_render.py --device",
        "bench_train.py --device cuda --preset full",
    ):
        assert part in done.stdout
    assert run("--fast").returncode == 2


@pytest.mark.slow
@pytest.mark.skipif(
    reasons("render_field", "cpu")["cpu"] is not None, reason=str(reasons("render_field", "cpu")["cpu"])
)
def test_all_steps_on_the_cpu(tmp_path: Path) -> None:
    done = run(DFANERF_GPU_SUITE_CPU="1", OUT=str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "FAILED" not in done.stdout and done.stdout.count("\nok     ") == 6
    assert {read_results(path)["kind"] for path in tmp_path.glob("*.json")} == {"ops", "render", "train"}


def test_a_failing_step_does_not_stop_the_others(tmp_path: Path) -> None:
    """An interpreter that always fails stands for every fault there is."""
    done = run(DFANERF_GPU_SUITE_CPU="1", OUT=str(tmp_path), PYTHON=str(shutil.which("false")))
    assert done.returncode == 1
    assert done.stdout.count("FAILED") == 6
    late = run(DFANERF_GPU_SUITE_CPU="1", OUT=str(tmp_path), PYTHON=str(shutil.which("true")), BUDGET_S="0")
    assert late.returncode == 1 and "no time left of 0 s" in late.stdout


def test_the_chosen_tests_load_on_a_bare_machine(tmp_path: Path) -> None:
    rooms = re.search(r"^rooms=\((.*)\)$", SUITE.read_text(encoding="utf-8"), re.MULTILINE)
    assert rooms is not None
    (tmp_path / "bare_machine.py").write_text(
        "import sys\n"
        "class Absent:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.split('.')[0] in {ABSENT!r}: raise ModuleNotFoundError(name + ' is absent', name=name)\n"
        "sys.meta_path.insert(0, Absent())\n",
        encoding="utf-8",
    )
    options = ["-p", "bare_machine", "-p", "no:timeout", "-q", "--collect-only", "-m", "gpu"]
    merged = {**os.environ, "PYTHONPATH": f"{tmp_path}:{REPOSITORY}"}
    command = [sys.executable, "-m", "pytest", *options, *rooms.group(1).split()]
    done = subprocess.run(command, cwd=REPOSITORY, env=merged, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    collected = {line.split("::")[0] for line in done.stdout.splitlines() if "::" in line}
    marked = {
        str(path.relative_to(REPOSITORY))
        for path in (REPOSITORY / "tests").rglob("test_*.py")
        if "pytest.mark.gpu" in path.read_text(encoding="utf-8") and path != Path(__file__)
    }
    assert marked <= collected, "GPU tests outside the rooms that gpu_suite.sh runs"


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
def test_shellcheck_has_nothing_to_say() -> None:
    done = subprocess.run(["shellcheck", str(SUITE)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
