"""Prepare videos and print, as JSON, how much was tracked, how well, and how long it took.

python benchmarks/bench_prepare.py VIDEO... [--size 256] [--no-photometric] [--keep FOLDER]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
from pathlib import Path

from dfanerf_rt.clip.prepare import PrepareConfig, prepare
from dfanerf_rt.face.fit import FitConfig


def main() -> int:
    """Prepare each video into a temporary folder and report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("videos", nargs="+", type=Path)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--no-photometric", action="store_true", help="poses by landmarks alone")
    parser.add_argument("--keep", type=Path, help="folder to keep the prepared clips in, one a video")
    arguments = parser.parse_args()
    fit = FitConfig(photometric=None) if arguments.no_photometric else FitConfig()
    results = []
    with tempfile.TemporaryDirectory() as temporary:
        for video in arguments.videos:
            out = (arguments.keep or Path(temporary)) / f"{video.stem}_{arguments.size}"
            made = prepare(video, out, PrepareConfig(size=arguments.size, audio=False, fit=fit))
            results.append(
                {
                    "video": video.name,
                    "frames": made.n_frames,
                    "tracked_share": round(made.n_tracked / made.n_frames, 4),
                    "median_error_px_at_512": round(made.median_error_px, 3),
                    "p95_error_px_at_512": round(made.p95_error_px, 3),
                    "model_error_px_at_512": round(made.model_error_px, 3),
                    "seconds": round(made.seconds, 1),
                }
            )
            print(f"{video.name}: {made.seconds:.0f} s", file=sys.stderr)
    machine = {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count()}
    print(json.dumps({"machine": machine, "size": arguments.size, "results": results}, indent=2))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
