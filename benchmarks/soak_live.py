"""An avatar that speaks for an hour: does it stay in step, in memory, and without a stall? And how soon does it begin?

    .venv/bin/python benchmarks/soak_live.py [AVATAR] [--minutes 60] [--size PX] [--mic] [--out MP4] [--json OUT]

Sound is the bundled sentence again and again, with pauses, in real time; with ``--mic`` whatever the microphone hears.
Exit status 1 where a limit is broken: drift of sound against picture 45 ms, growth of memory 5 %, a stall over 200 ms
that no dropped frame stands for, start to first frame 5 s.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from result_schema import machine, write_results

from dfanerf_rt.audio.ring import AudioChunk
from dfanerf_rt.audio.sources import PushSource, ReturningMicrophone, load_audio
from dfanerf_rt.clip.format import write_wav
from dfanerf_rt.live.chain import load_chain
from dfanerf_rt.live.pipeline import LivePipeline
from dfanerf_rt.live.sinks.mp4 import Mp4Sink
from dfanerf_rt.live.stages import Frame

SENTENCE = Path(__file__).resolve().parent.parent / "dfanerf_rt" / "assets" / "demo_sentence.wav"
PAUSE_S = 2.0
STALL_S = 0.2
SETTLED_SHARE = 0.1
"""Of the run, at each end, over which latency is averaged; memory is compared from the end of the first share on."""
LIMITS = {"drift_ms": 45.0, "growth_percent": 5.0, "uncounted_stalls": 0.0, "start_s": 5.0}
FIRST_FRAME = """
import sys, time
from dfanerf_rt.cli.live import main
from dfanerf_rt.live.stats import LiveStats
delivered = LiveStats.delivered
def first(self, frame, now_s):
    if frame.index == 0 or not self._latency_ms:
        print(now_s, flush=True)
    delivered(self, frame, now_s)
LiveStats.delivered = first
sys.exit(main(sys.argv[1:]))
"""


class EndlessSpeech(PushSource):
    """A sentence, a pause, and again; never more than a minute of it waits."""

    def __init__(self, sentence: np.ndarray) -> None:
        super().__init__(capacity_s=60.0)
        self._sentence = np.concatenate([sentence, np.zeros(round(16000 * PAUSE_S), np.float32)])

    def read(self) -> AudioChunk | None:
        """The next 10 ms."""
        if not self.waiting_samples:
            self.push(self._sentence)
        return super().read()


@dataclass
class WatchSink:
    """Notes when each picture comes."""

    name: str = "watch"
    indices: list[int] = field(default_factory=list)
    delivered_s: list[float] = field(default_factory=list)
    latency_ms: list[float] = field(default_factory=list)
    samples: int = 0

    def write_audio(self, chunk: AudioChunk) -> None:
        """Count the sound."""
        self.samples += len(chunk.samples)

    def write_frame(self, frame: Frame) -> None:
        """Note the picture."""
        now_s = time.monotonic()
        self.indices.append(frame.index)
        self.delivered_s.append(now_s)
        self.latency_ms.append(1000.0 * (now_s - frame.sound_s))

    def close(self) -> None:
        """Nothing is left to do."""

    def abort(self) -> None:
        """The same."""


def stalls(indices: list[int], delivered_s: list[float]) -> tuple[int, int]:
    """How often no picture came for longer than 200 ms; and how often of those no place was passed over (counted)."""
    gaps_s, passed = np.diff(delivered_s), np.diff(indices) - 1
    long = gaps_s > STALL_S
    return int(long.sum()), int((long & (passed == 0)).sum())


def drift_ms(latency_ms: list[float]) -> float:
    """How much later pictures come against their sound at the end than at the beginning."""
    n = max(round(SETTLED_SHARE * len(latency_ms)), 1)
    return float(np.median(latency_ms[-n:]) - np.median(latency_ms[:n]))


def soak(arguments: argparse.Namespace) -> dict[str, Any]:
    """The long run."""
    chain = load_chain(arguments.avatar, arguments.size)
    source = ReturningMicrophone(on_change=print) if arguments.mic else EndlessSpeech(load_audio(SENTENCE))
    watch = WatchSink()
    sinks: list[Any] = [watch]
    if arguments.out:
        sinks.append(Mp4Sink(arguments.out, chain.renderer.width, chain.renderer.height))
    lines: list[dict[str, Any]] = []

    def tell(line: dict[str, Any]) -> None:
        lines.append(line)
        if len(lines) % 60 == 0:
            print(f"{line['t_s']:.0f} s: {line['fps']:.1f} fps, {line['latency_ms_p95']} ms, {line['rss_mb']:.0f} MB")

    report = LivePipeline(source, chain.encoder, chain.motion, chain.renderer, sinks).run(60 * arguments.minutes, tell)
    settled = [line["rss_mb"] for line in lines[int(SETTLED_SHARE * len(lines)) :]]
    n = max(len(settled) // 10, 1)
    before_mb, after_mb = float(np.median(settled[:n])), float(np.median(settled[-n:]))
    n_stalls, n_uncounted = stalls(watch.indices, watch.delivered_s)
    row = {
        "minutes": round(report.sound_s / 60, 3),
        "fps": report.fps,
        "latency_ms_p50": report.latency_ms_p50,
        "latency_ms_p95": report.latency_ms_p95,
        "drift_ms": drift_ms(watch.latency_ms),
        "rss_mb_before": before_mb,
        "rss_mb_after": after_mb,
        "growth_percent": 100 * (after_mb / before_mb - 1),
        "dropped_frames": report.dropped_frames,
        "dropped_audio_samples": report.dropped_audio_samples,
        "stalls": n_stalls,
        "uncounted_stalls": n_uncounted,
    }
    return rows("soak", arguments, row)


def start(arguments: argparse.Namespace) -> dict[str, Any]:
    """From the start of the command to its first picture, the second time, when all caches are warm."""
    with tempfile.TemporaryDirectory() as folder:
        sound = Path(folder) / "a.wav"
        write_wav(sound, load_audio(SENTENCE)[:16000])
        command = [sys.executable, "-c", FIRST_FRAME, arguments.avatar, "--audio", str(sound)]
        if arguments.size:
            command += ["--size", str(arguments.size)]
        for _ in range(2):
            began_s = time.monotonic()
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            start_s = float(done.stdout.split()[0]) - began_s
    return rows("start", arguments, {"start_s": start_s})


def rows(part: str, arguments: argparse.Namespace, values: dict[str, float]) -> dict[str, Any]:
    """One row a measure, as ``result_schema`` wants them."""
    subject = f"{arguments.avatar} {arguments.size or 'own size'}{' microphone' if arguments.mic else ''}"
    return {
        measure: {
            "part": part,
            "subject": subject,
            "measure": measure,
            "value": round(float(value), 3),
            "limit": LIMITS.get(measure),
        }
        for measure, value in values.items()
    }


def main(arguments: list[str] | None = None) -> int:
    """Run both parts, print and write the rows; 1 where a limit is broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("avatar", nargs="?", default="presenter")
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--size", type=int)
    parser.add_argument("--mic", action="store_true", help="listen to the microphone")
    parser.add_argument("--out", type=Path, help="record it too, into this MP4")
    parser.add_argument("--json", type=Path, help="where the rows go")
    parsed = parser.parse_args(arguments)
    results = [*start(parsed).values(), *soak(parsed).values()]
    broken = 0
    for row in results:
        over = row["limit"] is not None and abs(row["value"]) > row["limit"]
        broken += over
        limit = "" if row["limit"] is None else f"  (at most {row['limit']:g}{': broken' if over else ''})"
        print(f"{row['part']:6} {row['measure']:22} {row['value']:10.2f}{limit}")
    if parsed.json:
        write_results(parsed.json, {"kind": "live", "machine": machine(), "results": results})
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
