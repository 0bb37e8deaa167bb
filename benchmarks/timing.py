"""Times of repeated calls: by the clock on the CPU, by device events on a GPU."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch

MIN_CALLS = 5
LONGEST_QUEUE = 64


class Clock:
    """Marks in time on a device, and milliseconds between them; on a GPU they lie in the stream of the work."""

    def __init__(self, device: str) -> None:
        self._on_gpu = torch.device(device).type == "cuda"

    def mark(self) -> Any:
        """Now, as the device sees it: after the work given to it so far."""
        if not self._on_gpu:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def wait(self) -> None:
        """Until the device has done all its work."""
        if self._on_gpu:
            torch.cuda.synchronize()

    def between_ms(self, start: Any, end: Any) -> float:
        """Milliseconds between two marks, both of which the device has passed."""
        return start.elapsed_time(end) if self._on_gpu else (end - start) * 1e3

    def rounds(self, max_calls: int, max_seconds: float, min_calls: int = MIN_CALLS) -> Iterator[int]:
        """Numbers 0, 1, ... of calls to time: until there are enough of them, or the time is up."""
        started = time.perf_counter()
        for number in range(max_calls):
            if number >= min_calls and time.perf_counter() - started > max_seconds:
                return
            if number % LONGEST_QUEUE == LONGEST_QUEUE - 1:
                self.wait()  # the time that is up is the device's; seldom, so that 95 % of the calls do not see it
            yield number


def time_calls(call: Callable[[], object], device: str, max_calls: int, max_seconds: float) -> list[float]:
    """Milliseconds of each of up to ``max_calls`` calls, after two that do not count."""
    clock = Clock(device)
    for _ in range(2):
        call()
    clock.wait()
    marks = [clock.mark()]
    for _ in clock.rounds(max_calls, max_seconds):
        call()
        marks.append(clock.mark())
    clock.wait()
    return [clock.between_ms(start, end) for start, end in itertools.pairwise(marks)]


def p50(times: list[float]) -> float:
    """The median."""
    return statistics.median(times)


def p95(times: list[float]) -> float:
    """The time that 95 % of the calls stay below (the nearest rank)."""
    ordered = sorted(times)
    return ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))]
