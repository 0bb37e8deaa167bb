"""Frames a second of the renderer, checked against the reference before it is timed.

    .venv/bin/python benchmarks/bench_render.py [--avatar FILE] [--sizes 256 512] [--json OUT]

A frame is what the live loop asks of a session: fold a new condition and head pose, then render. Without --avatar
it is a head made by formula (dfanerf_rt/render/synthetic.py), whose rays need as many samples as a trained one does.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parent))
from result_schema import check_render_results, machine

from dfanerf_rt.avatar import Avatar
from dfanerf_rt.field.config import CONDITION_DIM
from dfanerf_rt.ops.dispatch import reasons
from dfanerf_rt.render.session import RenderSession
from dfanerf_rt.render.synthetic import head_avatar

MIN_PSNR_DB = 40.0
"""Of bytes against the reference's bytes; a backend below it is not timed."""


def frame_inputs(avatar: Avatar, n_frames: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Conditions (48,) and head poses (6,): recorded poses where the avatar has some, a slow turn where not."""
    generator = torch.Generator().manual_seed(0)
    field = avatar.section("field")
    recorded = avatar.section("motion").get("recorded_pose")
    inputs = []
    for index in range(n_frames):
        normal = torch.randn(CONDITION_DIM, generator=generator) * 0.5
        pose = field["pose_mean"].clone()
        pose[1] += 0.2 * math.sin(0.2 * index)
        if recorded is not None:
            pose = recorded[index % len(recorded)]
        inputs.append((field["condition_mean"] + field["condition_std"] * normal, pose))
    return inputs


def psnr_db(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Between pictures in bytes; 99 where they are the same."""
    mean = float((found.float() - expected.float()).square().mean()) / 255.0**2
    return 99.0 if mean == 0.0 else min(99.0, -10.0 * math.log10(mean))


def measure(session: RenderSession, inputs: list[tuple[torch.Tensor, torch.Tensor]], n_frames: int) -> dict[str, Any]:
    """Times of fold and render, milliseconds."""
    folds, frames = [], []
    for index in range(n_frames):
        condition, head_pose = inputs[index % len(inputs)]
        started = time.perf_counter()
        session.fold(condition, head_pose)
        folded = time.perf_counter()
        session.render()
        frames.append((time.perf_counter() - started) * 1e3)
        folds.append((folded - started) * 1e3)
    middle = statistics.median(frames)
    return {
        "fps": 1e3 / middle,
        "frame_ms_p50": middle,
        "frame_ms_p95": sorted(frames)[min(len(frames) - 1, int(0.95 * len(frames)))],
        "frame_ms_min": min(frames),
        "fold_ms_p50": statistics.median(folds),
        "frames": n_frames,
    }


def bench_size(
    avatar: Avatar, width: int, backends: list[str], device: str, n_frames: int, n_threads: int
) -> list[dict[str, Any]]:
    """One row a backend; the reference renders the first frame alone and is timed by that."""
    inputs = frame_inputs(avatar, max(n_frames, 1))
    reference = RenderSession(avatar, device, width, "reference")
    times = measure(reference, inputs, 1)
    expected = reference.render().cpu().clone()
    rows = []
    for backend in backends:
        row = {"backend": backend, "device": device, "width": reference.width, "height": reference.height}
        row["threads"] = n_threads if device == "cpu" else None
        if backend == "reference":
            rows.append(
                {**row, **times, "samples_per_frame": None, "ratio_to_reference": 1.0, "psnr_to_reference_db": 99.0}
            )
            continue
        session = RenderSession(avatar, device, width, backend, n_threads=n_threads)
        session.fold(*inputs[0])
        psnr = psnr_db(session.render().cpu(), expected)
        if psnr < MIN_PSNR_DB:
            sys.exit(f"{backend} at {width} px: {psnr:.1f} dB against the reference, expected {MIN_PSNR_DB}; not timed")
        samples = session.samples
        measure(session, inputs, max(3, n_frames // 10))
        found = measure(session, inputs, n_frames)
        rows.append(
            {
                **row,
                **found,
                "samples_per_frame": samples,
                "samples_per_s": samples * found["fps"] if samples is not None else None,
                "ratio_to_reference": times["frame_ms_p50"] / found["frame_ms_p50"],
                "psnr_to_reference_db": psnr,
            }
        )
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--avatar", help="file, or the name of a bundled avatar; a synthetic head without it")
    parser.add_argument("--sizes", type=int, nargs="+", default=[256, 512], metavar="PX", help="widths")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--backends", nargs="+", help="default: all that can run")
    parser.add_argument("--frames", type=int, default=100)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--json", type=Path, help="write the results here")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    avatar = Avatar.load(arguments.avatar) if arguments.avatar else head_avatar()
    can_run = [name for name, reason in reasons("render_field", arguments.device).items() if reason is None]
    results: list[dict[str, Any]] = []
    for width in arguments.sizes:
        rows = bench_size(
            avatar, width, arguments.backends or can_run, arguments.device, arguments.frames, arguments.threads
        )
        for row in rows:
            samples = f"{row['samples_per_frame']:,}" if row["samples_per_frame"] is not None else "-"
            print(
                f"{row['backend']:>10} {row['width']}x{row['height']}: {row['fps']:8.2f} fps, "
                f"p50 {row['frame_ms_p50']:.2f} ms, p95 {row['frame_ms_p95']:.2f} ms (fold {row['fold_ms_p50']:.2f}), "
                f"{samples} samples, {row['ratio_to_reference']:.0f}x reference, {row['psnr_to_reference_db']:.1f} dB",
                flush=True,
            )
        results += rows
    document = {"machine": machine(), "avatar": arguments.avatar or "synthetic head", "results": results}
    check_render_results(document)
    if arguments.json:
        arguments.json.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
