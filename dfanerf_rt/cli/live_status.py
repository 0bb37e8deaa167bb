"""What ``dfanerf-live`` shows of itself: a line on the terminal, ``--stats``, and the report at the end."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dfanerf_rt.live.stats import LiveReport


@contextmanager
def reporting(stats: Path | None, greeting: str) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Yields what takes a line of statistics: it goes to ``stats`` as JSON, and to a terminal as one line of status."""
    with ExitStack() as stack:
        stream = None
        if stats is not None:
            stats.parent.mkdir(parents=True, exist_ok=True)
            stream = stack.enter_context(stats.open("w", encoding="utf-8", buffering=1))
        terminal = sys.stderr.isatty()
        if terminal:
            print(greeting, file=sys.stderr)
            stack.callback(lambda: print(file=sys.stderr))
        lost: set[str] = set()

        def report(line: dict[str, Any]) -> None:
            if stream is not None:
                stream.write(json.dumps(line) + "\n")
            for name, sink in line["sinks"].items():
                if sink["fault"] is not None and name not in lost:
                    lost.add(name)
                    print(f"\ndfanerf-live: {name} ended: {sink['fault']}; the others go on", file=sys.stderr)
            if terminal:
                print(f"\r{status_line(line)}", end="\x1b[K", file=sys.stderr, flush=True)

        yield report


def status_line(line: dict[str, Any]) -> str:
    """One line of statistics for people, at most 100 characters wide where nothing is wrong."""
    shown = [f"{line['t_s']:7.1f} s", f"{line['fps']:4.1f} fps"]
    latency = line["latency_ms_p50"], line["latency_ms_p95"]
    shown.append("latency -" if latency[0] is None else f"latency {latency[0]:.0f}/{latency[1]:.0f} ms p50/p95")
    waiting = {**line["queues"], **{name: sink["queued"] for name, sink in line["sinks"].items()}}
    shown.append("queues " + " ".join(f"{name} {depth}" for name, depth in waiting.items()))
    dropped = f"dropped {line['dropped_frames']} frames"
    for name, sink in line["sinks"].items():
        if sink["dropped_frames"]:
            dropped += f", {sink['dropped_frames']} by {name}"
    if line["dropped_audio_samples"]:
        dropped += f", {line['dropped_audio_samples'] / 16000:.1f} s of sound"
    shown.append(dropped)
    return "  ".join(shown)


def report_line(report: LiveReport, out: Path | None, motion: str, realtime: bool) -> str:
    """The whole run in one line."""
    shown = "".join(f"{sink.name}, " for sink in report.sinks if sink.name != "mp4")
    where = f"{shown}{out}: " if out else f"{shown}not recorded (no --out): "
    lost = f", {report.dropped_audio_samples} samples of sound lost" if report.dropped_audio_samples else ""
    latency = ""
    if realtime:
        latency = f", sound to picture {report.latency_ms_p50:.0f} ms p50, {report.latency_ms_p95:.0f} ms p95"
    return (
        f"{where}{report.sound_s:.1f} s, {report.frames} frames at {report.fps:.1f} fps, "
        f"{report.dropped_frames} dropped{lost}{latency} ({motion} motion)"
    )


def print_lost_sinks(report: LiveReport) -> int:
    """Say which sinks ended before the show did, and which were too slow; 2 where one was lost, else 0."""
    for sink in report.sinks:
        if sink.fault is not None:
            print(f"dfanerf-live: {sink.name} ended after {sink.frames} frames: {sink.fault}", file=sys.stderr)
        elif sink.dropped_frames or sink.dropped_samples:
            sound = f" and {sink.dropped_samples} samples of sound" if sink.dropped_samples else ""
            print(f"{sink.name} was too slow for {sink.dropped_frames} frames{sound}", file=sys.stderr)
    return 2 if any(sink.fault is not None for sink in report.sinks) else 0
