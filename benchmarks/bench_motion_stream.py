"""What a frame of generated motion costs, on one core: head, eyes and blinks, by the bundled models.

    .venv/bin/python benchmarks/bench_motion_stream.py [--frames N] [--json OUT]

Budget: 2 ms a frame on average, 20 ms for a frame with which a block begins. Two runs of one seed must agree, or
nothing is reported. Time is that of the processor; other programs on the machine slow it down all the same.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import torch
from result_schema import machine, write_results
from torch import Tensor

from dfanerf_rt.motion.generator import MotionGenerator
from dfanerf_rt.motion.models import MotionModels
from dfanerf_rt.motion.person import PersonalMotion
from dfanerf_rt.motion.style import Style
from dfanerf_rt.motion.track import EYE_DIM
from dfanerf_rt.threads import one_thread
from dfanerf_rt.train.blinks import USUAL

MEAN_MS, BLOCK_MS = 2.0, 20.0
WARM_FRAMES = 50


def generator() -> MotionGenerator:
    """The bundled models, moving as somebody."""
    torch.manual_seed(0)

    def style(n_channels: int) -> Style:
        one = torch.ones(n_channels)
        return Style(0 * one, one, 0 * one, one, one, one, -3 * one, 3 * one)

    person = PersonalMotion(MotionModels.bundled(), style(6), style(EYE_DIM), torch.full((EYE_DIM,), 9.0), USUAL)
    return MotionGenerator(person)


def costs(sound: Tensor) -> tuple[np.ndarray, Tensor]:
    """Milliseconds (T,) that head, eyes and blinks take in each frame of (T, 32) audio codes, and the frames."""
    moving, times_ms, frames = generator(), [], []
    for code in sound:
        began_s = time.process_time()
        moving.hear(code)
        pose, eyes = moving.next()
        times_ms.append(1000.0 * (time.process_time() - began_s))
        frames.append(torch.cat([pose, eyes]))
    return np.array(times_ms), torch.stack(frames)


def main(argv: list[str] | None = None) -> int:
    """Print the cost; status 1 where it is beyond the budget."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=2500, help="how many to draw")
    parser.add_argument("--json", type=Path, help="write the results here")
    arguments = parser.parse_args(argv)
    sound = torch.randn(WARM_FRAMES + arguments.frames, 32, generator=torch.Generator().manual_seed(0))
    with one_thread():
        first = costs(sound[:WARM_FRAMES])[1]
        times_ms, frames = costs(sound)
    if not torch.equal(first, frames[:WARM_FRAMES]):
        print("bench_motion_stream: the same seed gave other frames", file=sys.stderr)
        return 1
    times_ms = times_ms[WARM_FRAMES:]
    p50, p95, longest = np.percentile(times_ms, [50, 95, 100])
    found = machine()
    print(f"{found['cpu']}, one core, torch {found['torch']}, load {found['load_1min']}")
    print(f"head and eyes, {len(times_ms)} frames: mean {times_ms.mean():.2f} ms (budget {MEAN_MS:g}), p50 {p50:.2f},")
    print(f"p95 {p95:.2f}, longest {longest:.2f} ms (budget {BLOCK_MS:g}: a whole block)")
    if arguments.json:
        same = {"part": "cost", "model": "generated", "subject": "head, eyes and blinks", "seed": 0, "spread": None}
        values = {"mean_ms": times_ms.mean(), "p50_ms": p50, "p95_ms": p95, "longest_ms": longest}
        rows = [{**same, "measure": k, "value": float(v), "count": len(times_ms)} for k, v in values.items()]
        write_results(arguments.json, {"kind": "motion", "machine": found, "results": rows})
    return int(times_ms.mean() > MEAN_MS or longest > BLOCK_MS)


if __name__ == "__main__":
    sys.exit(main())
