"""Builds the bundled audio encoder: trains E_a on a corpus of synthesised speech.

    .ci/system-packages corpus
    python tools/build_sync.py --work FOLDER [--hours H] [--steps N] [--workers N] [--out FILE]

No recording of a person is used beyond the free voices of Flite and Festival, which docs/speech_corpus.md lists with
their licences. The corpus stays in the folder and is used again. The defaults take about an hour and a quarter on two
cores that other work shares: a quarter for the corpus, an hour of one core for the training.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dfanerf_rt.attributes.model import AttributeModel
from dfanerf_rt.audio.corpus import build_corpus
from dfanerf_rt.audio.corpus_plan import CorpusConfig
from dfanerf_rt.audio.quiet import nobody_speaks
from dfanerf_rt.errors import DfanerfError
from dfanerf_rt.sync.model import FRAME_SAMPLES, SyncConfig
from dfanerf_rt.train.speech import PRETRAINING, rest_code, speech_pairs
from dfanerf_rt.train.sync import train_on_pairs
from dfanerf_rt.train.sync_corpus import Pair

ASSET = Path(__file__).resolve().parent.parent / "dfanerf_rt" / "sync" / "assets" / "sync.safetensors"


def corpus_config(hours: float, seed: int, voices: tuple[str, ...] = ()) -> CorpusConfig:
    """More recorded than formant voices: real ones are what the encoder will hear."""
    return CorpusConfig(
        hours=hours, seed=seed, voices=voices, silence_s=(0.1, 0.6), recorded_share=0.65, clean_share=0.25
    )


def quiet_pairs(rest: Tensor, hours: float, seed: int) -> list[Pair]:
    """Pieces of four seconds in which nobody speaks and the mouth rests."""
    random = np.random.default_rng(seed)
    n_frames = 100
    return [
        (nobody_speaks(n_frames * FRAME_SAMPLES, random), rest.expand(n_frames, -1)) for _ in range(round(hours * 900))
    ]


def build(work: Path, out: Path, config: CorpusConfig, steps: int, workers: int) -> None:
    """Speak the corpus where it is missing, train, write the weights."""
    start = time.monotonic()

    def say(what: str) -> None:
        print(f"{time.monotonic() - start:6.0f} s  {what}", flush=True)

    corpus = build_corpus(work / "corpus", config, workers)
    say(f"corpus: {len(corpus)} utterances, {corpus.hours:.1f} h; {corpus.unspoken} lines could not be spoken")
    pairs, rest = speech_pairs(corpus), rest_code()
    pairs += quiet_pairs(rest, 0.04 * corpus.hours, config.seed)
    say("mouth codes made")

    def show(fraction: float, scalars: dict[str, float]) -> None:
        if round(fraction * steps) % 500 == 0:
            say(f"{fraction:4.0%}  " + "  ".join(f"{name} {value:.3f}" for name, value in scalars.items()))

    attributes, training = AttributeModel.bundled(), replace(PRETRAINING, steps=steps)
    encoder = train_on_pairs(pairs, rest, attributes, SyncConfig(), training, seed=config.seed, on_progress=show)
    out.parent.mkdir(parents=True, exist_ok=True)
    encoder.save(out)
    say(f"{out}: {out.stat().st_size / 1e6:.1f} MB")


def main() -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder for the corpus")
    parser.add_argument("--out", type=Path, default=ASSET, help="the weights to write")
    parser.add_argument("--hours", type=float, default=18.0, help="length of the corpus")
    parser.add_argument("--voices", nargs="+", default=[], help="to speak with; those of the training split by default")
    parser.add_argument("--steps", type=int, default=26_000, help="steps of training")
    parser.add_argument("--workers", type=int, default=2, help="processes that speak at a time")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    try:
        config = corpus_config(options.hours, options.seed, tuple(options.voices))
        build(options.work, options.out, config, options.steps, options.workers)
    except DfanerfError as error:
        print(f"build_sync: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
