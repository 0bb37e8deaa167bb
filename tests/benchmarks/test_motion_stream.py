"""The cost of generated motion is stated, and a stream that does not repeat itself is no result."""

from __future__ import annotations

import bench_motion_stream
import pytest
from torch import Tensor


def test_states_the_cost_of_head_and_eyes(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_motion_stream, "MEAN_MS", 1e6)  # a busy machine is no fault here
    monkeypatch.setattr(bench_motion_stream, "BLOCK_MS", 1e6)
    assert bench_motion_stream.main(["--frames", "20"]) == 0
    assert "20 frames: mean" in capsys.readouterr().out
    monkeypatch.setattr(bench_motion_stream, "MEAN_MS", 0.0)
    assert bench_motion_stream.main(["--frames", "20"]) == 1


def test_refuses_to_time_what_does_not_repeat(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    cost = bench_motion_stream.costs

    def other(sound: Tensor) -> object:
        times_ms, frames = cost(sound)
        return times_ms, frames + len(frames)

    monkeypatch.setattr(bench_motion_stream, "costs", other)
    assert bench_motion_stream.main(["--frames", "5"]) == 1
    assert "same seed" in capsys.readouterr().err
