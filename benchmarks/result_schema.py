"""What a file of benchmark results holds, and the machine that made it."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

import torch

RENDER_ROW: dict[str, tuple[type, ...]] = {
    "backend": (str,),
    "device": (str,),
    "width": (int,),
    "height": (int,),
    "fps": (float,),
    "frame_ms_p50": (float,),
    "frame_ms_p95": (float,),
    "samples_per_frame": (int, type(None)),
    "ratio_to_reference": (float,),
    "psnr_to_reference_db": (float,),
}
"""Keys of a row of ``bench_render.py --json``; more may stand beside them."""


def machine() -> dict[str, Any]:
    """Name and size of this machine, and the load that others put on it: a figure from a busy machine says little."""
    cpu_info = Path("/proc/cpuinfo")
    lines = cpu_info.read_text(encoding="utf-8").splitlines() if cpu_info.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return {
        "cpu": names[0] if names else platform.processor(),
        "cores": os.cpu_count(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "system": platform.platform(),
        "torch": torch.__version__,
        "load_1min": round(os.getloadavg()[0], 2),
    }


def check_render_results(document: dict[str, Any]) -> None:
    """Raise :class:`ValueError` naming the first key that is missing or of another type."""
    if not isinstance(document.get("machine"), dict) or not isinstance(document.get("results"), list):
        raise ValueError("expected an object with 'machine' and 'results'")
    for number, row in enumerate(document["results"]):
        for key, types in RENDER_ROW.items():
            if key not in row or not isinstance(row[key], types):
                raise ValueError(
                    f"results[{number}].{key} is {row.get(key)!r}, expected {' or '.join(t.__name__ for t in types)}"
                )
