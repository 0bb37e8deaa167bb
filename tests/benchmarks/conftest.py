"""The benchmarks are scripts that import each other from their own folder; the tests do so too."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))


@pytest.fixture(autouse=True)
def threads_as_before() -> Iterator[None]:
    """Benchmarks set torch's number of threads."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


MACHINE: dict[str, Any] = {
    "cpu": "a processor",
    "cores": 2,
    "gpu": None,
    "driver": None,
    "system": "Linux",
    "python": "3.11.7",
    "torch": "2.13.0",
    "triton": None,
    "nvcc": None,
    "commit": "0123456789abcdef",
    "load_1min": 0.1,
}


def render_row(width: int, ms: float, **changes: Any) -> dict[str, Any]:
    """A row of the backend "cpu" with a spread of a tenth."""
    row = {
        "backend": "cpu",
        "device": "cpu",
        "width": width,
        "height": width,
        "threads": 2,
        "fps": 1e3 / ms,
        "frame_ms_p50": ms,
        "frame_ms_p95": 1.1 * ms,
        "samples_per_frame": 5 * width * width,
        "ratio_to_reference": 100.0,
        "psnr_to_reference_db": 60.0,
        "null_because": None,
    }
    return {**row, **changes}


def render_document(*rows: dict[str, Any], **machine: Any) -> dict[str, Any]:
    """Render results of these rows."""
    return {"kind": "render", "machine": {**MACHINE, **machine}, "avatar": "synthetic head", "results": list(rows)}
