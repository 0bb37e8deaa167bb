"""The script that builds the bundled motion models: the same settings give the same file."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from dfanerf_rt.audio.voices import available_voices
from dfanerf_rt.motion.models import MotionModels

SCRIPT = Path(__file__).resolve().parents[2] / "tools" / "build_motion.py"


@pytest.mark.slow
def test_the_script_is_deterministic(tmp_path: Path) -> None:
    if "espeak:en" not in available_voices():
        pytest.skip("espeak-ng is not installed")
    command = [sys.executable, str(SCRIPT), "--work", str(tmp_path), "--hours", "0.05", "--people", "2"]
    for name in ("one", "two"):
        options = ["--effort", "0.001", "--out", str(tmp_path / name)]
        done = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert "MB" in done.stdout.splitlines()[-1] and " s  corpus: " in done.stdout
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    models = MotionModels.load(tmp_path / "one")
    assert models.head_encoder.config.guidance == 6.0 and models.head.config.beta == 0.01
    done = subprocess.run([*command[:-1], "3"], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "other settings" in done.stderr
