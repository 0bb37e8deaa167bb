"""The Triton kernels run on a GPU, or interpreted where TRITON_INTERPRET is set (see test_triton_interpreter.py)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from dfanerf_rt.backends.triton.machine import INTERPRETING

HERE = Path(__file__).resolve().parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if not INTERPRETING:
        for item in items:
            if HERE in item.path.parents:
                item.add_marker(pytest.mark.gpu)


@pytest.fixture(scope="session")
def device() -> str:
    """Where the tensors of a test lie."""
    return "cpu" if INTERPRETING else "cuda"


@pytest.fixture(scope="session")
def some() -> Callable[[int, int], int]:
    """Chooses between a size for a GPU and a tiny one for the interpreter."""
    return lambda many, few: few if INTERPRETING else many


@pytest.fixture(autouse=True)
def poisoned_memory() -> Iterator[None]:
    """New buffers hold NaN, or the largest integer, so that what a kernel leaves unwritten shows."""
    torch.use_deterministic_algorithms(True, warn_only=True)
    assert torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    yield
    torch.use_deterministic_algorithms(False)
