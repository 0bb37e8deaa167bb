"""An hour of generated motion of people whom the models have not met: does it stay alive, inside, human, and seamless,
and does it follow the voice?

    .venv/bin/python benchmarks/bench_motion_hour.py --work FOLDER [--people N] [--minutes M] [--clip CLIP ...]
        [--json OUT]

The people are synthetic, of another seed than those the models learned from; what they do and say is made in FOLDER
(minutes of work) and kept. Each is shown to the models by five minutes, as a clip in ``dfanerf train``, and then moves
for an hour to the person's own voice. ``--clip`` adds prepared clips of real people, too short for all but the last
table. Terms are defined in docs/motion.md. Exit status 2: something given cannot be used; one line says why.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lips_measures import table
from motion_hour import Wanted, hour_scores, join_scores, stress_scores, style_scores
from motion_people import CLIP_S, Stranger, adapted, generated, stranger_of_clip, strangers
from result_schema import machine, write_results

from dfanerf_rt.errors import DfanerfError
from dfanerf_rt.motion.models import MotionModels
from dfanerf_rt.motion.track import FPS
from dfanerf_rt.threads import one_thread

GENERATED, DEAF, TRUTH = "generated", "generated, no sound", "truth"
CLIP_SEEDS = 6
"""Generated motions of a real clip, which is too short for one to tell anything."""


def bench_person(person: Stranger, models: MotionModels, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """All rows of one synthetic person."""
    began_s = time.monotonic()
    personal, outcomes = adapted(person, models, arguments.clip_s)
    n_frames = round(60 * arguments.minutes * FPS)
    moved = generated(personal, person.audio_code, n_frames, arguments.seed)
    n_told = min(round(60 * arguments.told_minutes * FPS), n_frames, len(person.track))
    deaf = generated(personal, None, n_told, arguments.seed)
    shown = person.clip(arguments.clip_s).track
    block = models.head_encoder.config.block_frames
    parts = {
        GENERATED: hour_scores(moved, person.track, shown)
        | join_scores(moved.head_pose.numpy(), block)
        | style_scores(moved, person.track, shown)
        | stress_scores(moved.cut(slice(0, n_told)), person.stress[:n_told].numpy()),
        DEAF: stress_scores(deaf, person.stress[:n_told].numpy()),
        TRUTH: hour_scores(person.track, person.track, shown)
        | style_scores(person.track, person.track, shown)
        | stress_scores(person.track.cut(slice(0, n_told)), person.stress[:n_told].numpy()),
    }
    for name, outcome in outcomes.items():
        if outcome.before is not None and outcome.after is not None:
            parts[GENERATED] |= {f"gain_nats_before_{name}": outcome.before, f"gain_nats_after_{name}": outcome.after}
    rows = [row for model, found in parts.items() for row in _rows(model, person.name, arguments.seed, found, n_frames)]
    print(f"{person.name}: {time.monotonic() - began_s:.0f} s", file=sys.stderr, flush=True)
    return rows


def bench_clip(folder: Path, models: MotionModels, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Rows of a real person: style, and stress where there is a voice, over several seeds."""
    person = stranger_of_clip(folder)
    track, code = person.track, person.audio_code
    personal, _ = adapted(person, models, track.duration_s)
    found: dict[str, list[dict[str, float]]] = {GENERATED: [], DEAF: []}
    for seed in range(CLIP_SEEDS):
        for name, heard in ((GENERATED, code), (DEAF, None)):
            moved = generated(personal, heard, len(track), seed)
            scores = style_scores(moved, track, track) if name == GENERATED else {}
            found[name].append(scores | stress_scores(moved, person.stress.numpy()))
    truth = style_scores(track, track, track) | stress_scores(track, person.stress.numpy())
    rows = _rows(TRUTH, folder.name, None, truth, len(track))
    for name, each in found.items():
        for key in each[0]:
            values = [scores[key] for scores in each]
            spread = float(np.std(values, ddof=1))
            rows += _rows(name, folder.name, None, {key: float(np.mean(values))}, len(track), spread)
    return rows


def _rows(
    model: str, subject: str, seed: int | None, found: dict[str, float], count: int, spread: float | None = None
) -> list[dict[str, Any]]:
    same = {"part": "hour", "model": model, "subject": subject, "seed": seed, "spread": spread, "count": count}
    return [{**same, "measure": key, "value": value} for key, value in found.items() if np.isfinite(value)]


def report(rows: list[dict[str, Any]], wanted: dict[str, Wanted]) -> str:
    """A line for each measure: what is wanted, and each subject's value, that of the truth behind it."""
    subjects = list(dict.fromkeys(row["subject"] for row in rows))
    value = {(row["model"], row["subject"], row["measure"]): row["value"] for row in rows}
    lines = []
    for key in dict.fromkeys(row["measure"] for row in rows if row["model"] == GENERATED):
        cells = []
        for subject in subjects:
            ours, deaf, true = (value.get((model, subject, key)) for model in (GENERATED, DEAF, TRUTH))
            beside = [f"no sound {deaf:.3g}" if deaf is not None else "", f"{true:.3g}" if true is not None else ""]
            behind = ", ".join(part for part in beside if part)
            cells.append("-" if ours is None else f"{ours:.3g}" + (f" ({behind})" if behind else ""))
        lines.append([key, wanted[key].text if key in wanted else "", *cells])
    return table(["measure (of the truth)", "wanted", *subjects], lines)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder for what the people do and say")
    parser.add_argument("--people", type=int, default=4, help="how many synthetic people")
    parser.add_argument("--minutes", type=float, default=60.0, help="of generated motion")
    parser.add_argument("--told-minutes", type=float, default=20.0, help="of it, compared with motion without sound")
    parser.add_argument("--clip-s", type=float, default=CLIP_S, help="seconds of a person that the models are shown")
    parser.add_argument("--clip", type=Path, nargs="+", default=[], help="prepared clips of real people")
    parser.add_argument("--models", type=Path, help="motion models in place of the bundled ones")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, help="write the results here, anew after each person")
    arguments = parser.parse_args(argv)
    torch.set_num_threads(arguments.threads)
    rows: list[dict[str, Any]] = []
    try:
        models = MotionModels.load(arguments.models) if arguments.models else MotionModels.bundled()
        people = strangers(arguments.work, arguments.people, arguments.minutes) if arguments.people else []
        for found in (
            *((lambda person=person: bench_person(person, models, arguments)) for person in people),
            *((lambda clip=clip: bench_clip(clip, models, arguments)) for clip in arguments.clip),
        ):
            with one_thread():
                rows += found()
            if arguments.json:
                write_results(arguments.json, {"kind": "motion", "machine": machine(), "results": rows})
    except DfanerfError as fault:
        print(f"bench_motion_hour: {fault}", file=sys.stderr)
        return 2
    print(report(rows, Wanted.of_the_hour()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
