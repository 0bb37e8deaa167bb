"""How well an audio encoder that is fine-tuned to a person moves that person's lips, on speech it has not heard.

    .venv/bin/python benchmarks/bench_person_lips.py --clips CLIP... [--seeds N] [--json OUT]

The frames that ``dfanerf train`` would learn from are left out in turn, a quarter at a time in three stretches, each
quarter predicted by an encoder that learned from the others; and the frames held out are predicted by one that learned
from all. The first is of ten times as many frames: the end of one clip can be easy or hard. Each is done with the codes
brought into the person's range first (docs/lips.md) and without. Results are rows of the kind "lips".
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from lips_faces import Face, open_face
from lips_measures import Scores, encoded, opening_and_width, rows, table
from result_schema import machine, write_results

from dfanerf_rt.clip.format import Clip
from dfanerf_rt.errors import DfanerfError
from dfanerf_rt.evaluate.lips import correlation
from dfanerf_rt.sync.model import LIVE_LOOKAHEAD_MS, AudioEncoder
from dfanerf_rt.train.sync import train_sync
from dfanerf_rt.train.sync_corpus import FINE_TUNING, SyncTraining

N_PARTS, N_STRETCHES = 4, 3
LEFT_OUT, HELD_OUT = "left out in turn", "held out"
STARTS = {"as bundled": False, "in the person's range": True}
MEASURES = ("explained", "opening_corr", "amplitude")


def parts(n_train: int) -> np.ndarray:
    """(n_train,) which part a frame belongs to: each part is three stretches spread over the clip."""
    return np.arange(n_train) * (N_PARTS * N_STRETCHES) // n_train % N_PARTS


def predicted(face: Face, kept: np.ndarray, training: SyncTraining, seed: int) -> torch.Tensor:
    """Codes (T, code_dim) of all frames, by an encoder that learned from the ``kept`` (n_train,) ones."""
    encoder = train_sync(
        face.samples,
        face.mouth_code[: face.n_train],
        face.attributes,
        training=training,
        init=AudioEncoder.bundled(),
        seed=seed,
        tracked=torch.from_numpy(kept),
    )
    return encoded(encoder, LIVE_LOOKAHEAD_MS)(face.samples, len(face.mouth_code))


def scores(face: Face, codes: torch.Tensor, frames: slice) -> Scores:
    """Of predicted codes (T, code_dim) on some frames.

    ``explained`` is the share of the mouth codes' variance about the mean of the training frames that is predicted.
    """
    true, mean = face.mouth_code[frames], face.mouth_code[: face.n_train].mean(dim=0)
    error = float((true - codes[frames]).square().sum() / (true - mean).square().sum())
    opening, _ = opening_and_width(codes[frames], face.attributes)
    tracked = face.opening_mm[frames]
    found = (1.0 - error, correlation(opening, tracked), float(opening.std() / tracked.std()))
    return {name: (value, len(tracked)) for name, value in zip(MEASURES, found, strict=True)}


def measure(face: Face, training: SyncTraining, seed: int) -> dict[str, Scores]:
    """Scores by which frames they are of."""
    part = parts(face.n_train)
    in_turn = face.mouth_code.clone()
    for number in range(N_PARTS):
        left_out = np.flatnonzero(part == number)
        in_turn[left_out] = predicted(face, part != number, training, seed)[left_out]
    last = predicted(face, np.ones(face.n_train, dtype=bool), training, seed)
    return {
        LEFT_OUT: scores(face, in_turn, slice(0, face.n_train)),
        HELD_OUT: scores(face, last, slice(face.n_train, None)),
    }


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=Path, nargs="+", required=True, help="prepared clips with sound")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--steps", type=int, default=FINE_TUNING.steps, help="of a fine-tuning")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, help="write the results here")
    arguments = parser.parse_args(argv)
    torch.set_num_threads(arguments.threads)
    results, lines = [], []
    try:
        for path in arguments.clips:
            face = open_face(Clip(path), path.name)
            for start, calibrate in STARTS.items():
                training = replace(FINE_TUNING, steps=arguments.steps, calibrate=calibrate)
                for seed in range(arguments.seeds):
                    for part, found in measure(face, training, seed).items():
                        model = f"fine-tuned {start}, seed {seed}"
                        results += rows(part, model, face.name, LIVE_LOOKAHEAD_MS, found)
                        lines.append([face.name, part, start, seed, *(found[name][0] for name in MEASURES)])
    except DfanerfError as fault:
        print(f"bench_person_lips: {fault}", file=sys.stderr)
        return 2
    print(table(["clip", "frames", "codes to begin with", "seed", "explained", "opening corr.", "amplitude"], lines))
    if arguments.json:
        write_results(arguments.json, {"kind": "lips", "machine": machine(), "encoder": "bundled", "results": results})
    return 0


if __name__ == "__main__":
    sys.exit(main())
