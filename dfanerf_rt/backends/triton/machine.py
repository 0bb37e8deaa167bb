"""Whether Triton can run here, asked without importing it.

With TRITON_INTERPRET=1 in the environment Triton interprets kernels on the CPU, one program after another: thousands
of times slower, good for tests of tiny sizes alone. The variable is read when Triton is first imported.
"""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
import os
import re

import torch

MIN_VERSION = (3, 6)
MIN_CAPABILITY = (8, 0)
INTERPRETING = os.environ.get("TRITON_INTERPRET", "").lower() in ("1", "true", "on", "yes", "y")
"""Whether kernels are interpreted on the CPU, in place of being compiled for a GPU."""
DEVICES = ("cpu",) if INTERPRETING else ("cuda",)
FUSED = {"enable_fp_fusion": True}
"""Of every launch: products and sums join into fused multiply-adds, whatever this release of Triton does unasked."""


def unavailable_reason(backend: str) -> str | None:
    """Why ``backend``, which is Triton, cannot run kernels on tensors of :data:`DEVICES`, or None if it can."""
    missing = _missing_reason()
    if missing is not None or INTERPRETING:
        return missing
    if not torch.cuda.is_available():
        return "no CUDA GPU that torch can use"
    capability = torch.cuda.get_device_capability()
    if capability < MIN_CAPABILITY:
        found, least = (".".join(map(str, version)) for version in (capability, MIN_CAPABILITY))
        return f"the GPU has compute capability {found}, the kernels need {least}"
    return None


@functools.cache
def _missing_reason() -> str | None:
    if importlib.util.find_spec("triton") is None:
        return "triton is not installed"
    try:
        version = importlib.metadata.version("triton")
    except importlib.metadata.PackageNotFoundError:
        return None  # a build from source, or another distribution's name: nothing is known against it
    numbers = re.findall(r"\d+", version)
    if tuple(map(int, numbers[:2])) < MIN_VERSION:
        return f"triton {version} is installed, {'.'.join(map(str, MIN_VERSION))} or later is needed"
    return None
