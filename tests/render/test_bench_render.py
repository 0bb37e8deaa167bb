"""The benchmark runs, and its results hold what their readers expect."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))
from result_schema import check_render_results  # noqa: E402


def test_benchmark_writes_valid_results(tmp_path: Path) -> None:
    target = tmp_path / "results.json"
    script = str(BENCHMARKS / "bench_render.py")
    subprocess.run([sys.executable, script, "--sizes", "8", "--frames", "2", "--json", str(target)], check=True)
    document = json.loads(target.read_text(encoding="utf-8"))
    check_render_results(document)
    assert {row["backend"] for row in document["results"]} >= {"reference"}
    assert all(row["width"] == 8 and row["psnr_to_reference_db"] >= 40.0 for row in document["results"])


def test_a_missing_key_is_named() -> None:
    with pytest.raises(ValueError, match=r"results\[0\]\.backend"):
        check_render_results({"machine": {}, "results": [{}]})
