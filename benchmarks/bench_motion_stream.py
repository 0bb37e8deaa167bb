"""What a frame of generated motion costs, on one core: head and eyes, each a stream of its own.

    .venv/bin/python benchmarks/bench_motion_stream.py [--frames N]

Budget: 2 ms a frame on average, 20 ms for a frame with which a block begins. Weights are random, since the cost does
not depend on them; two runs of one seed must agree, or nothing is reported. Time is that of the processor, which other
programs on the machine do not change much.
"""

from __future__ import annotations

import argparse
import sys
import time

import numpy as np
import torch
from result_schema import machine
from torch import Tensor

from dfanerf_rt.motion.cross_modal import CrossModalEncoder
from dfanerf_rt.motion.model import MotionConfig, MotionVae
from dfanerf_rt.motion.stream import MotionStream
from dfanerf_rt.motion.track import EYE_DIM
from dfanerf_rt.threads import one_thread

MEAN_MS, BLOCK_MS = 2.0, 20.0
WARM_FRAMES = 50


def streams() -> list[MotionStream]:
    """Head and eyes, with random weights, always the same."""
    torch.manual_seed(0)
    made = []
    for channels in (6, EYE_DIM):
        model = MotionVae(MotionConfig(input_dim=channels)).eval().requires_grad_(False)
        made.append(MotionStream(model, CrossModalEncoder(model.config).eval().requires_grad_(False)))
    return made


def costs(sound: Tensor) -> tuple[np.ndarray, Tensor]:
    """Milliseconds (T,) that head and eyes take together in each frame of (T, 32) audio codes, and the frames."""
    moving, times_ms, frames = streams(), [], []
    for code in sound:
        began_s = time.process_time()
        parts = []
        for stream in moving:
            stream.hear(code)
            parts.append(stream.next())
        times_ms.append(1000.0 * (time.process_time() - began_s))
        frames.append(torch.cat(parts))
    return np.array(times_ms), torch.stack(frames)


def main(argv: list[str] | None = None) -> int:
    """Print the cost; status 1 where it is beyond the budget."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=2500, help="how many to draw")
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
    return int(times_ms.mean() > MEAN_MS or longest > BLOCK_MS)


if __name__ == "__main__":
    sys.exit(main())
