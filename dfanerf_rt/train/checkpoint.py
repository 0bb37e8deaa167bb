"""Checkpoints of a running stage: tensors and counters in one safetensors file, never a pickle."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dfanerf_rt.errors import DfanerfError
from dfanerf_rt.files import load_tensors, save_tensors

CHECKPOINT_SCHEMA = "dfanerf-checkpoint/1"


def save_checkpoint(
    path: Path,
    modules: Mapping[str, nn.Module],
    optimizers: Mapping[str, torch.optim.Optimizer],
    tensors: dict[str, torch.Tensor],
    metadata: dict[str, Any],
) -> None:
    """Write modules, the moments of optimizers and loose tensors; ``metadata`` must be JSON."""
    stored = {f"tensor.{name}": value for name, value in tensors.items()}
    for name, module in modules.items():
        stored |= {f"module.{name}.{key}": value for key, value in module.state_dict().items()}
    for name, optimizer in optimizers.items():
        for index, moments in optimizer.state_dict()["state"].items():
            stored |= {f"optimizer.{name}.{index}.{key}": torch.as_tensor(value) for key, value in moments.items()}
    save_tensors(path, stored, {"schema": CHECKPOINT_SCHEMA, **metadata})


def load_checkpoint(
    path: Path,
    modules: Mapping[str, nn.Module],
    optimizers: Mapping[str, torch.optim.Optimizer],
    fingerprint: str,
) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Restore what :func:`save_checkpoint` wrote; returns the loose tensors and the metadata.

    Raises:
        DfanerfError: the file is damaged, or ``metadata["fingerprint"]`` is not ``fingerprint``.
    """
    stored, metadata = load_tensors(path, DfanerfError)
    if metadata.get("schema") != CHECKPOINT_SCHEMA:
        raise DfanerfError(f"{path}: schema is {metadata.get('schema')!r}, expected {CHECKPOINT_SCHEMA!r}")
    if metadata.get("fingerprint") != fingerprint:
        raise DfanerfError(f"{path}: made from another clip or with other settings; remove it or add --restart")
    try:
        for name, module in modules.items():
            module.load_state_dict(_under(stored, f"module.{name}."))
        for name, optimizer in optimizers.items():
            moments: dict[int, dict[str, torch.Tensor]] = {}
            for key, value in _under(stored, f"optimizer.{name}.").items():
                index, moment = key.split(".", 1)
                moments.setdefault(int(index), {})[moment] = value
            optimizer.load_state_dict({"state": moments, "param_groups": optimizer.state_dict()["param_groups"]})
    except (RuntimeError, ValueError, KeyError) as fault:
        raise DfanerfError(f"{path}: does not fit this version ({fault}); remove it or add --restart") from fault
    return _under(stored, "tensor."), metadata


def _under(stored: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): value for name, value in stored.items() if name.startswith(prefix)}
