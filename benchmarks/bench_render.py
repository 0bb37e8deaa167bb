"""Frames a second of the renderer, checked against the reference before it is timed.

    .venv/bin/python benchmarks/bench_render.py [--avatar FILE] [--sizes 128 256 384 512 768 1024] [--threads 1 2]
        [--device cuda] [--backends cpu reference] [--json OUT]
    .venv/bin/python benchmarks/bench_render.py --sizes 256 --quality [--clip CLIP]

A frame is what the live loop asks of a session: fold a new condition and head pose, then render. Without --avatar
it is a head made by formula (dfanerf_rt/render/synthetic.py), whose rays need as many samples as a trained one does.

The reference backend renders at every size and with the largest number of threads, as often as fits into a second and
once at least; nothing is extrapolated. Where it is not run (--reference-max) or with other numbers of threads, its
ratio is null, and ``null_because`` says why. Shares of the ceilings are those of ceilings.py. Exit status 1: a picture
or a score of --quality differs from the reference's by more than is allowed; all else is still measured and written.
"""

from __future__ import annotations

import argparse
import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ceilings
import torch
from render_quality import MIN_PSNR_DB, clip_scores, compare_pictures, faults, mean_error_255, psnr_db
from result_schema import machine, write_results
from timing import Clock, p50, p95

from dfanerf_rt.avatar import Avatar
from dfanerf_rt.errors import DfanerfError
from dfanerf_rt.field.config import CONDITION_DIM
from dfanerf_rt.field.field import ConditionalField
from dfanerf_rt.ops.dispatch import reasons
from dfanerf_rt.render.session import RenderSession
from dfanerf_rt.render.synthetic import head_avatar

SIZES_PX = (128, 256, 384, 512, 768, 1024)
BASELINE = "nerfacc"
N_INPUTS = 16
"""Frames that are rendered in turn; no two that follow each other are the same."""
REFERENCE_SECONDS = 1.0

Inputs = list[tuple[torch.Tensor, torch.Tensor]]


@dataclass(frozen=True)
class Effort:
    """How long one row is timed."""

    frames: int
    seconds: float


def frame_inputs(avatar: Avatar, n_frames: int) -> Inputs:
    """Conditions (48,) and head poses (6,): recorded poses where the avatar has some, a slow turn where not.

    They lie on the CPU, whatever renders: there the live loop makes them.
    """
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
        condition = field["condition_mean"] + field["condition_std"] * normal
        inputs.append((condition, pose))
    return inputs


def count_samples(session: RenderSession, inputs: Inputs) -> int | None:
    """Samples that the network evaluates for a frame, the mean of the inputs; None where the backend counts none."""
    counts = []
    for condition, head_pose in inputs:
        session.fold(condition, head_pose)
        session.render()
        counts.append(session.samples)
    return None if None in counts else round(sum(count or 0 for count in counts) / len(counts))


def measure(session: RenderSession, inputs: Inputs, effort: Effort, min_frames: int = 5) -> dict[str, Any]:
    """Milliseconds of fold and render; a frame lasts until the next one begins."""
    clock = Clock(session.device.type)
    starts, folded = [], []
    clock.wait()
    for index in clock.rounds(effort.frames, effort.seconds, min(min_frames, effort.frames)):
        condition, head_pose = inputs[index % len(inputs)]
        starts.append(clock.mark())
        session.fold(condition, head_pose)
        folded.append(clock.mark())
        session.render()
    ends = [*starts[1:], clock.mark()]
    clock.wait()
    frames = [clock.between_ms(start, end) for start, end in zip(starts, ends, strict=True)]
    folds = [clock.between_ms(start, end) for start, end in zip(starts, folded, strict=True)]
    return {
        "fps": 1e3 / p50(frames),
        "frame_ms_p50": p50(frames),
        "frame_ms_p95": p95(frames),
        "frame_ms_min": min(frames),
        "fold_ms_p50": p50(folds),
        "frames": len(frames),
    }


@dataclass(frozen=True)
class Reference:
    """What the reference backend made of the first frame, and how long it took; ``times`` None: it was not run."""

    picture: torch.Tensor | None
    times: dict[str, Any] | None
    threads: int
    why_not: str | None


def run_reference(avatar: Avatar, width: int, device: str, inputs: Inputs, limit_px: int, threads: int) -> Reference:
    """Render with the reference backend, unless the picture is larger than ``limit_px``."""
    if width > limit_px:
        return Reference(None, None, threads, f"the reference was not run above {limit_px} px (--reference-max)")
    torch.set_num_threads(threads)
    session = RenderSession(avatar, device, width, "reference")
    if torch.device(device).type == "cuda":
        session.fold(*inputs[-1])  # a GPU's first launch of each kernel is slow
        session.render()
    times = measure(session, inputs, Effort(len(inputs), REFERENCE_SECONDS), min_frames=1)
    session.fold(*inputs[0])
    return Reference(session.render().cpu().clone(), times, threads, None)


def bench_backend(
    avatar: Avatar, width: int, backend: str, device: str, threads: int, effort: Effort, reference: Reference
) -> dict[str, Any]:
    """The row of one backend; :class:`ValueError` where its picture is not the reference's."""
    torch.set_num_threads(threads)
    inputs = frame_inputs(avatar, min(N_INPUTS, max(2, effort.frames)))
    session = RenderSession(avatar, device, width, backend, n_threads=threads)
    row: dict[str, Any] = {"backend": backend, "device": device, "width": session.width, "height": session.height}
    row["threads"] = threads if torch.device(device).type == "cpu" else None
    psnr = error = ratio = None
    if reference.picture is not None:
        session.fold(*inputs[0])
        picture = session.render().cpu()
        psnr, error = psnr_db(picture, reference.picture), mean_error_255(picture, reference.picture)
        if psnr < MIN_PSNR_DB:
            raise ValueError(f"{psnr:.1f} dB against the reference at {width} px, expected {MIN_PSNR_DB}; not timed")
    samples = count_samples(session, inputs)
    times = measure(session, inputs, effort)
    why = reference.why_not
    if reference.times is not None and threads == reference.threads:
        ratio = reference.times["frame_ms_p50"] / times["frame_ms_p50"]
    elif reference.times is not None:
        why = f"the reference was timed with {reference.threads} threads"
    return {
        **row,
        **times,
        "samples_per_frame": samples,
        "samples_per_ray": samples / (session.width * session.height) if samples is not None else None,
        "samples_per_s": samples * times["fps"] if samples is not None else None,
        "ratio_to_reference": ratio,
        "psnr_to_reference_db": psnr,
        "mean_error_255": error,
        "null_because": why,
    }


def reference_row(reference: Reference, width: int, height: int, device: str) -> dict[str, Any]:
    """The reference's own row. It counts no samples: it evaluates all that are occupied, hidden ones too."""
    return {
        "backend": "reference",
        "device": device,
        "width": width,
        "height": height,
        "threads": reference.threads if torch.device(device).type == "cpu" else None,
        **(reference.times or {}),
        **dict.fromkeys(("samples_per_frame", "samples_per_ray", "samples_per_s", "null_because")),
        "ratio_to_reference": 1.0,
        "psnr_to_reference_db": 99.0,
        "mean_error_255": 0.0,
    }


def compare_with_limits(rows: list[dict[str, Any]], avatar: Avatar, limits: list[dict[str, Any]]) -> None:
    """Write work a frame, shares of the ceilings, and the ratio to nerfacc and torch into rows."""
    config = ConditionalField.from_avatar(avatar).config
    multiply_adds, gathers = ceilings.work_per_sample(config)
    by_threads = {limit["threads"]: limit for limit in limits}
    baselines = {(row["width"], row["threads"]): row for row in rows if row["backend"] == BASELINE}
    for row in rows:
        samples, limit = row["samples_per_frame"], by_threads.get(row["threads"], {})
        for name, work in (("multiply_adds", multiply_adds), ("gathers", gathers)):
            ceiling = limit.get(f"{name}_per_s")
            row[f"{name}_per_frame"] = None if samples is None else samples * work
            row[f"share_of_{name}"] = None if samples is None or not ceiling else samples * work * row["fps"] / ceiling
        baseline = baselines.get((row["width"], row["threads"]))
        row["ratio_to_nerfacc"] = baseline["frame_ms_p50"] / row["frame_ms_p50"] if baseline else None


def report(row: dict[str, Any]) -> str:
    """A line for people."""

    def number(key: str, form: str, unit: str) -> str:
        return f", {row[key]:{form}} {unit}" if row.get(key) is not None else ""

    threads = f" {row['threads']} threads" if row["threads"] else ""
    work = ""
    if row["samples_per_frame"] is not None:
        work = (
            f", {row['samples_per_frame']:,} samples ({row['samples_per_ray']:.1f} a ray)"
            f", {row['multiply_adds_per_frame'] / 1e9:.2f} G multiply-adds"
            + number("share_of_multiply_adds", ".0%", "of the ceiling")
            + f", {row['gathers_per_frame'] / 1e6:.0f} M gathers"
            + number("share_of_gathers", ".0%", "of the ceiling")
        )
    return (
        f"{row['backend']:>10} {row['width']}x{row['height']}{threads}: {row['fps']:8.2f} fps, "
        f"p50 {row['frame_ms_p50']:.2f} ms, p95 {row['frame_ms_p95']:.2f} ms (fold {row['fold_ms_p50']:.2f})"
        + work
        + number("ratio_to_reference", ".1f", "x reference")
        + number("ratio_to_nerfacc", ".1f", "x nerfacc + torch")
        + number("psnr_to_reference_db", ".1f", "dB")
    )


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--avatar", help="file, or the name of a bundled avatar; a synthetic head without it")
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES_PX), metavar="PX", help="widths")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--backends", nargs="+", help="default: all that can run")
    parser.add_argument("--frames", type=int, default=100, help="frames to time, at most")
    parser.add_argument("--seconds", type=float, default=10.0, help="time to spend on a row, about")
    parser.add_argument("--threads", type=int, nargs="+", default=[torch.get_num_threads()], help="of CPU backends")
    parser.add_argument("--reference-max", type=int, default=1 << 20, metavar="PX", help="largest width it renders")
    parser.add_argument("--quality", action="store_true", help="also score several frames against the reference")
    parser.add_argument("--clip", type=Path, help="with --quality: also against the held-out frames of this clip")
    parser.add_argument("--quality-frames", type=int, default=4, help="frames that --quality renders")
    parser.add_argument("--json", type=Path, help="write the results here")
    arguments = parser.parse_args(argv)
    if arguments.clip and not arguments.quality:
        parser.error("--clip is read by --quality alone")
    return arguments


def main(argv: list[str] | None = None) -> int:
    arguments = parse(argv)
    device, on_gpu = arguments.device, torch.device(arguments.device).type == "cuda"
    if on_gpu and not torch.cuda.is_available():
        sys.exit("bench_render: --device cuda, but torch finds no CUDA GPU here")
    try:
        avatar = Avatar.load(arguments.avatar) if arguments.avatar else head_avatar()
    except DfanerfError as fault:
        sys.exit(f"bench_render: {fault}")
    why = reasons("render_field", torch.device(device).type)
    unknown = [name for name in arguments.backends or [] if name not in why]
    if unknown:
        sys.exit(f"bench_render: backend {unknown[0]!r} is not known; expected some of {', '.join(why)}")
    wanted = arguments.backends or list(why)
    absent = {name: reason for name in wanted if (reason := why[name]) is not None}
    backends = [name for name in wanted if name not in absent]
    for name, reason in absent.items():
        print(f"{name:>10} absent: {reason}")
    most = max(arguments.threads)
    thread_counts = [most] if on_gpu else sorted(set(arguments.threads))
    effort = Effort(max(1, arguments.frames), arguments.seconds)
    limits = [ceilings.measure(device, None if on_gpu else count) for count in thread_counts]
    rows: list[dict[str, Any]] = []
    wrong: list[str] = []
    for width in arguments.sizes:
        inputs = frame_inputs(avatar, min(N_INPUTS, max(2, effort.frames)))
        reference = run_reference(avatar, width, device, inputs, arguments.reference_max, most)
        found = []
        for backend in backends:
            if backend == "reference":
                height = reference.picture.shape[0] if reference.picture is not None else 0
                found += [reference_row(reference, width, height, device)] if height else []
                continue
            for threads in thread_counts:
                try:
                    found.append(bench_backend(avatar, width, backend, device, threads, effort, reference))
                except (ValueError, RuntimeError, DfanerfError) as fault:
                    absent[backend] = str(fault)
                    wrong.append(f"{backend}: {fault}")
                    break
        compare_with_limits(found, avatar, limits)
        for row in found:
            print(report(row), flush=True)
        rows += found
    print_scaling(rows)
    document = {
        "kind": "render",
        "machine": machine(),
        "avatar": Path(arguments.avatar).name if arguments.avatar else "synthetic head",
        "ceilings": limits,
        "absent": absent,
        "results": rows,
    }
    if arguments.quality:
        others = [name for name in backends if name != "reference" and name not in absent]
        torch.set_num_threads(most)
        quality = [
            compare_pictures(avatar, width, name, device, frame_inputs(avatar, arguments.quality_frames))
            for width in arguments.sizes
            if width <= arguments.reference_max
            for name in others
        ]
        if arguments.clip:
            try:
                quality += clip_scores(avatar, arguments.clip, others, device, arguments.quality_frames)
            except (ValueError, DfanerfError) as fault:
                wrong.append(f"--clip: {fault}")
        document["quality"] = quality
        wrong += [fault for row in quality for fault in faults(row)]
    if arguments.json:
        write_results(arguments.json, document)
    for fault in wrong:
        print(f"bench_render: {fault}", file=sys.stderr)
    return 1 if wrong else 0


def print_scaling(rows: list[dict[str, Any]]) -> None:
    """What more threads were worth."""
    for row in rows:
        same = [r for r in rows if all(r[key] == row[key] for key in ("backend", "device", "width"))]
        one = next((r for r in same if r["threads"] == 1), None)
        if one is not None and row is not one:
            gain = one["frame_ms_p50"] / row["frame_ms_p50"]
            print(f"{row['backend']:>10} {row['width']} px: {row['threads']} threads are worth {gain:.2f}x one")


if __name__ == "__main__":
    sys.exit(main())
