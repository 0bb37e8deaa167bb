"""What each part of the audio encoder's training is worth (paper, table 5), and each millisecond of look-ahead.

    .venv/bin/python benchmarks/ablate_sync.py --work FOLDER [--hours H | --corpus FOLDER] [--steps N]
                                               [--shared FOLDER] [--json OUT] [--plot OUT.svg]

Encoders are trained with the regression alone, with eq. 3 alone, and with both, on the same corpus with the same
steps, batches and seeds; raw MFCC are not trained at all. From all of them lips are read out in one way, by a ridge
regression to mouth codes that is fitted on a part of the training corpus. ``--work`` keeps corpora, prepared clips and
encoders, so that the same command goes on where it was stopped. Terms are defined in docs/lips.md.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lips_faces import SYNC_MEASURES, Face, all_faces, data_folder, load_faces
from lips_measures import Predict, encoded, rows, table
from lips_readout import Features, mfcc_windows, read_out
from lips_speech import Spoken, all_voices, by_voice, held_out_corpus
from result_schema import machine, write_results

from dfanerf_rt.attributes.model import AttributeModel
from dfanerf_rt.audio.corpus import Corpus, build_corpus
from dfanerf_rt.audio.corpus_plan import CorpusConfig
from dfanerf_rt.errors import ClipError, DfanerfError
from dfanerf_rt.sync import model as sync_model
from dfanerf_rt.sync.model import LIVE_LOOKAHEAD_MS, AudioEncoder, SyncConfig
from dfanerf_rt.train import sync as sync_training
from dfanerf_rt.train.speech import PRETRAINING, rest_code, speech_pairs
from dfanerf_rt.train.sync import train_on_pairs
from dfanerf_rt.train.sync_corpus import Pair

RAW, BOTH = "raw MFCC", "both"
VARIANTS: dict[str, dict[str, float]] = {
    "regression alone": {"contrastive_weight": 0.0},
    "contrastive alone": {"regression_weight": 0.0},
    BOTH: {},
}
LOOKAHEADS_MS = (0.0, 40.0, 80.0, 100.0, 120.0, 200.0)
ALONE_MS = (100.0, 200.0)
"""Look-aheads for which an encoder of their own is trained."""
READOUT_PAIRS = 400
COLUMNS = (
    ("speech clean", "opening_corr", "ridge", "opening corr., unseen voices"),
    ("speech clean", "closures", "ridge", "closed at m b p"),
    ("faces", "opening_corr", "ridge", "opening corr., real faces"),
    ("faces", "in_sync", "own", "in sync, own code"),
    ("faces", "in_sync", "ridge", "in sync, read out"),
)
"""(part, measure, how lips are read, heading) of the tables."""


@dataclass
class Ablation:
    """The data, and the results so far."""

    arguments: argparse.Namespace
    corpus: Corpus
    pairs: list[Pair]
    voices: dict[str, list[Spoken]]
    faces: list[Face]
    attributes: AttributeModel
    results: list[dict[str, Any]] = field(default_factory=list)
    absent: dict[str, str] = field(default_factory=dict)

    def encoder(self, changes: dict[str, Any], config: SyncConfig, seed: int) -> AudioEncoder:
        """The trained encoder of a variant; kept in the work folder under a name made of all that decides it."""
        training = replace(PRETRAINING, **{"steps": self.arguments.steps, **changes})
        code = [Path(str(module.__file__)).read_text(encoding="utf-8") for module in (sync_model, sync_training)]
        decides = [asdict(training), asdict(config), seed, self.corpus.meta["fingerprint"], len(self.pairs), *code]
        mark = hashlib.sha256(json.dumps(decides).encode()).hexdigest()[:16]
        path = self.arguments.work / f"encoder_{mark}.safetensors"
        if path.is_file():
            return AudioEncoder.load(path)
        attributes = AttributeModel.bundled()
        encoder = train_on_pairs(
            self.pairs, rest_code(), attributes, config, training, seed=seed, on_progress=_progress(changes)
        )
        encoder.save(path)
        return encoder

    def measure(self, model: str, seed: int, lookahead_ms: float, features: Features, own: Predict | None) -> None:
        """Lips read out of features, and how far the encoder's own code tells a shift of the sound."""
        step = max(1, len(self.pairs) // READOUT_PAIRS)
        predict = read_out(features, self.pairs[::step])
        spoken = all_voices(self.voices, predict, self.attributes)["all"]
        about = {"seed": seed, "readout": "ridge"}
        self.results += rows("speech clean", model, "all", lookahead_ms, spoken, **about)
        if not self.faces:
            return
        for name, scores in all_faces(self.faces, predict).items():
            self.results += rows("faces", model, name, lookahead_ms, scores, **about)
        if own is not None:
            about["readout"] = "own"
            for name, scores in all_faces(self.faces, own).items():
                kept = {key: value for key, value in scores.items() if key.startswith(SYNC_MEASURES)}
                self.results += rows("faces", model, name, lookahead_ms, kept, **about)

    def measure_encoder(self, model: str, seed: int, lookahead_ms: float, encoder: AudioEncoder) -> None:
        """The same for an encoder, whose code is the feature."""
        codes = encoded(encoder, lookahead_ms)
        self.measure(model, seed, lookahead_ms, codes, codes)

    def value(self, model: str, lookahead_ms: float, column: tuple[str, str, str, str]) -> float | None:
        """The mean over seeds of a measure's overall value."""
        part, measure, readout, _ = column
        wanted = {"part": part, "model": model, "subject": "all", "lookahead_ms": lookahead_ms, "measure": measure}
        found = [row["value"] for row in self.results if row.items() >= {**wanted, "readout": readout}.items()]
        return float(np.mean(found)) if found else None


def ablate(ablation: Ablation) -> None:
    """Train and measure everything; prints the tables."""
    for seed in range(ablation.arguments.seeds):
        for name, changes in VARIANTS.items():
            encoder = ablation.encoder(changes, SyncConfig(), seed)
            ablation.measure_encoder(name, seed, LIVE_LOOKAHEAD_MS, encoder)
            if name == BOTH:
                for lookahead_ms in LOOKAHEADS_MS:
                    if lookahead_ms != LIVE_LOOKAHEAD_MS:
                        ablation.measure_encoder(name, seed, lookahead_ms, encoder)
                if seed == 0:  # nothing of it is drawn by chance
                    windows = mfcc_windows(encoder, LIVE_LOOKAHEAD_MS)
                    ablation.measure(RAW, seed, LIVE_LOOKAHEAD_MS, windows, None)
        for lookahead_ms in ALONE_MS:
            _measure_alone(ablation, lookahead_ms, seed)
    headings = [heading for *_, heading in COLUMNS]
    lines: list[list[Any]] = [
        [name, *(ablation.value(name, LIVE_LOOKAHEAD_MS, column) for column in COLUMNS)] for name in (RAW, *VARIANTS)
    ]
    print(f"\n{LIVE_LOOKAHEAD_MS:g} ms ahead\n{table(['trained with', *headings], lines)}")
    lines = [[f"{ms:g}", *(ablation.value(BOTH, ms, column) for column in COLUMNS)] for ms in LOOKAHEADS_MS]
    lines += [
        [f"{ms:g}, trained for it alone", *(ablation.value(alone(ms), ms, column) for column in COLUMNS)]
        for ms in ALONE_MS
    ]
    print(f"\nboth, by look-ahead\n{table(['ms ahead', *headings], lines)}", flush=True)


def alone(lookahead_ms: float) -> str:
    """The name of an encoder that was trained for one look-ahead."""
    return f"{BOTH}, {lookahead_ms:g} ms alone"


def _measure_alone(ablation: Ablation, lookahead_ms: float, seed: int) -> None:
    config = SyncConfig(lookahead_ms=lookahead_ms)
    encoder = ablation.encoder({"vary_lookahead": False}, config, seed)
    ablation.measure_encoder(alone(lookahead_ms), seed, lookahead_ms, encoder)


def _progress(changes: dict[str, Any]) -> Any:
    began, said = time.monotonic(), [-1]

    def show(fraction: float, scalars: dict[str, float]) -> None:
        tenth = int(10 * fraction)
        if tenth > said[0]:
            said[0] = tenth
            losses = ", ".join(f"{name} {value:.3f}" for name, value in scalars.items())
            print(
                f"{changes or BOTH} {fraction:.0%} {time.monotonic() - began:.0f} s: {losses}",
                file=sys.stderr,
                flush=True,
            )

    return show


def load(arguments: argparse.Namespace) -> Ablation:
    """Build or open what the ablation is measured on."""
    arguments.work.mkdir(parents=True, exist_ok=True)
    if arguments.corpus:
        corpus = Corpus(arguments.corpus)
    else:
        config = CorpusConfig(hours=arguments.hours, voices=tuple(arguments.voices))
        corpus = build_corpus(arguments.work / f"train_{arguments.hours:g}h", config)
    attributes = AttributeModel.bundled()
    held_out = held_out_corpus(arguments.work, arguments.held_out_hours, True, tuple(arguments.held_out_voices))
    faces: list[Face] = []
    absent: dict[str, str] = {}
    try:
        data_folder(arguments.shared)
    except ClipError as fault:
        absent["faces"] = str(fault)
    else:
        only = {"only": tuple(arguments.clips)} if arguments.clips else {}
        faces = load_faces(arguments.shared, arguments.work, **only)
    pairs = speech_pairs(corpus)
    return Ablation(arguments, corpus, pairs, by_voice(held_out, attributes), faces, attributes, absent=absent)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="keeps corpora, clips and encoders")
    parser.add_argument("--hours", type=float, default=3.0, help="length of the training corpus")
    parser.add_argument("--corpus", type=Path, help="a built training corpus, in place of one in --work")
    parser.add_argument("--voices", nargs="+", default=[], help="of the training corpus; those of the split by default")
    parser.add_argument("--held-out-hours", type=float, default=0.5)
    parser.add_argument("--held-out-voices", nargs="+", default=[])
    parser.add_argument("--shared", type=Path, help="folder of real clips")
    parser.add_argument("--clips", nargs="+", help="real clips by path in the shared folder")
    parser.add_argument("--steps", type=int, default=6000, help="of each training")
    parser.add_argument("--seeds", type=int, default=1, help="trainings of each kind")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, help="write the results here")
    parser.add_argument("--plot", type=Path, help="draw the results here, .svg or .png")
    arguments = parser.parse_args(argv)
    torch.set_num_threads(arguments.threads)
    try:
        ablation = load(arguments)
        ablate(ablation)
    except DfanerfError as fault:
        print(f"ablate_sync: {fault}", file=sys.stderr)
        return 2
    for part, reason in ablation.absent.items():
        print(f"{part}: absent, {reason}")
    document = {
        "kind": "lips",
        "machine": machine(),
        "hours": ablation.corpus.hours,
        "steps": arguments.steps,
        "seeds": arguments.seeds,
        "absent": ablation.absent,
        "results": ablation.results,
    }
    if arguments.json:
        write_results(arguments.json, document)
    if arguments.plot:
        from plot_lips import draw

        draw(document, arguments.plot)
    return 0


if __name__ == "__main__":
    sys.exit(main())
