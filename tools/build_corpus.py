"""Builds the corpus of synthesised speech on which the audio encoder is trained before it meets a person.

    python tools/build_corpus.py --out FOLDER --hours H [--split train|held-out] [--workers N] [--seed S]

Needs the voices that ``.ci/system-packages corpus`` installs; see docs/speech_corpus.md.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from dfanerf_rt.audio.corpus import build_corpus
from dfanerf_rt.audio.corpus_plan import CorpusConfig
from dfanerf_rt.errors import DfanerfError


def main() -> int:
    """Build or open the corpus; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of the corpus")
    parser.add_argument("--hours", type=float, default=1.0, help="length to aim at")
    parser.add_argument("--split", choices=("train", "held-out"), default="train", help="voices and languages")
    parser.add_argument("--workers", type=int, default=1, help="processes at a time")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    start = time.perf_counter()

    def show(done: int, lines: int) -> None:
        left = f"{(time.perf_counter() - start) * (lines / done - 1.0):.0f} s left" if done else ""
        print(f"\r{done}/{lines} lines {left} ", end="", file=sys.stderr, flush=True)

    try:
        config = CorpusConfig(hours=options.hours, split=options.split, seed=options.seed)
        corpus = build_corpus(options.out, config, options.workers, show)
    except DfanerfError as error:
        print(f"build_corpus: {error}", file=sys.stderr)
        return 2
    print(
        f"\n{options.out}: {len(corpus)} utterances, {corpus.hours:.2f} h, {time.perf_counter() - start:.0f} s; "
        f"{corpus.unspoken} lines could not be spoken"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
