"""Loads the native module ``dfanerf_rt._C``, and says why where it cannot."""

from __future__ import annotations

import functools
import importlib
from pathlib import Path
from types import ModuleType

from dfanerf_rt.errors import BackendUnavailable

HOW_TO_BUILD = "build it with `make setup`, or `pip install --no-build-isolation -e .` in the repository"


@functools.cache
def _load() -> tuple[ModuleType | None, str]:
    try:
        return importlib.import_module("dfanerf_rt._C"), ""
    except ModuleNotFoundError:
        # A name says for which Python it was built; for another one it is as if it were not there.
        others = sorted(entry.name for entry in Path(__file__).parent.glob("_C.*.so"))
        found = f"was built for another Python ({others[0]})" if others else "is not built"
        return None, f"the native module dfanerf_rt._C {found}; {HOW_TO_BUILD}"
    except ImportError as fault:
        return None, f"the native module dfanerf_rt._C does not load ({fault}); {HOW_TO_BUILD}"


def load() -> ModuleType:
    """The native module.

    Raises:
        BackendUnavailable: it is not built, or was built for another Python; says how to build it.
    """
    module, reason = _load()
    if module is None:
        raise BackendUnavailable(reason)
    return module


def unavailable_reason() -> str | None:
    """Why the native module cannot be loaded, or None if it can."""
    return _load()[1] or None


def has(function: str) -> bool:
    """Whether the native module is built and has ``function``; an older build may lack a newer operator."""
    module = _load()[0]
    return module is not None and hasattr(module, function)


def cuda_unavailable_reason() -> str | None:
    """Why the CUDA kernels of the native module cannot run here, or None if they can."""
    module, reason = _load()
    if module is None:
        return reason
    return module.cuda_unavailable_reason() or None


def missing_reason(function: str) -> str | None:
    """Why ``function`` of the native module cannot be called, or None if it can."""
    if has(function):
        return None
    return _load()[1] or f"the native module was built without {function}; {HOW_TO_BUILD} again"
