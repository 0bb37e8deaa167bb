"""Fixtures that all rooms share, and an honest count of what was skipped."""

from __future__ import annotations

import collections
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

if TYPE_CHECKING:
    from dfanerf_rt.clip.format import Clip

REPOSITORY = Path(__file__).resolve().parent.parent


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--require-gpu", action="store_true", help="a test marked gpu fails, not skips, without a GPU")


def pytest_configure() -> None:
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    torch.set_num_threads(max(1, min(2, os.cpu_count() or 1) // workers))


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu") is None or torch.cuda.is_available():
        return
    if item.config.getoption("--require-gpu"):
        pytest.fail("no CUDA GPU that torch can use, and --require-gpu was given")
    pytest.skip("no CUDA GPU that torch can use")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real clips and sounds: DFANERF_SHARED, else ../shared beside the repository; skips without it."""
    root = Path(os.environ.get("DFANERF_SHARED", REPOSITORY.parent / "shared"))
    data = root / "data" if (root / "data").is_dir() else root
    if not (data / "video").is_dir():
        pytest.skip(f"no shared test data at {root} (set DFANERF_SHARED)")
    return data


@pytest.fixture(scope="session")
def tiny_clip(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    """3 s of the synthetic presenter at 96x96, made once a session. Read it; do not write into it."""
    from dfanerf_rt.clip.presenter import generate_presenter, tiny_config

    return generate_presenter(tmp_path_factory.mktemp("presenter") / "tiny", tiny_config())


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    skipped = terminalreporter.stats.get("skipped", [])
    reasons = collections.Counter(
        str(report.longrepr[2]).removeprefix("Skipped: ") for report in skipped if isinstance(report.longrepr, tuple)
    )
    ran = sum(len(terminalreporter.stats.get(kind, [])) for kind in ("passed", "failed", "xfailed", "xpassed"))
    terminalreporter.write_line(f"ran {ran} tests, skipped {len(skipped)}")
    for reason, count in reasons.most_common():
        terminalreporter.write_line(f"  skipped {count}: {reason}")
