"""What is said where Triton cannot run, and that its interpreter runs only where it is asked for by name."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from collections.abc import Iterator

import pytest
import torch

from dfanerf_rt.backends.triton import hash_encode, machine
from dfanerf_rt.errors import BackendUnavailable
from dfanerf_rt.ops import dispatch


@pytest.fixture(autouse=True)
def nothing_remembered() -> Iterator[None]:
    """Choices are kept for the life of the process; here the machine changes under them."""
    machine._missing_reason.cache_clear()
    dispatch._choose.cache_clear()
    yield
    machine._missing_reason.cache_clear()
    dispatch._choose.cache_clear()


def test_absent_and_old(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "triton" else find(name))
    assert machine.unavailable_reason("triton") == "triton is not installed"
    machine._missing_reason.cache_clear()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: True)
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "3.5.1+cu130")
    assert machine.unavailable_reason("triton") == "triton 3.5.1+cu130 is installed, 3.6 or later is needed"


def test_old_gpu_and_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_missing_reason", lambda: None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (7, 5))
    assert machine.unavailable_reason("triton") == "the GPU has compute capability 7.5, the kernels need 8.0"
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (12, 0))
    assert machine.unavailable_reason("triton") is None
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert machine.unavailable_reason("triton") == "no CUDA GPU that torch can use"


def test_the_interpreter_runs_where_it_is_named_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_missing_reason", lambda: None)
    monkeypatch.delenv(dispatch.ENVIRONMENT_VARIABLE, raising=False)
    with pytest.raises(BackendUnavailable, match="triton: the tensors are on cpu, it needs them on cuda"):
        dispatch.dispatch("hash_encode", "triton", "cpu")
    monkeypatch.setattr(machine, "INTERPRETING", True)
    monkeypatch.setattr(hash_encode, "DEVICES", ("cpu",))
    assert dispatch.dispatch("hash_encode", "triton", "cpu") is hash_encode.hash_encode
    assert dispatch.dispatch("hash_encode", None, "cpu") is not hash_encode.hash_encode
    assert dispatch.reasons("hash_encode")["triton"] == (
        "here it takes tensors on cpu, and only where it is asked for by name"
    )
