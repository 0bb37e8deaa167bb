"""Choice of the backend that runs an operator: the argument, then ``DFANERF_BACKEND``, then priority."""

from __future__ import annotations

import functools
import os
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from dfanerf_rt.backends import registry
from dfanerf_rt.errors import BackendUnavailable

if TYPE_CHECKING:
    import torch

ENVIRONMENT_VARIABLE = "DFANERF_BACKEND"


def dispatch(operator: str, backend: str | None, device: torch.device | str) -> Callable[..., Any]:
    """The function that runs ``operator`` on tensors of ``device``.

    Args:
        operator: one of :data:`dfanerf_rt.backends.registry.OPERATORS`.
        backend: a backend's name; None looks into ``DFANERF_BACKEND``, then takes the first that can run in the order
            cuda, triton, cpu, reference. "nerfacc" and "tcnn" run only where they are named.
        device: where the tensors are.

    Raises:
        BackendUnavailable: the backend asked for, or every backend, cannot run; lists every backend's reason.
    """
    device_type = device if isinstance(device, str) else device.type
    return _choose(operator, backend or os.environ.get(ENVIRONMENT_VARIABLE) or None, device_type.split(":")[0])


def reasons(operator: str, device_type: str | None = None) -> dict[str, str | None]:
    """For every backend, why it cannot run ``operator`` (None: it can): in order of priority, then those by name."""
    backends = (*registry.PRIORITY, *registry.BY_NAME)
    return {b.name: registry.unavailable_reason(operator, b, device_type) for b in backends}


@functools.cache
def _choose(operator: str, wanted: str | None, device_type: str) -> Callable[..., Any]:
    why = reasons(operator, device_type)
    if wanted is not None and wanted not in why:
        raise BackendUnavailable(f"backend {wanted!r} is not known; expected one of {', '.join(why)}")
    able = (b.name for b in registry.PRIORITY if why[b.name] is None and device_type in b.devices)
    chosen = wanted if wanted is not None else next(able, None)
    if chosen is None or why[chosen] is not None:
        every = "; ".join(f"{name}: {reason or 'can run'}" for name, reason in why.items())
        asked = f"backend {wanted!r}" if wanted is not None else "no backend"
        verb = "cannot run" if wanted is not None else "can run"
        raise BackendUnavailable(f"{asked} {verb} {operator} here ({every})")
    if wanted is None and chosen == "reference":
        _warn_of_slow_choice(operator, device_type, why)
    candidate = registry.backend(chosen)
    if candidate is None:
        raise LookupError(chosen)
    return registry.implementation(operator, candidate)


def _warn_of_slow_choice(operator: str, device_type: str, why: dict[str, str | None]) -> None:
    faster = [b for b in registry.PRIORITY if device_type in b.devices and b.name != "reference"]
    lost = [f"{b.name}: {why[b.name]}" for b in faster if registry.is_implemented(operator, b)]
    if lost:
        message = f"{operator} runs on the reference backend, which is many times slower ({'; '.join(lost)})"
        warnings.warn(message, RuntimeWarning, stacklevel=4)
