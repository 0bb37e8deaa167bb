"""Builds the bundled motion models: head, eyes and blinks of anybody, learned from synthetic people alone.

    .ci/system-packages corpus
    python tools/build_motion.py --work FOLDER [--hours H] [--effort E] [--workers N] [--threads N] [--out FILE]

The corpus (tools/build_motion_corpus.py) is made in the folder where it is missing: its people are synthetic, and their
voices are those of espeak-ng. Each person is shown to the models in units of its own mean and spread, blinks taken out.
The same settings give the same weights on the same machine. The defaults took 17 minutes on a core that other work
shared.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from dfanerf_rt.clip.motion_corpus import MotionCorpus, MotionCorpusConfig, build_motion_corpus
from dfanerf_rt.errors import DfanerfError
from dfanerf_rt.evaluate.blinks import eye_openness, find_blinks
from dfanerf_rt.motion.cross_modal import CrossModalConfig, CrossModalEncoder
from dfanerf_rt.motion.model import MotionConfig, MotionVae
from dfanerf_rt.motion.models import MotionModels
from dfanerf_rt.motion.track import EYE_DIM
from dfanerf_rt.train.blinks import ClockTraining, HeardBlinks, train_clock, without_blinks
from dfanerf_rt.train.cross_modal import CrossModalTraining, Paths, train_cross_modal
from dfanerf_rt.train.motion import MotionTraining, train_motion

ASSET = Path(__file__).resolve().parent.parent / "dfanerf_rt" / "motion" / "assets" / "motion.safetensors"
HEAD = MotionConfig(input_dim=6, beta=0.01)
EYES = MotionConfig(input_dim=EYE_DIM, latent_dim=6, length_frames=32.0, beta=0.1)
HEAD_ENCODER = CrossModalConfig(guidance=6.0)
EYES_ENCODER = CrossModalConfig()
MOTION_STEPS, ENCODER_STEPS, CLOCK_STEPS = 2500, 2500, 1500

Take = tuple[Tensor, Tensor]
"""Normalised motion (T, C), and audio codes (T, 32)."""
Say = Callable[[str], None]


def takes_of(corpus: MotionCorpus) -> tuple[list[Take], list[Take], list[HeardBlinks]]:
    """Head, open eyes, and blinks of all takes; motion in units of each person's own mean and spread."""
    by_person: defaultdict[int, list[tuple[Tensor, Tensor, Tensor]]] = defaultdict(list)
    blinks = []
    for take in corpus:
        eyes = take.track.eye_code
        assert eyes is not None
        opened = without_blinks(eyes, find_blinks(eye_openness(eyes)))
        by_person[take.persona].append((take.track.head_pose, opened, take.audio_code))
        blinks.append(HeardBlinks.of(take.audio_code, eyes))
    head: list[Take] = []
    opened_eyes: list[Take] = []
    for takes in by_person.values():
        for part, into in ((0, head), (1, opened_eyes)):
            every = torch.cat([take[part] for take in takes])
            mean, std = every.mean(dim=0), every.std(dim=0).clamp_min(1e-6)
            into += [((take[part] - mean) / std, take[2]) for take in takes]
    return head, opened_eyes, blinks


def train_part(
    takes: list[Take],
    config: MotionConfig,
    encoder_config: CrossModalConfig,
    effort: float,
    seed: int,
    say: Say,
    name: str,
) -> tuple[MotionVae, CrossModalEncoder]:
    """The motion model of head or eyes, and its cross-modal encoder."""
    torch.manual_seed(seed)
    model = MotionVae(config)
    schedule = replace(MotionTraining(), steps=max(round(effort * MOTION_STEPS), 1))
    train_motion([motion for motion, _ in takes], model, schedule, seed=seed, on_progress=_telling(say, name))
    encoder = CrossModalEncoder(config, encoder_config)
    encoder_schedule = replace(CrossModalTraining(), steps=max(round(effort * ENCODER_STEPS), 1))
    paths = Paths(takes, model, encoder, seed)
    train_cross_modal(paths, encoder, encoder_schedule, seed=seed, on_progress=_telling(say, f"{name}, E_ah"))
    return model, encoder


def build(
    work: Path, out: Path, config: MotionCorpusConfig, effort: float, workers: int, seed: int, say: Say
) -> MotionModels:
    """Make the corpus where it is missing, train, write the weights."""
    corpus = build_motion_corpus(work / "corpus", config, workers)
    say(f"corpus: {len(corpus)} takes, {corpus.hours:.2f} h")
    head_takes, eye_takes, blinks = takes_of(corpus)
    say("eyes without blinks made")
    head, head_encoder = train_part(head_takes, HEAD, HEAD_ENCODER, effort, seed, say, "head")
    eyes, eyes_encoder = train_part(eye_takes, EYES, EYES_ENCODER, effort, seed, say, "eyes")
    clock_training = replace(ClockTraining(), steps=max(round(effort * CLOCK_STEPS), 1))
    clock = train_clock(blinks, training=clock_training, seed=seed, on_progress=_telling(say, "blinks"))
    models = MotionModels(head, head_encoder, eyes, eyes_encoder, clock)
    out.parent.mkdir(parents=True, exist_ok=True)
    models.save(out)
    say(f"{out}: {out.stat().st_size / 1e6:.2f} MB")
    return models


def _telling(say: Say, name: str) -> Callable[[float, dict[str, float]], None]:
    told = [-1]

    def show(fraction: float, scalars: dict[str, float]) -> None:
        if int(10 * fraction) > told[0]:
            told[0] = int(10 * fraction)
            say(f"{name} {fraction:4.0%}  " + "  ".join(f"{key} {value:.4f}" for key, value in scalars.items()))

    return show


def main() -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder for the corpus")
    parser.add_argument("--out", type=Path, default=ASSET, help="the weights to write")
    parser.add_argument("--hours", type=float, default=MotionCorpusConfig.hours, help="length of the corpus")
    parser.add_argument("--people", type=int, default=MotionCorpusConfig.n_personas, help="in the corpus")
    parser.add_argument("--effort", type=float, default=1.0, help="steps of training, as a share of the usual")
    parser.add_argument("--workers", type=int, default=1, help="processes that speak at a time")
    parser.add_argument("--threads", type=int, default=1, help="of torch; more than one may change the weights")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    start = time.monotonic()

    def say(what: str) -> None:
        print(f"{time.monotonic() - start:6.0f} s  {what}", flush=True)

    try:
        config = MotionCorpusConfig(hours=options.hours, seed=options.seed, n_personas=options.people)
        build(options.work, options.out, config, options.effort, options.workers, options.seed, say)
    except DfanerfError as error:
        print(f"build_motion: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
