"""nerfacc (Li et al. 2023): whether it is here, and its CUDA code, built where no wheel carries it."""

from __future__ import annotations

import functools
import importlib.util
import shutil
from pathlib import Path
from types import ModuleType

import torch

from dfanerf_rt.errors import BackendUnavailable


def missing_reason() -> str | None:
    """Why nerfacc cannot be imported, or None if it can."""
    if importlib.util.find_spec("nerfacc") is None:
        return "nerfacc is not installed: pip install nerfacc"
    return None


def cuda_missing_reason() -> str | None:
    """Why nerfacc's CUDA functions (traversal, packed scans) cannot run here, or None if they can."""
    missing = missing_reason()
    if missing is not None:
        return missing
    if not torch.cuda.is_available():
        return "nerfacc's traversal needs a CUDA GPU"
    if importlib.util.find_spec("nerfacc.csrc") is None and shutil.which("nvcc") is None:
        return "nerfacc was installed without its CUDA code, and building it needs nvcc on PATH"
    return None


@functools.cache
def load() -> ModuleType:
    """nerfacc with its CUDA code ready.

    A wheel from PyPI compiles that code on first use, by the C++ standard that torch defaults to; with C++20 (torch
    2.13) nerfacc 0.5.3 does not compile, since its own ``lerp`` clashes with the standard library's. It is therefore
    built here, as C++17, and put where nerfacc looks for a compiled module first.

    Raises:
        BackendUnavailable: the CUDA code does not compile; ends with the compiler's last words.
    """
    import nerfacc

    if importlib.util.find_spec("nerfacc.csrc") is None:
        from torch.utils.cpp_extension import load as build

        folder = Path(nerfacc.__file__).parent / "cuda" / "csrc"
        sources = sorted(str(path) for path in (*folder.glob("*.cu"), *folder.glob("*.cpp")))
        flags = ["-O3", "-std=c++17"]
        try:
            # The name is nerfacc's own, so that its cache of built extensions is shared.
            nerfacc.csrc = build("nerfacc_cuda", sources, extra_cflags=flags, extra_cuda_cflags=flags)
        except (RuntimeError, OSError, ImportError) as fault:
            words = " ".join(str(fault).split())[-300:]
            raise BackendUnavailable(f"nerfacc's CUDA code does not compile here: {words}") from fault
    return nerfacc
