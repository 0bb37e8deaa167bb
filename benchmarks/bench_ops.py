"""Every operator on every backend that can run, forward and backward, checked against the reference before timed.

    .venv/bin/python benchmarks/bench_ops.py [--samples 65536] [--device cuda] [--operators hash_encode] [--json OUT]

Inputs are the samples of random training rays through the synthetic head. A result is right if at most one value in a
thousand differs from the reference's by more than a thousandth of its largest (values on the edge of a cell do), and
a picture if it has 40 dB; a backend that is wrong is not timed, and the exit status is 1. Times are of the whole call
from Python, on a GPU between device events.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from op_cases import CASES, Case, make_scene
from result_schema import machine, write_results
from timing import p50, p95, time_calls

from dfanerf_rt.ops.dispatch import reasons

MAX_MISMATCH = 1e-3
TOLERANCE = 1e-3
MIN_PSNR_DB = 40.0

Tensors = tuple[torch.Tensor, ...]


def mismatch(found: Tensors, expected: Tensors, exact: bool) -> float:
    """Share of values that differ; of pictures, 0 or 1. What is not finite differs."""
    worst = 0.0
    for ours, theirs in zip(found, expected, strict=True):
        if ours.shape != theirs.shape or not bool(torch.isfinite(ours).all()):
            return 1.0
        if theirs.numel() == 0:
            continue
        if exact:
            far = (ours - theirs).abs() > TOLERANCE * theirs.abs().max().clamp(min=1e-12)
            worst = max(worst, float(far.float().mean()))
        else:
            error = float((ours - theirs).square().mean())
            worst = max(worst, float(-10.0 * math.log10(error + 1e-12) < MIN_PSNR_DB))
    return worst


def prepare(case: Case, backend: str, direction: str) -> tuple[Callable[[], Tensors], Tensors]:
    """The call to time, and its result: the operator, or the backward pass of one forward."""
    if direction == "forward":

        def call() -> Tensors:
            with torch.no_grad():
                return case.run(backend)

    else:
        outputs = case.run(backend)
        generator = torch.Generator().manual_seed(1)
        seeds = [torch.randn(out.shape, generator=generator).to(out.device) for out in outputs]

        def call() -> Tensors:
            return torch.autograd.grad(outputs, case.leaves, seeds, retain_graph=True)

    return call, call()


def bench_case(
    operator: str, case: Case, backends: list[str], device: str, max_calls: int, seconds: float
) -> tuple[list[dict[str, Any]], list[str]]:
    """Rows of one operator, the reference's among them, and what was wrong."""
    rows: list[dict[str, Any]] = []
    wrong = []
    for direction in ("forward", "backward") if case.leaves else ("forward",):
        expected: Tensors | None = None
        reference_ms = math.nan
        for backend in ["reference", *(name for name in backends if name != "reference")]:
            where = f"{operator} {direction} on {backend}"
            if expected is None and backend != "reference":
                wrong.append(f"{where}: not timed, since the reference that it is checked against did not run")
                continue
            try:
                call, found = prepare(case, backend, direction)
                difference = 0.0 if expected is None else mismatch(found, expected, case.exact)
                if difference > MAX_MISMATCH:
                    wrong.append(f"{where}: {difference:.2%} of the values differ from the reference's; not timed")
                    continue
                times = time_calls(call, device, max_calls, seconds)
            except RuntimeError as fault:  # also BackendUnavailable, where a library turns out not to work
                wrong.append(f"{where}: {' '.join(str(fault).split())[:300]}")
                continue
            middle = p50(times)
            if expected is None:
                expected, reference_ms = found, middle
            rows.append(
                {
                    "operator": operator,
                    "direction": direction,
                    "backend": backend,
                    "device": device,
                    "threads": torch.get_num_threads() if torch.device(device).type == "cpu" else None,
                    "samples": case.n_samples,
                    "ms_p50": middle,
                    "ms_p95": p95(times),
                    "ms_min": min(times),
                    "spread_ms": p95(times) - middle,
                    "calls": len(times),
                    "samples_per_s": case.n_samples / (middle * 1e-3),
                    "mismatch": difference,
                    "ratio_to_reference": reference_ms / middle,
                }
            )
    return rows, wrong


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=1 << 16, help="samples of a call, about")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--operators", nargs="+", choices=sorted(CASES), default=sorted(CASES), metavar="NAME")
    parser.add_argument("--backends", nargs="+", help="default: all that can run; the reference always does")
    parser.add_argument("--calls", type=int, default=50, help="calls to time, at most")
    parser.add_argument("--seconds", type=float, default=1.0, help="time to spend on a row, about")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--json", type=Path, help="write the results here")
    arguments = parser.parse_args(argv)
    torch.set_num_threads(arguments.threads)
    device = arguments.device
    if torch.device(device).type == "cuda" and not torch.cuda.is_available():
        sys.exit("bench_ops: --device cuda, but torch finds no CUDA GPU here")
    scene = make_scene(arguments.samples, device)
    rows: list[dict[str, Any]] = []
    absent: dict[str, dict[str, str]] = {}
    wrong: list[str] = []
    for operator in arguments.operators:
        why = reasons(operator, torch.device(device).type)
        names = [name for name in why if arguments.backends is None or name in arguments.backends]
        absent[operator] = {name: reason for name in names if (reason := why[name]) is not None}
        able = [name for name in names if why[name] is None]
        case = CASES[operator](scene)
        found, faults = bench_case(operator, case, able, device, arguments.calls, arguments.seconds)
        wrong += faults
        rows += found
        for row in found:
            print(
                f"{operator:>15} {row['direction']:<8} {row['backend']:<9} p50 {row['ms_p50']:9.3f} ms, "
                f"p95 {row['ms_p95']:9.3f} ms, {row['samples_per_s'] / 1e6:8.2f} M samples/s, "
                f"{row['ratio_to_reference']:6.1f}x reference",
                flush=True,
            )
        if absent[operator]:
            print(
                f"{operator:>15} absent: " + "; ".join(f"{name}: {reason}" for name, reason in absent[operator].items())
            )
    document = {"kind": "ops", "machine": machine(), "absent": absent, "results": rows}
    if arguments.json:
        write_results(arguments.json, document)
    for fault in wrong:
        print(f"bench_ops: {fault}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
