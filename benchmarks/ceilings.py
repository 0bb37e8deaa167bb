"""The physical limits that a frame is compared with, measured on this machine.

    .venv/bin/python benchmarks/ceilings.py [--device cpu] [--threads 1 2]

Two of them: multiply-adds a second of the network's arithmetic, and 4-byte words gathered a second. On the CPU both
are loops of a small C++ file compiled here and now (ceilings.cpp): dependent multiply-adds in registers, float32 and,
where the processor has them, bfloat16 dot products; gathers at random places of a table that lies in the first-level
cache, and of one as large as the hash table. On a GPU it is torch's half-precision matrix product and a Triton kernel
that gathers. A renderer has to do both for each sample, so the shares of the two add up to at most 1 where nothing
overlaps, and each is at most 1 where everything does.
"""

from __future__ import annotations

import argparse
import ctypes
import functools
import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import torch
from timing import p50, time_calls

from dfanerf_rt.field.config import FieldConfig

SECONDS = 0.2
L1_LOG2_WORDS = 12
"""16 KB."""
TABLE_LOG2_WORDS = 19
"""2 MB, the power of two above 441 thousand entries of two bfloat16 features."""
MATRIX = 8192


def work_per_sample(config: FieldConfig) -> tuple[int, int]:
    """Multiply-adds and gathered words of one sample: 6,400 and 128 by the usual sizes.

    A word is an entry of two features in half precision; wider entries are more words.
    """
    hidden, width = config.hidden, config.grid.n_output
    words = config.grid.n_levels * 8 * max(1, config.grid.n_features // 2)
    return width * hidden + hidden * hidden + 4 * hidden, words


def measure(device: str, n_threads: int | None, seconds: float = SECONDS) -> dict[str, Any]:
    """The ceilings of a device.

    Returns:
        ``device``, ``threads``; ``multiply_adds_per_s`` and ``gathers_per_s``, the highest measured, or None;
        ``details``, every figure; ``how``, what was measured, or why nothing was.
    """
    found = _measure_gpu(seconds) if torch.device(device).type == "cuda" else _measure_cpu(n_threads or 1, seconds)
    return {"device": device, "threads": n_threads, **found}


def _measure_cpu(n_threads: int, seconds: float) -> dict[str, Any]:
    library = _compiled()
    if isinstance(library, str):
        return {"multiply_adds_per_s": None, "gathers_per_s": None, "details": {}, "how": library}
    single = library.ceiling_float32(n_threads, seconds)
    half = library.ceiling_bfloat16(n_threads, seconds)
    near = library.ceiling_gather(n_threads, seconds, L1_LOG2_WORDS)
    table = library.ceiling_gather(n_threads, seconds, TABLE_LOG2_WORDS)
    return {
        "multiply_adds_per_s": max(single, half),
        "gathers_per_s": max(near, table),
        "details": {
            "float32_multiply_adds_per_s": single,
            "bfloat16_multiply_adds_per_s": half or None,
            "gathers_per_s_16kb_table": near,
            "gathers_per_s_2mb_table": table,
        },
        "how": "loops of ceilings.cpp: multiply-adds in registers (the faster of float32 and bfloat16), "
        "random gathers of 4-byte words (the faster of a 16 KB and a 2 MB table)",
    }


@functools.cache
def _compiled() -> Any:
    """The library of ceilings.cpp for this processor, or why there is none."""
    compiler = os.environ.get("CXX") or shutil.which("c++") or shutil.which("g++")
    if compiler is None:
        return "no C++ compiler was found (CXX, c++, g++), so the ceilings were not measured"
    source = Path(__file__).with_name("ceilings.cpp")
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / f"ceilings_{hashlib.sha256(source.read_bytes()).hexdigest()[:8]}.so"
        command = [compiler, "-std=c++17", "-O3", "-march=native", "-shared", "-fPIC", "-pthread", str(source)]
        done = subprocess.run([*command, "-o", str(target)], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            return f"ceilings.cpp does not compile here: {' '.join(done.stderr.split())[:200]}"
        library = ctypes.CDLL(str(target))
    for function in (library.ceiling_float32, library.ceiling_bfloat16, library.ceiling_gather):
        function.restype = ctypes.c_double
        function.argtypes = [ctypes.c_int, ctypes.c_double]
    library.ceiling_gather.argtypes.append(ctypes.c_int)
    return library


def _measure_gpu(seconds: float) -> dict[str, Any]:
    left, right = (torch.randn(MATRIX, MATRIX, device="cuda", dtype=torch.float16) for _ in range(2))
    out = torch.empty_like(left)
    product_ms = p50(time_calls(lambda: torch.mm(left, right, out=out), "cuda", 50, seconds))
    gathers = _gpu_gathers(seconds)
    note = "" if gathers is not None else "; Triton cannot be imported, so gathers were not measured"
    rate = MATRIX**3 / (product_ms * 1e-3)
    return {
        "multiply_adds_per_s": rate,
        "gathers_per_s": gathers,
        "details": {"float16_multiply_adds_per_s": rate, "gathers_per_s_2mb_table": gathers},
        "how": f"torch's half-precision product of {MATRIX}x{MATRIX} matrices; a Triton kernel that gathers 4-byte "
        f"words at random places of a 2 MB table{note}",
    }


def _gpu_gathers(seconds: float) -> float | None:
    try:
        from gather_kernel import GATHERS_A_LANE, gather
    except ImportError:
        return None
    table = torch.ones(1 << TABLE_LOG2_WORDS, device="cuda")
    out = torch.empty(1 << 22, device="cuda")
    middle_ms = p50(time_calls(lambda: gather(table, out), "cuda", 50, seconds))
    return out.numel() * GATHERS_A_LANE / (middle_ms * 1e-3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, nargs="+", default=[torch.get_num_threads()])
    arguments = parser.parse_args()
    on_cpu = torch.device(arguments.device).type == "cpu"
    for n_threads in arguments.threads if on_cpu else [None]:
        found = measure(arguments.device, n_threads)
        print(f"{arguments.device}, {n_threads or 'all'} threads: {found['how']}")
        for name, value in found["details"].items():
            print(f"  {name:<32} {'-' if value is None else f'{value / 1e9:.2f} G/s'}")


if __name__ == "__main__":
    main()
