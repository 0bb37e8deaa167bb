"""Table 4 of the paper: how well motion models reconstruct head motion of a real person that they were not shown, and
how well they go on from a beginning of it.

    .venv/bin/python benchmarks/bench_motion.py --track FILE [--seeds N] [--betas B ...] [--json OUT]

FILE is a ``track_params.pt`` as AD-NeRF-style trackers write it; its last eleventh is held out. Every model is trained
with the same steps, examples and latent size, and has as many weights. Beta is the price of a nat: each model is
trained at several, and compared at the same beta and at the same rate. ``--validation`` measures the last eleventh of
the training frames in place of the test frames; choices were made there. OUT is written anew after each training, and
with ``--resume`` the trainings that it holds are not done again. Terms are defined in docs/motion.md. Exit status 2:
the track or OUT cannot be used; one line says why.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lips_measures import table
from motion_continuation import HELD_POSE, HORIZONS, SHORTEST_FRAMES, continuation
from motion_reconstruction import Scores, Split, at_rate, row_scores
from result_schema import machine, read_results, write_results

from dfanerf_rt.errors import ClipError, DfanerfError
from dfanerf_rt.motion.model import MotionConfig
from dfanerf_rt.motion.track import load_track
from dfanerf_rt.motion.twins import TWINS

OURS = "Transformer GP-VAE"
BETAS = (0.01, 0.1, 0.3)
COLUMNS = {
    "d_rot": "D-Rot %",
    "d_pos": "D-Pos %",
    "d_rot_sample": "of a sample",
    "d_pos_sample": "of a sample",
    "rate_nats": "nats/frame",
    "bound_nats": "bound",
    "prior_position_ratio": "prior: position",
    "prior_velocity_ratio": "velocity",
    "prior_acceleration_ratio": "acceleration",
    "prior_spectrum_db": "spectrum dB",
    "training_s": "training s",
}
RECONSTRUCTION, GENERATION = "reconstruction", "generation"
GENERATED = tuple(
    f"{measure}_{part}_{name}" for measure in ("d", "d_mean", "crps") for part in ("rot", "pos") for name in HORIZONS
)
Found = dict[tuple[str, float, int], Scores]
"""By model, beta and seed."""


def bench(arguments: argparse.Namespace, split: Split, subject: str, found: Found) -> list[dict[str, Any]]:
    """Train every model that is not in ``found`` at every beta with every seed; rows of results."""
    count = len(split.measured)
    held = continuation(None, None, split.measured.head_pose, torch.Generator())
    still = _rows(GENERATION, HELD_POSE, subject, {0: held}, count)
    for beta in arguments.betas:
        for name in arguments.models:
            for seed in range(arguments.seeds):
                if (name, beta, seed) in found:
                    continue
                found[name, beta, seed] = row_scores(name, split, beta, seed, arguments.steps)
                _say(name, beta, seed, found[name, beta, seed])
                _write(arguments, _all_rows(arguments, found, subject, count) + still)
    for beta in arguments.betas:
        _show_beta(arguments, found, beta, count, held)
    rows = _all_rows(arguments, found, subject, count) + still + _equal_rate(arguments, found, subject, count)
    _write(arguments, rows)
    return rows


def _say(name: str, beta: float, seed: int, one: Scores) -> None:
    print(
        f"{name}, beta {beta:g}, seed {seed}: D-Rot {one['d_rot']:.2f} %, D-Pos {one['d_pos']:.2f} %, "
        f"{one['rate_nats']:.2f} nats a frame, 0.2 s ahead CRPS {one['crps_rot_0.2s']:.2f} and "
        f"{one['crps_pos_0.2s']:.2f} % ({one['training_s']:.0f} s)",
        file=sys.stderr,
        flush=True,
    )


def _all_rows(arguments: argparse.Namespace, found: Found, subject: str, count: int) -> list[dict[str, Any]]:
    """Every measure of every seed that has been trained, and their means."""
    rows: list[dict[str, Any]] = []
    for beta in arguments.betas:
        for name in arguments.models:
            each = {seed: found[name, beta, seed] for seed in range(arguments.seeds) if (name, beta, seed) in found}
            if not each:
                continue
            for part, of_part in ((RECONSTRUCTION, False), (GENERATION, True)):
                chosen = {s: {k: v for k, v in one.items() if (k in GENERATED) == of_part} for s, one in each.items()}
                rows += _rows(part, name, subject, chosen, count, beta=beta)
    return rows


def _show_beta(arguments: argparse.Namespace, found: Found, beta: float, count: int, held: Scores) -> None:
    def lines(keys: Any) -> list[list[str]]:
        each = {name: [found[name, beta, seed] for seed in range(arguments.seeds)] for name in arguments.models}
        return [
            [name, *(_mean_and_spread([one[key] for one in scores]) for key in keys)] for name, scores in each.items()
        ]

    title = f"reconstruction of {count} frames, beta {beta:g}"
    _show(title, table(["model", *COLUMNS.values()], lines(COLUMNS)))
    for measure, what in (("d", "a sample"), ("d_mean", "the mean of samples"), ("crps", "CRPS")):
        keys = [f"{measure}_{part}_{name}" for part in ("rot", "pos") for name in HORIZONS]
        headings = [f"{part} {name}" for part in ("D-Rot", "D-Pos") for name in HORIZONS]
        still = [HELD_POSE, *(f"{held[key]:.2f}" for key in keys)]
        _show(f"generation, beta {beta:g}: {what}, %", table(["model", *headings], [*lines(keys), still]))


def _equal_rate(arguments: argparse.Namespace, found: Found, subject: str, count: int) -> list[dict[str, Any]]:
    """All at the rate of our model at its own beta, interpolated between the betas they were trained for."""
    own = MotionConfig().beta
    if (OURS, own, 0) not in found:
        return []
    rate = float(np.mean([found[OURS, own, seed]["rate_nats"] for seed in range(arguments.seeds)]))
    rows, lines = [], []
    for name in arguments.models:
        each: dict[int, Scores] = {}
        for seed in range(arguments.seeds):
            points = [found[name, beta, seed] for beta in arguments.betas]
            values = {key: at_rate(points, rate, key) for key in ("d_rot", "d_pos", "d_rot_sample", "d_pos_sample")}
            if name == OURS:
                values = {key: found[name, own, seed][key] for key in values}
            known = {key: value for key, value in values.items() if value is not None}
            if len(known) == len(values):
                each[seed] = known
        if each:
            rows += _rows("reconstruction, equal rate", name, subject, each, count, rate_nats=rate)
            keys = next(iter(each.values()))
            lines.append([name, *(_mean_and_spread([scores[key] for scores in each.values()]) for key in keys)])
        else:
            print(f"{name}: {rate:.2f} nats a frame is outside of its rates at these betas", file=sys.stderr)
    headings = ["model", "D-Rot %", "D-Pos %", "of a sample", "of a sample"]
    _show(f"all at {rate:.2f} nats a frame", table(headings, lines))
    return rows


def _rows(
    part: str, model: str, subject: str, each: dict[int, Scores], count: int, **more: float
) -> list[dict[str, Any]]:
    """Every seed's measures, then their means and spreads; ``more`` stands beside the keys of the schema."""
    same = {"part": part, "model": model, "subject": subject, **more}
    rows: list[dict[str, Any]] = []
    for seed, scores in each.items():
        rows += [
            {**same, "seed": seed, "measure": key, "value": value, "spread": None, "count": count}
            for key, value in scores.items()
        ]
    for key in next(iter(each.values())):
        values = [scores[key] for scores in each.values()]
        spread = float(np.std(values, ddof=1)) if len(values) > 1 else None
        mean = float(np.mean(values))
        rows.append({**same, "seed": None, "measure": key, "value": mean, "spread": spread, "count": count})
    return rows


def _mean_and_spread(values: list[float]) -> str:
    mean = f"{np.mean(values):.2f}"
    return f"{mean} ± {np.std(values, ddof=1):.2f}" if len(values) > 1 else mean


def _resumed(arguments: argparse.Namespace) -> Found:
    """The trainings that the file of results holds already."""
    if not arguments.resume or not arguments.json or not arguments.json.is_file():
        return {}
    document = read_results(arguments.json)
    if (document.get("steps"), document.get("measured")) != (arguments.steps, _measured(arguments)):
        raise ClipError(f"{arguments.json}: results of other settings; leave --resume out, or choose another file")
    found: Found = {}
    for row in document["results"]:
        if row["seed"] is not None and row.get("beta") is not None:
            found.setdefault((row["model"], row["beta"], row["seed"]), {})[row["measure"]] = row["value"]
    return found


def _measured(arguments: argparse.Namespace) -> str:
    return "validation" if arguments.validation else "held out"


def _write(arguments: argparse.Namespace, rows: list[dict[str, Any]]) -> None:
    if arguments.json:
        same = {"kind": "motion", "machine": machine(), "measured": _measured(arguments), "steps": arguments.steps}
        write_results(arguments.json, {**same, "results": rows})


def _show(title: str, text: str) -> None:
    print(f"\n{title}\n{text}", flush=True)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--track", type=Path, required=True, help="3DMM parameter file of a real person")
    parser.add_argument("--models", nargs="+", choices=list(TWINS), default=list(TWINS), help="rows of the table")
    parser.add_argument("--betas", type=float, nargs="+", default=BETAS, help="prices of a nat")
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each row")
    parser.add_argument("--steps", type=int, help="of a training; those of the package by default")
    parser.add_argument("--validation", action="store_true", help="measure where choices are made, not the test frames")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, help="write the results here, anew after each training")
    parser.add_argument("--resume", action="store_true", help="do not repeat the trainings that --json holds")
    arguments = parser.parse_args(argv)
    torch.set_num_threads(arguments.threads)
    try:
        track = load_track(arguments.track)
        split = Split.of(track, arguments.validation)
        if len(split.measured) < SHORTEST_FRAMES:
            found = f"{len(track)} frames, of which {len(split.measured)} are measured"
            raise ClipError(f"{arguments.track}: {found}, expected {SHORTEST_FRAMES} or more of these")
        bench(arguments, split, arguments.track.stem, _resumed(arguments))
    except (DfanerfError, ValueError) as fault:
        print(f"bench_motion: {fault}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
