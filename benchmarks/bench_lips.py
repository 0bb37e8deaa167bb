"""How well lips follow a voice that nobody was trained on: synthesised speech, real faces, fine-tuning, silence.

    .venv/bin/python benchmarks/bench_lips.py [--encoder FILE] [--shared FOLDER] [--work FOLDER] [--json OUT]

``--work`` keeps what takes long: the held-out corpora (needs the voices of ``.ci/system-packages corpus``) and the
prepared clips. ``--shared`` is a folder of real clips; without it their part is reported as absent. Terms are defined
in docs/lips.md. Exit status 2: the encoder, a voice or a clip cannot be used; one line says why.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from lips_faces import Face, all_faces, data_folder, fine_tune, held_out_scores, load_faces
from lips_measures import HEADINGS, Scores, encoded, mean_scores, rows, table
from lips_silence import silence_scores, speech_of, worst_scores
from lips_speech import Spoken, all_voices, by_voice, held_out_corpus
from result_schema import machine, write_results

from dfanerf_rt.attributes.model import AttributeModel
from dfanerf_rt.audio.decode import load_audio
from dfanerf_rt.errors import ClipError, DfanerfError
from dfanerf_rt.sync.model import LIVE_LOOKAHEAD_MS, AudioEncoder
from dfanerf_rt.train.speech import rest_code
from dfanerf_rt.train.sync_corpus import FINE_TUNING

PARTS = ("speech", "faces", "fine-tuned", "silence")
LOOKAHEADS_MS = (0.0, 40.0, 80.0, 100.0, 120.0, 200.0)
REAL_SPEECH = "audio/english_male_11s.wav"
SPEECH_COLUMNS = ("opening_corr", "width_corr", "closures", "closures_truth", "roundings", "roundings_truth")
SYNC_COLUMNS = ("in_sync", "in_sync_own", "offset_frames", "confidence")
SILENCE_COLUMNS = (
    *("digital_200ms", "digital_spread", "digital_after"),
    *("pink_after", "pink_alone", "breath_after", "breath_alone"),
)


@dataclass
class Bench:
    """What is measured, and the results so far."""

    encoder: AudioEncoder
    arguments: argparse.Namespace
    generic: AttributeModel = field(default_factory=AttributeModel.bundled)
    results: list[dict[str, Any]] = field(default_factory=list)
    absent: dict[str, str] = field(default_factory=dict)
    """Part → why it was not measured."""
    tuned: tuple[Face, AudioEncoder] | None = None
    """The longest clip, and the encoder after it has learned from it."""

    @property
    def lookaheads_ms(self) -> list[float]:
        """Those that the encoder offers."""
        return [ms for ms in self.arguments.lookahead if ms <= self.encoder.config.lookahead_ms]

    @property
    def live_ms(self) -> float:
        """The look-ahead of tables that show one alone."""
        return min(LIVE_LOOKAHEAD_MS, self.encoder.config.lookahead_ms)

    def keep(self, part: str, model: str, subject: str, lookahead_ms: float, scores: Scores) -> None:
        """Add rows."""
        self.results += rows(part, model, subject, lookahead_ms, scores)

    def says_absent(self, part: str, reason: str) -> None:
        """Report a part that is not measured."""
        self.absent[part] = reason
        print(f"\n{part}: absent, {reason}", flush=True)

    def voices(self, clean: bool) -> dict[str, list[Spoken]]:
        """The held-out speech."""
        arguments = self.arguments
        corpus = held_out_corpus(arguments.work, arguments.hours, clean, tuple(arguments.voices))
        return by_voice(corpus, self.generic)


def bench_speech(bench: Bench) -> None:
    """Voices and languages not trained on, clean and augmented."""
    overall: dict[tuple[str, float], Scores] = {}
    for part, clean in (("speech clean", True), ("speech augmented", False)):
        voices = bench.voices(clean)
        for lookahead_ms in dict.fromkeys([bench.live_ms, *bench.lookaheads_ms]):
            found = all_voices(voices, encoded(bench.encoder, lookahead_ms), bench.generic)
            for voice, scores in found.items():
                bench.keep(part, "generic", voice, lookahead_ms, scores)
            overall[part, lookahead_ms] = found["all"]
            if lookahead_ms == bench.live_ms:
                lines = [
                    [voice, *_values(each, SPEECH_COLUMNS), _count(each, "closures")] for voice, each in found.items()
                ]
                headings = ["voice", *(HEADINGS[name] for name in SPEECH_COLUMNS), "m b p"]
                _show(f"{part}, {lookahead_ms:g} ms ahead", table(headings, lines))
        found = all_voices(voices, encoded(bench.encoder.undecided(), bench.live_ms), bench.generic)["all"]
        bench.keep(part, "undecided", "all", bench.live_ms, found)
        overall[f"{part}, undecided", bench.live_ms] = found
    columns = (*SPEECH_COLUMNS[:3], "closures_pooled", "roundings")
    lines = [[part, f"{ms:g}", *_values(each, columns)] for (part, ms), each in sorted(overall.items())]
    _show("speech by look-ahead", table(["part", "ms ahead", *(HEADINGS[name] for name in columns)], lines))


def bench_faces(bench: Bench, faces: list[Face]) -> None:
    """Real faces not trained on."""
    overall: dict[float, Scores] = {}
    undecided = all_faces(faces, encoded(bench.encoder.undecided(), bench.live_ms))["all"]
    bench.keep("faces", "undecided", "all", bench.live_ms, undecided)
    for lookahead_ms in dict.fromkeys([bench.live_ms, *bench.lookaheads_ms]):
        found = all_faces(faces, encoded(bench.encoder, lookahead_ms))
        for name, scores in found.items():
            bench.keep("faces", "generic", name, lookahead_ms, scores)
        overall[lookahead_ms] = found["all"]
        if lookahead_ms == bench.live_ms:
            lags = [name for name in found["all"] if name.startswith("opening_corr_lag")]
            lines = [[name, *_values(each, (*lags, *SYNC_COLUMNS))] for name, each in found.items()]
            headings = ["clip", *(f"lag {name.rpartition('_')[2]}" for name in lags)]
            headings += ["in sync", "from own offset", "own offset", "confidence"]
            _show(f"faces not trained on, {lookahead_ms:g} ms ahead", table(headings, lines))
    columns = ("opening_corr", "in_sync", "in_sync_pooled", "in_sync_own", "in_sync_own_pooled")
    lines = [[f"{ms:g}", *_values(each, columns)] for ms, each in sorted(overall.items())]
    lines.append([f"{bench.live_ms:g}, undecided", *_values(undecided, columns)])
    headings = ["ms ahead", "opening corr.", "in sync", "pooled", "from own offset", "pooled"]
    _show("faces by look-ahead, mean over clips", table(headings, lines))


def bench_fine_tuned(bench: Bench, face: Face) -> None:
    """The encoder after it has learned from the first ten elevenths of a clip."""
    steps = bench.arguments.steps
    training = None if steps is None else replace(FINE_TUNING, steps=steps)
    found = {"generic": held_out_scores(face, encoded(bench.encoder, bench.live_ms))}
    for seed in range(bench.arguments.seeds):
        tuned = fine_tune(face, bench.encoder, seed, training)
        if bench.tuned is None:
            bench.tuned = face, tuned
        found[f"seed {seed}"] = held_out_scores(face, encoded(tuned, bench.live_ms))
    found["mean over seeds"] = mean_scores([scores for name, scores in found.items() if name.startswith("seed")])
    for name, scores in found.items():
        model = "generic" if name == "generic" else f"fine-tuned, {name}"
        bench.keep("fine-tuned", model, face.name, bench.live_ms, scores)
    lines = [[name, *_values(each, ("opening_corr", "amplitude"))] for name, each in found.items()]
    title = f"fine-tuned on {face.name}, {len(face.opening_mm) - face.n_train} frames held out"
    _show(title, table(["encoder", "opening corr.", "amplitude"], lines))


def bench_silence(bench: Bench) -> None:
    """Lips after speech and in noise, of the generic encoder and of the fine-tuned one."""
    voices = bench.voices(clean=True)
    sounds = {voice: speech_of(spoken[0]) for voice, spoken in voices.items()}
    real = bench.arguments.shared and data_folder(bench.arguments.shared) / REAL_SPEECH
    if real and real.is_file():
        sounds[real.name] = load_audio(real)
    else:
        bench.says_absent("silence after real speech", f"no {REAL_SPEECH} in a folder of real clips (--shared)")
    models = [("generic", bench.encoder, bench.generic, rest_code())]
    if bench.tuned is not None:
        face, tuned = bench.tuned
        models.append(("fine-tuned, seed 0", tuned, face.attributes, face.rest))
    lines: list[list[Any]] = []
    for model, encoder, attributes, rest in models:
        predict = encoded(encoder, bench.live_ms)
        found = {name: silence_scores(sound, predict, attributes, rest) for name, sound in sounds.items()}
        each = list(found.values())
        found |= {f"mean of {len(each)}": mean_scores(each), "worst": worst_scores(each)}
        for name, scores in found.items():
            bench.keep("silence", model, name, bench.live_ms, scores)
            if name not in voices:
                lines.append([f"{model}: {name}", *(_percent(scores.get(column)) for column in SILENCE_COLUMNS)])
    headings = [column.replace("_", " ") for column in SILENCE_COLUMNS]
    _show("opening above rest, % of the most while speaking", table(["encoder, speech before", *headings], lines))


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoder", type=Path, help="file of an audio encoder; the bundled one if not given")
    parser.add_argument("--shared", type=Path, help="folder of real clips")
    parser.add_argument("--work", type=Path, default=Path("work/lips"), help="keeps corpora and prepared clips")
    parser.add_argument("--hours", type=float, default=0.5, help="length of each held-out corpus")
    parser.add_argument(
        "--voices", nargs="+", default=[], help="of the held-out corpora; those of the split by default"
    )
    parser.add_argument("--lookahead", type=float, nargs="+", default=LOOKAHEADS_MS, help="milliseconds")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="what to measure")
    parser.add_argument("--clips", nargs="+", help="real clips by path in the shared folder, the first to learn from")
    parser.add_argument("--seeds", type=int, default=3, help="fine-tunings")
    parser.add_argument("--steps", type=int, help="of a fine-tuning; those of 'dfanerf train' by default")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, help="write the results here")
    arguments = parser.parse_args(argv)
    torch.set_num_threads(arguments.threads)
    try:
        encoder = AudioEncoder.load(arguments.encoder) if arguments.encoder else AudioEncoder.bundled()
        bench = Bench(encoder, arguments)
        _run(bench)
    except DfanerfError as fault:
        print(f"bench_lips: {fault}", file=sys.stderr)
        return 2
    if arguments.json:
        document = {
            "kind": "lips",
            "machine": machine(),
            "encoder": arguments.encoder.name if arguments.encoder else "bundled",
            "hours": arguments.hours,
            "absent": bench.absent,
        }
        write_results(arguments.json, {**document, "results": bench.results})
    return 0


def _run(bench: Bench) -> None:
    parts, arguments = bench.arguments.parts, bench.arguments
    longest = max(bench.arguments.lookahead)
    if longest > bench.encoder.config.lookahead_ms:
        bench.says_absent(f"{longest:g} ms ahead", f"the encoder looks {bench.encoder.config.lookahead_ms:g} ms ahead")
    if "speech" in parts:
        bench_speech(bench)
    if "faces" in parts or "fine-tuned" in parts:
        try:
            data_folder(arguments.shared)
        except ClipError as fault:
            bench.says_absent("faces, fine-tuned", str(fault))
        else:
            only = {"only": tuple(arguments.clips)} if arguments.clips else {}
            faces = load_faces(arguments.shared, arguments.work, **only)
            if "faces" in parts:
                bench_faces(bench, faces)
            if "fine-tuned" in parts:
                bench_fine_tuned(bench, faces[0])
    if "silence" in parts:
        bench_silence(bench)


def _values(scores: Scores, names: tuple[str, ...] | list[str]) -> list[float | None]:
    return [scores[name][0] if name in scores else None for name in names]


def _count(scores: Scores, name: str) -> int | None:
    return scores[name][1] if name in scores else None


def _percent(share: tuple[float, int] | None) -> str | None:
    return None if share is None else f"{100 * share[0]:.1f}"


def _show(title: str, text: str) -> None:
    print(f"\n{title}\n{text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
