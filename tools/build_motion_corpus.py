"""Builds the corpus of synthetic people on which the motion models are trained, and says how they move.

    python tools/build_motion_corpus.py --out FOLDER [--hours H] [--seed S] [--workers N]
        [--statistics [--track FILE] [--clip FOLDER ...]]

Needs espeak-ng alone. ``--statistics`` prints how the people of the corpus move, and beside them a 3DMM parameter file
and prepared clips; docs/motion.md says what each column is.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np

from dfanerf_rt.audio.stress import find_stresses, stress_track
from dfanerf_rt.clip.format import Clip
from dfanerf_rt.clip.motion import motion_of_clip
from dfanerf_rt.clip.motion_corpus import MotionCorpus, MotionCorpusConfig, build_motion_corpus
from dfanerf_rt.errors import DfanerfError
from dfanerf_rt.evaluate.lips import correlation
from dfanerf_rt.evaluate.motion_statistics import MotionStatistics, mean_statistics, statistics_of
from dfanerf_rt.motion.track import load_track

SHORTEST_S = 20.0
"""Takes shorter than this say little about a person."""


def columns_of_corpus(corpus: MotionCorpus) -> list[tuple[str, MotionStatistics]]:
    """The mean over people, and the 5th and 95th percentile of each number among them."""
    people: dict[int, list[MotionStatistics]] = {}
    for take in corpus:
        if take.track.duration_s >= SHORTEST_S:
            people.setdefault(take.persona, []).append(statistics_of(take.track, take.stress.numpy()))
    each = [mean_statistics(found) for found in people.values()]
    low, high = (MotionStatistics(*np.nanpercentile(np.array(each), percent, axis=0).tolist()) for percent in (5, 95))
    return [("corpus, mean", mean_statistics(each)), ("5 %", low), ("95 %", high)]


def stress_readout(corpus: MotionCorpus) -> float:
    """How well stress can be told from audio codes: a ridge regression from 0.64 s of them, 0.12 s of it ahead.

    Fitted on the people of even numbers; the correlation is of those of odd numbers.
    """
    columns: list[tuple[list[np.ndarray], list[np.ndarray]]] = [([], []), ([], [])]
    for take in corpus:
        code = np.pad(take.audio_code.numpy(), ((12, 3), (0, 0)), mode="edge")
        seen, stress = columns[take.persona % 2]
        seen.append(np.lib.stride_tricks.sliding_window_view(code, 16, axis=0).reshape(len(take.track), -1))
        stress.append(take.stress.numpy())
    (seen, stress), (seen_other, stress_other) = ([np.concatenate(part) for part in column] for column in columns)
    mean, spread = seen.mean(axis=0), seen.std(axis=0) + 1e-6
    known = (seen - mean) / spread
    weight = np.linalg.solve(known.T @ known + 1e3 * np.eye(known.shape[1]), known.T @ (stress - stress.mean()))
    return correlation((seen_other - mean) / spread @ weight, stress_other)


def statistics_of_clip(clip: Clip) -> MotionStatistics:
    """Of a prepared clip, with its sound where it has one."""
    track, sound = motion_of_clip(clip), clip.audio()
    if sound is None:
        return statistics_of(track)
    return statistics_of(track, stress_track(find_stresses(sound), len(track), track.fps))


def main() -> int:
    """Build or open the corpus; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of the corpus")
    parser.add_argument("--hours", type=float, default=MotionCorpusConfig.hours, help="length to aim at")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--people", type=int, default=MotionCorpusConfig.n_personas, help="how many")
    parser.add_argument("--take-s", type=float, default=MotionCorpusConfig.take_s, help="least length of a take")
    parser.add_argument("--workers", type=int, default=1, help="processes that speak at a time")
    parser.add_argument("--statistics", action="store_true", help="print how they move")
    parser.add_argument("--track", type=Path, help="a 3DMM parameter file to put beside them")
    parser.add_argument("--clip", type=Path, nargs="+", default=[], help="prepared clips to put beside them")
    options = parser.parse_args()
    start = time.perf_counter()

    def show(share: float, what: str) -> None:
        print(f"\r{what} {share:4.0%} ", end="", file=sys.stderr, flush=True)

    try:
        config = MotionCorpusConfig(options.hours, options.seed, options.people, options.take_s)
        corpus = build_motion_corpus(options.out, config, options.workers, show)
        print(f"\n{options.out}: {len(corpus)} takes, {corpus.hours:.2f} h, {time.perf_counter() - start:.0f} s")
        if options.statistics:
            print(f"stress read out of the audio codes of other people: correlation {stress_readout(corpus):.2f}")
            columns = columns_of_corpus(corpus)
            if options.track is not None:
                columns.append((options.track.stem, statistics_of(load_track(options.track))))
            print(_table([*columns, *((folder.name, statistics_of_clip(Clip(folder))) for folder in options.clip)]))
    except DfanerfError as error:
        print(f"build_motion_corpus: {error}", file=sys.stderr)
        return 2
    return 0


def _table(columns: list[tuple[str, MotionStatistics]]) -> str:
    """Markdown: a row for each number, a column for each of ``columns``."""
    cells = [["", *(name for name, _ in columns)]]
    for index, name in enumerate(MotionStatistics._fields):
        cells.append([name, *("-" if np.isnan(found[index]) else f"{found[index]:.3g}" for _, found in columns)])
    widths = [max(len(row[column]) for row in cells) for column in range(len(columns) + 1)]
    cells.insert(1, ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])])
    aligned = [
        [row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))] for row in cells
    ]
    return "\n".join("| " + " | ".join(row) + " |" for row in aligned)


if __name__ == "__main__":
    sys.exit(main())
