"""Motion is made of many small operators: on one thread, as it runs live."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from dfanerf_rt.threads import one_thread


@pytest.fixture(autouse=True)
def on_one_thread() -> Iterator[None]:
    with one_thread():
        yield
