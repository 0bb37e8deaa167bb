"""What a file of benchmark results holds, and the machine that made it.

    .venv/bin/python benchmarks/result_schema.py FILE...        checks files; names the first fault

A document is ``{"kind": KIND, "machine": {...}, "results": [row, ...]}`` with a KIND of "render", "ops", "sync",
"lips", "motion", "field", "live", "train", "presenter" or "track"; more keys may stand beside them.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

REPOSITORY = Path(__file__).resolve().parent.parent
Types = tuple[type, ...]
NONE = type(None)

MACHINE: dict[str, Types] = {
    "cpu": (str,),
    "cores": (int,),
    "gpu": (str, NONE),
    "driver": (str, NONE),
    "system": (str,),
    "python": (str, NONE),
    "torch": (str,),
    "triton": (str, NONE),
    "nvcc": (str, NONE),
    "commit": (str, NONE),
    "load_1min": (float,),
}
RENDER_ROW: dict[str, Types] = {
    "backend": (str,),
    "device": (str,),
    "width": (int,),
    "height": (int,),
    "threads": (int, NONE),
    "fps": (float,),
    "frame_ms_p50": (float,),
    "frame_ms_p95": (float,),
    "samples_per_frame": (int, NONE),
    "ratio_to_reference": (float, NONE),
    "psnr_to_reference_db": (float, NONE),
}
"""Keys of a row of ``bench_render.py --json``. Where a comparison is null, ``null_because`` says why."""
QUALITY_ROW: dict[str, Types] = {
    "backend": (str,),
    "device": (str,),
    "width": (int,),
    "height": (int,),
    "frames": (int,),
    "psnr_to_reference_db": (float,),
    "mean_error_255": (float,),
    "truth_psnr_db": (float, NONE),
    "reference_truth_psnr_db": (float, NONE),
}
OPS_ROW: dict[str, Types] = {
    "operator": (str,),
    "direction": (str,),
    "backend": (str,),
    "device": (str,),
    "threads": (int, NONE),
    "samples": (int,),
    "ms_p50": (float,),
    "ms_p95": (float,),
    "spread_ms": (float,),
    "samples_per_s": (float,),
    "mismatch": (float,),
    "ratio_to_reference": (float,),
}
"""Keys of a row of ``bench_ops.py --json``."""
SYNC_ROW: dict[str, Types] = {
    "part": (str,),
    "rate_hz": (int,),
    "channels": (int,),
    "sound_ms": (int,),
    "threads": (int,),
    "ms_p50": (float,),
    "ms_p95": (float,),
    "spread_ms": (float,),
    "difference": (float, NONE),
}
"""Keys of a row of ``bench_sync.py --json``."""
LIPS_ROW: dict[str, Types] = {
    "part": (str,),
    "model": (str,),
    "subject": (str,),
    "lookahead_ms": (float,),
    "measure": (str,),
    "value": (float,),
    "count": (int,),
}
"""Keys of a row of ``bench_lips.py --json`` and ``ablate_sync.py --json``: ``value`` is what ``measure`` (docs/lips.md)
says of ``count`` frames, events or windows of ``subject``, a voice, a clip, or "all"."""
MOTION_ROW: dict[str, Types] = {
    "part": (str,),
    "model": (str,),
    "subject": (str,),
    "seed": (int, NONE),
    "measure": (str,),
    "value": (float,),
    "spread": (float, NONE),
    "count": (int,),
}
"""Keys of a row of ``bench_motion.py --json``: ``value`` is what ``measure`` (docs/motion.md) says of ``count`` frames
of ``subject``. Where ``seed`` is null it is the mean over seeds, ``spread`` their standard deviation, null of one."""
FIELD_ROW: dict[str, Types] = {
    "variant": (str,),
    "seed": (int,),
    "row": (str,),
    "measure": (str,),
    "value": (float,),
}
"""Keys of a row of ``ablate_field.py --json``: ``measure`` of a row of ``dfanerf evaluate``, or of "field"."""
LIVE_ROW: dict[str, Types] = {
    "part": (str,),
    "subject": (str,),
    "measure": (str,),
    "value": (float,),
    "limit": (float, NONE),
}
"""Keys of a row of ``soak_live.py --json``; ``limit`` is the most that ``value`` may be."""
TRAIN_ROW: dict[str, Types] = {
    "preset": (str,),
    "device": (str,),
    "precision": (str,),
    "width": (int,),
    "frames": (int,),
    "steps": (int,),
    "seconds": (float,),
    "steps_per_s": (float,),
    "samples_per_s": (float,),
    "held_out_psnr_db": (float,),
    "mean_frame_psnr_db": (float,),
    "peak_rss_mb": (float,),
    "peak_gpu_mb": (float, NONE),
}
"""Keys of a row of ``bench_train.py --json``: the field alone, whole held-out frames, the mouth by tracked codes."""
PRESENTER_ROW: dict[str, Types] = {
    "person": (str,),
    "row": (str,),
    "measure": (str,),
    "value": (float,),
}
"""Keys of a row of ``tools/build_presenter.py --json``: ``measure`` of a row of ``dfanerf evaluate``, of "file", or of
"build", minutes."""
TRACK_ROW: dict[str, Types] = {
    "clip": (str,),
    "stage": (str,),
    "frames": (int,),
    "measure": (str,),
    "value": (float,),
}
"""Keys of a row of ``bench_track.py --json``; pixels are those of a picture 512 wide."""
ROWS = {
    "render": RENDER_ROW,
    "ops": OPS_ROW,
    "sync": SYNC_ROW,
    "lips": LIPS_ROW,
    "motion": MOTION_ROW,
    "field": FIELD_ROW,
    "live": LIVE_ROW,
    "train": TRAIN_ROW,
    "presenter": PRESENTER_ROW,
    "track": TRACK_ROW,
}


def machine() -> dict[str, Any]:
    """This machine, what runs on it, and the load that others put on it: a figure from a busy machine says little."""
    cpu_info = Path("/proc/cpuinfo")
    lines = cpu_info.read_text(encoding="utf-8").splitlines() if cpu_info.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    on_gpu = torch.cuda.is_available()
    return {
        "cpu": names[0] if names else platform.processor() or platform.machine(),
        "cores": os.cpu_count() or 1,
        "gpu": torch.cuda.get_device_name() if on_gpu else None,
        "driver": _output("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader") if on_gpu else None,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "triton": _version("triton"),
        "nvcc": _nvcc_version(),
        "commit": _commit(),
        "load_1min": round(os.getloadavg()[0], 2),
    }


def check_results(document: Any) -> None:
    """Raise :class:`ValueError` naming the first key that is missing or of another type."""
    if not isinstance(document, dict) or document.get("kind") not in ROWS:
        *others, last = map(repr, ROWS)
        raise ValueError(f"expected an object whose 'kind' is {', '.join(others)} or {last}")
    _check_keys("machine", document.get("machine"), MACHINE)
    for name, schema in (
        ("results", ROWS[document["kind"]]),
        ("quality", QUALITY_ROW),
    ):
        rows = document.get(name, [] if name == "quality" else None)
        if not isinstance(rows, list):
            raise ValueError(f"{name} is {rows!r}, expected a list of rows")
        for number, row in enumerate(rows):
            _check_keys(f"{name}[{number}]", row, schema)
    if document["kind"] == "render":
        for number, row in enumerate(document["results"]):
            compared = row["ratio_to_reference"] is not None and row["psnr_to_reference_db"] is not None
            if not compared and not isinstance(row.get("null_because"), str):
                raise ValueError(f"results[{number}].null_because is missing, though a comparison is null")


def read_results(path: Path) -> dict[str, Any]:
    """A checked document; :class:`ValueError` names the file and its first fault."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        check_results(document)
    except (OSError, ValueError) as fault:
        raise ValueError(f"{path}: {fault}") from fault
    return document


def write_results(path: Path, document: dict[str, Any]) -> None:
    """Check the document, and write it."""
    check_results(document)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def _check_keys(where: str, row: Any, schema: dict[str, Types]) -> None:
    if not isinstance(row, dict):
        raise ValueError(f"{where} is {row!r}, expected an object")
    for key, types in schema.items():
        value = row.get(key)
        accepted = (*types, int) if float in types else types
        if key not in row or not isinstance(value, accepted) or isinstance(value, bool):
            wanted = " or ".join("null" if t is NONE else t.__name__ for t in types)
            raise ValueError(f"{where}.{key} is {value!r}, expected {wanted}")


def _commit() -> str | None:
    """The commit of the tree; DFANERF_COMMIT where it was copied without its history."""
    if os.environ.get("DFANERF_COMMIT"):
        return os.environ["DFANERF_COMMIT"]
    commit = _output("git", "-C", str(REPOSITORY), "rev-parse", "HEAD")
    changed = _output("git", "-C", str(REPOSITORY), "status", "--porcelain", "--untracked-files=no")
    return f"{commit}-dirty" if commit and changed else commit


def _nvcc_version() -> str | None:
    nvcc = shutil.which("nvcc") or shutil.which("/usr/local/cuda/bin/nvcc")
    found = re.search(r"release (\S+),", _output(nvcc, "--version") or "") if nvcc else None
    return found.group(1) if found else None


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _output(*command: str) -> str | None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None


if __name__ == "__main__":
    try:
        for name in sys.argv[1:]:
            read_results(Path(name))
    except ValueError as fault:
        sys.exit(str(fault))
