"""What each part of the field and of its training is worth: conditioning, and every ingredient switched off in turn.

    .venv/bin/python benchmarks/ablate_field.py --clip CLIP --avatar AVATAR [--steps N] [--seeds N] [--threads N]
                                                [--landmark-clip CLIP] [--only NAME ...] [--resume] [--json OUT]
                                                [--plot OUT.svg]

Every variant trains a field on the same clip with the same steps and seed and is scored on the held-out frames, its
mouth driven by tracked codes and by sound. AVATAR, trained on CLIP, lends everything but the field: attributes, audio
encoder, background. ``--resume`` goes on from what ``--json`` already holds. docs/field.md defines the measures.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lips_measures import table
from result_schema import machine, read_results, write_results

from dfanerf_rt.attributes.model import AttributeModel
from dfanerf_rt.avatar import Avatar
from dfanerf_rt.clip.format import Clip
from dfanerf_rt.errors import DfanerfError
from dfanerf_rt.evaluate.drive import evaluate_avatar
from dfanerf_rt.field.config import FieldConfig
from dfanerf_rt.render.session import RenderSession
from dfanerf_rt.sync.model import AudioEncoder, SyncConfig, encode_audio
from dfanerf_rt.train.field import FieldTrainConfig, FieldTrainer
from dfanerf_rt.train.loop import Loop
from dfanerf_rt.train.rays import SamplingConfig

Settings = tuple[FieldConfig, FieldTrainConfig]
Change = Callable[[FieldConfig, FieldTrainConfig], Settings]
DEFAULT = "blend"
"""What the ingredients are switched off from; files of results name theirs, under "base"."""


def field(**changes: Any) -> Change:
    """A variant of the field."""
    return lambda config, training: (replace(config, **changes), training)


def training(**changes: Any) -> Change:
    """A variant of the training."""
    return lambda config, settings: (config, replace(settings, **changes))


def sampling(**changes: Any) -> Change:
    """A variant of where the training looks."""
    return lambda config, settings: (config, replace(settings, sampling=replace(settings.sampling, **changes)))


CONDITIONING: dict[str, Change] = {
    "concat": field(n_blend=0, concat=True),
    DEFAULT: field(),
    "blend + concat": field(concat=True),
}
INGREDIENTS: dict[str, Change] = {
    "no pose refinement": training(refine_pose=False),
    "mouth and eyes no oftener": sampling(mouth_share=0.0, eyes_share=0.0, closed_eyes_share=0.0),
    "open mouths and blinks no oftener": lambda config, settings: sampling(closed_eyes_share=0.0)(
        config, replace(settings, blink_share=0.0, open_share=0.0)
    ),
    "no structural loss": training(structure_weight=0.0),
    "structural loss from the start": training(structure_from=0.0),
    "no matte loss": training(matte_weight=0.0),
    "no other backgrounds": training(other_background_share=0.0),
    "no distortion loss": training(distortion_weight=0.0),
    "no colour of each frame": training(refine_colour=False),
    "occupancy of one expression": training(occupancy_of_all=False),
    "no torso of its own": training(own_torso=False),
    "no noise on the condition": training(condition_noise=0.0),
    "tracked codes alone": training(audio_share=0.0),
    "sound in a quarter of the steps": training(audio_share=0.25),
    "blended tables as fast as the first": training(learning_rate_blend=1e-2),
    "every sample in every step": training(least_weight=0.0),
    "finest level of 384 cells": field(max_resolution=384),
    "twelve blended tables": field(n_blend=12),
}
BY_LANDMARKS = "poses by landmarks alone"
"""The default, trained on ``--landmark-clip``."""
VARIANTS: dict[str, Change] = {**CONDITIONING, **INGREDIENTS}
COLUMNS = (
    ("recorded", "psnr_db", "PSNR"),
    ("recorded", "face_psnr_db", "face"),
    ("recorded", "mouth_psnr_db", "mouth"),
    ("recorded", "ssim", "SSIM"),
    ("recorded", "lmd_px", "LMD"),
    ("recorded", "gradient_energy_ratio", "sharpness"),
    ("recorded", "mouth_opening_corr", "opening corr."),
    ("sound", "mouth_psnr_db", "mouth, sound"),
    ("field", "edge_error", "edge"),
    ("field", "fps", "fps"),
    ("field", "mb", "MB"),
    ("field", "minutes", "minutes"),
)
"""(row of the evaluation, measure, heading); those of "field" are taken here."""


class Bench:
    """The clip, and what the fields are conditioned on."""

    def __init__(self, clip: Clip, avatar: Avatar) -> None:
        self.clip, self.avatar = clip, avatar
        attributes = AttributeModel.from_tensors(avatar.section("attributes"), where=avatar.where)
        mouth_code, eye_code = attributes.encode(clip.track.landmarks)
        self.condition = torch.cat([mouth_code, eye_code], dim=1).detach()
        self.audio_code = None
        sound = clip.audio()
        if sound is not None and avatar.section("sync"):
            config = SyncConfig.from_dict(avatar.meta.sync, avatar.where)
            encoder = AudioEncoder.from_tensors(avatar.section("sync"), config, avatar.where)
            self.audio_code = encode_audio(encoder.live(), sound, clip.meta.n_frames)

    def train(self, settings: Settings, seed: int) -> tuple[FieldTrainer, float]:
        """A trained field, and the minutes that it took."""
        frames = self.clip.meta.train_frames
        part = slice(frames.start, frames.stop)
        audio_code = None if self.audio_code is None else self.audio_code[part]
        trainer = FieldTrainer(self.clip, self.condition[part], audio_code, *settings, seed)
        loop, began = Loop(settings[1].n_steps, float("inf")), time.monotonic()
        while not loop.done:
            trainer.step(loop)
            loop.step += 1
        minutes = (time.monotonic() - began) / 60.0
        trainer.tighten()
        return trainer, minutes

    def score(self, trainer: FieldTrainer, minutes: float) -> dict[tuple[str, str], float]:
        """(row, measure) -> value."""
        rest = {k: v for k, v in self.avatar.tensors.items() if not k.startswith(("field.", "occupancy."))}
        own = {key: value.detach().contiguous() for key, value in trainer.field.state().items()}
        avatar = Avatar(replace(self.avatar.meta, field=asdict(trainer.field.config)), {**rest, **own})
        evaluation, _ = evaluate_avatar(avatar, self.clip)
        found = {
            (row, measure): float(value)
            for row, measures in evaluation.report["rows"].items()
            for measure, value in measures.items()
            if value is not None
        }
        fps, edge_error = self._render(avatar)
        with tempfile.TemporaryDirectory() as folder:
            avatar.save(Path(folder) / "a.safetensors")
            megabytes = (Path(folder) / "a.safetensors").stat().st_size / 1e6
        return found | {
            ("field", "fps"): fps,
            ("field", "edge_error"): edge_error,
            ("field", "mb"): megabytes,
            ("field", "minutes"): minutes,
        }

    def _render(self, avatar: Avatar) -> tuple[float, float]:
        """Frames a second, fold included, and the mean error of the matte where the truth's is neither 0 nor 1."""
        session = RenderSession(avatar, size=(self.clip.meta.width, self.clip.meta.height))
        seconds, errors = [], []
        for index in self.clip.meta.test_frames:
            began = time.perf_counter()
            session.fold(self.condition[index], self.clip.track.head_pose[index])
            session.render()
            seconds.append(time.perf_counter() - began)
            truth = self.clip.alpha(index).astype(np.float32) / 255.0
            edge = (truth > 0.02) & (truth < 0.98)
            errors.append(float(np.abs(session.alpha.cpu().numpy() - truth)[edge].mean()))
        return 1.0 / statistics.median(seconds), statistics.fmean(errors)


def mean(results: list[dict[str, Any]], variant: str, row: str, measure: str) -> float | None:
    """The mean over seeds."""
    wanted = {"variant": variant, "row": row, "measure": measure}
    found = [result["value"] for result in results if result.items() >= wanted.items()]
    return statistics.fmean(found) if found else None


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clip", type=Path, required=True, help="folder of 'dfanerf prepare'")
    parser.add_argument("--avatar", required=True, help="trained on the clip")
    parser.add_argument("--landmark-clip", type=Path, help="the same of 'dfanerf prepare --no-photometric'")
    parser.add_argument("--steps", type=int, default=1500, help="of each training")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", nargs="+", choices=tuple(VARIANTS), default=tuple(VARIANTS), metavar="NAME")
    parser.add_argument("--tiny", action="store_true", help="smallest sizes, to see that everything runs")
    parser.add_argument("--resume", action="store_true", help="keep what --json holds")
    parser.add_argument("--json", type=Path, help="write the results here, after each variant")
    parser.add_argument("--plot", type=Path, help="draw the results here, .svg or .png")
    arguments = parser.parse_args(argv)
    torch.set_num_threads(arguments.threads)
    document: dict[str, Any] = {"kind": "field", "machine": machine(), "steps": arguments.steps, "results": []}
    try:
        avatar = Avatar.load(arguments.avatar)
        bench = Bench(Clip(arguments.clip), avatar)
        variants = [(name, bench, VARIANTS[name]) for name in arguments.only]
        if arguments.landmark_clip:
            variants.append((BY_LANDMARKS, Bench(Clip(arguments.landmark_clip), avatar), field()))
        document |= {"clip": bench.clip.root.name, "width": bench.clip.meta.width}
        document["base"] = DEFAULT
        if arguments.resume and arguments.json and arguments.json.is_file():
            held = read_results(arguments.json)
            if held["base"] != DEFAULT:
                raise ValueError(f"{arguments.json}: its rows start from {held['base']!r}, today's from {DEFAULT!r}")
            document["results"] = held["results"]
        _run(variants, arguments, document)
    except (DfanerfError, ValueError, json.JSONDecodeError) as fault:
        print(f"ablate_field: {fault}", file=sys.stderr)
        return 2
    lines = [
        [name, *(mean(document["results"], name, row, measure) for row, measure, _ in COLUMNS)]
        for name in (*VARIANTS, BY_LANDMARKS)
    ]
    print(table(["variant", *(heading for *_, heading in COLUMNS)], [line for line in lines if line[1] is not None]))
    if arguments.plot:
        from plot_field import draw

        draw(document, arguments.plot)
    return 0


def _run(variants: list[tuple[str, Bench, Change]], arguments: argparse.Namespace, document: dict[str, Any]) -> None:
    config, settings = FieldConfig(), FieldTrainConfig(n_steps=arguments.steps)
    if arguments.tiny:
        config = FieldConfig(n_levels=4, log2_table_size=10, max_resolution=32, occupancy_resolution=16, n_steps=24)
        settings = replace(settings, samples_per_step=2000, sampling=SamplingConfig(patch_px=7))
    done = {(result["variant"], result["seed"]) for result in document["results"]}
    for seed in range(arguments.seeds):
        for name, bench, change in variants:
            if (name, seed) in done:
                continue
            trainer, minutes = bench.train(change(config, settings), seed)
            scores = bench.score(trainer, minutes)
            print(f"{name}, seed {seed}: {scores['recorded', 'psnr_db']:.2f} dB, {minutes:.1f} min", file=sys.stderr)
            document["results"] += [
                {"variant": name, "seed": seed, "row": row, "measure": measure, "value": value}
                for (row, measure), value in scores.items()
            ]
            if arguments.json:
                write_results(arguments.json, document)


if __name__ == "__main__":
    sys.exit(main())
