"""The tests of tests/backends/triton, run in Triton's interpreter on the CPU, at tiny sizes.

Triton reads TRITON_INTERPRET when it is imported, and this process must stay able to compile: they run in another.
"""

from __future__ import annotations

import ast
import importlib.util
import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parent / "triton"
TESTS = sorted(
    f"{path.stem}::{node.name}"
    for path in FOLDER.glob("test_*.py")
    for node in ast.parse(path.read_text()).body
    if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
)


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """What went wrong, by test function; nothing where all its cases passed."""
    if importlib.util.find_spec("triton") is None:
        pytest.skip("triton is not installed")
    report = tmp_path_factory.mktemp("interpreter") / "report.xml"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}", str(FOLDER)]
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert report.exists(), done.stdout + done.stderr
    found: dict[str, list[str]] = {}
    for case in ElementTree.parse(report).iter("testcase"):
        name = f"{case.get('classname', '').rsplit('.', 1)[-1]}::{case.get('name', '').split('[')[0]}"
        wrong = found.setdefault(name, [])
        wrong += [
            f"{case.get('name')}: {kind.tag}\n{kind.text}"
            for kind in case
            if kind.tag in ("failure", "error", "skipped")
        ]
    return found


@pytest.mark.parametrize("name", TESTS)
def test_interpreted(name: str, outcomes: dict[str, list[str]]) -> None:
    assert name in outcomes, f"{name} was not run"
    assert not outcomes[name], "\n".join(outcomes[name])
