"""Which backends there are, in order of preference, and whether each can run an operator here.

An operator ``name`` is implemented on a backend by the function ``name`` in ``backends/<package>/<name>.py``. That
module may say why it cannot run on this machine with ``unavailable_reason(backend: str) -> str | None``, and with
``DEVICES`` that it takes tensors on other devices than its backend's usual ones; there it runs where it is asked for
by name alone.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

OPERATORS = ("composite_rays", "condition_layer", "hash_encode", "march_rays", "mlp", "render_field")
"""Operators that are dispatched; one file of the same name in ops/ and in each backend that has it."""


@dataclass(frozen=True)
class Backend:
    """One way to run operators."""

    name: str
    package: str
    """Folder in backends/ that holds its implementations."""
    devices: tuple[str, ...]
    """Types of device on which its tensors lie, and for which it is chosen without being named."""


PRIORITY = (
    Backend("cuda", "native", ("cuda",)),
    Backend("triton", "triton", ("cuda",)),
    Backend("cpu", "native", ("cpu",)),
    Backend("reference", "reference", ("cpu", "cuda")),
)
"""Backends that the dispatcher may take by itself, the best first."""
BY_NAME = (
    Backend("nerfacc", "external.nerfacc", ("cuda",)),
    Backend("tcnn", "external.tcnn", ("cuda",)),
)
"""Adapters of other people's libraries, run only where they are asked for by name: what we are measured against."""


def backend(name: str) -> Backend | None:
    """The backend of that name, or None."""
    return next((candidate for candidate in (*PRIORITY, *BY_NAME) if candidate.name == name), None)


@functools.cache
def _module(operator: str, package: str) -> ModuleType | None:
    folder = f"dfanerf_rt.backends.{package}"
    if importlib.util.find_spec(folder) is None or importlib.util.find_spec(f"{folder}.{operator}") is None:
        return None
    return importlib.import_module(f"{folder}.{operator}")


def is_implemented(operator: str, candidate: Backend) -> bool:
    """Whether the backend has code for the operator, whatever this machine can run."""
    return _module(operator, candidate.package) is not None


def unavailable_reason(operator: str, candidate: Backend, device_type: str | None = None) -> str | None:
    """Why ``candidate`` cannot run ``operator`` on tensors of ``device_type``, or None if it can.

    Args:
        operator: one of :data:`OPERATORS`.
        candidate: the backend asked.
        device_type: "cpu" or "cuda"; None asks about the machine alone.

    Where the device is not one of ``candidate.devices``, None means that it runs if it is asked for by name.
    """
    module = _module(operator, candidate.package)
    if module is None:
        return f"{operator} has no {candidate.name} implementation"
    devices = getattr(module, "DEVICES", candidate.devices)
    if device_type is None and not set(devices) & set(candidate.devices):
        return f"here it takes tensors on {' or '.join(devices)}, and only where it is asked for by name"
    if device_type is not None and device_type not in devices:
        return f"the tensors are on {device_type}, it needs them on {' or '.join(devices)}"
    probe = getattr(module, "unavailable_reason", None)
    return probe(candidate.name) if probe is not None else None


def implementation(operator: str, candidate: Backend) -> Callable[..., Any]:
    """The function that runs ``operator`` on ``candidate``; ask :func:`unavailable_reason` first."""
    module = _module(operator, candidate.package)
    if module is None:
        raise LookupError(f"{operator} has no {candidate.name} implementation")
    return getattr(module, operator)
