"""tiny-cuda-nn (Mueller 2021): whether its torch extension is here."""

from __future__ import annotations

import importlib.util

import torch


def missing_reason() -> str | None:
    """Why tiny-cuda-nn cannot run here, or None if it can."""
    if importlib.util.find_spec("tinycudann") is None:
        return (
            "tiny-cuda-nn is on no registry; install it from its source, "
            "https://github.com/NVlabs/tiny-cuda-nn (with submodules, folder bindings/torch)"
        )
    if not torch.cuda.is_available():
        return "tiny-cuda-nn needs a CUDA GPU"
    return None
