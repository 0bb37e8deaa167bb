"""The field's training: steps a second, memory, and how near it comes to held-out frames in a given time.

    .venv/bin/python benchmarks/bench_train.py [--clip CLIP] [--preset full] [--device cuda] [--minutes 2] [--json OUT]

Without --clip it learns from what the bundled presenter shows (dfanerf_rt/clip/rendered.py): that needs neither video
nor voice, and its figures compare machines and settings, not pictures of people. The mouth is driven by tracked codes.
Exit status 1: nobody is to be seen, since the held-out frames are hardly nearer than to the empty background.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from result_schema import machine, write_results

from dfanerf_rt.avatar import Avatar
from dfanerf_rt.clip.format import Clip
from dfanerf_rt.clip.judge import judgement_of
from dfanerf_rt.clip.rendered import render_clip
from dfanerf_rt.errors import DfanerfError
from dfanerf_rt.evaluate.image_quality import psnr
from dfanerf_rt.evaluate.report import mean_training_frame
from dfanerf_rt.ops.camera import Camera
from dfanerf_rt.ops.render_field import render_field
from dfanerf_rt.train.field import FieldTrainer
from dfanerf_rt.train.loop import Loop
from dfanerf_rt.train.pipeline import person_attributes
from dfanerf_rt.train.presets import PRESETS
from dfanerf_rt.train.team import Team, check_device

SAY_EVERY_S = 10.0
LEAST_GAIN_DB = 3.0


def codes(clip: Clip) -> torch.Tensor:
    """(T, 48) tracked mouth and eye codes of all frames."""
    return torch.cat(person_attributes(clip).encode(clip.track.landmarks), dim=1)


def train(clip: Clip, options: argparse.Namespace) -> tuple[FieldTrainer, Loop, float]:
    """Train for the time that is given; also returns the samples a step at the end."""
    preset = PRESETS[options.preset]
    training = preset.field_training
    if options.precision:
        training = replace(training, precision=options.precision)
    if options.minutes:
        training = replace(training, budget_s=60.0 * options.minutes)
    team = Team(device=check_device(options.device))
    frames = clip.meta.train_frames
    condition = codes(clip)[frames.start : frames.stop]
    trainer = FieldTrainer(clip, condition, None, preset.field_config, training, options.seed, judgement_of(clip), team)
    loop, said, samples = Loop(training.n_steps, training.budget_s), time.monotonic(), 0.0
    while not loop.done:
        found = trainer.step(loop)
        samples = found["samples"]
        loop.step += 1
        if time.monotonic() - said > SAY_EVERY_S:
            said = time.monotonic()
            db = -10.0 * np.log10(max(found["mse"], 1e-10))
            print(f"{loop.elapsed_s:6.0f} s  step {loop.step}  rays {db:.1f} dB", file=sys.stderr, flush=True)
    return trainer, loop, samples


@torch.no_grad()
def held_out(clip: Clip, trainer: FieldTrainer) -> tuple[float, float, float]:
    """PSNR in dB of the held-out frames: of the field, of the mean training frame, of the empty background."""
    meta, condition = clip.meta, codes(clip).to(trainer.device)
    camera = Camera(meta.width, meta.height, meta.focal_px, meta.cx, meta.cy)
    mean, empty, scores = mean_training_frame(clip), clip.background(), []
    for index in meta.test_frames:
        folded = trainer.field.fold(condition[index], clip.track.head_pose[index].to(trainer.device))
        picture = render_field(folded, camera, trainer.store.background).image
        shown = (picture.clamp(0, 1) * 255).round().byte().cpu().numpy()
        truth = clip.frame(index)
        scores.append([psnr(truth, picture) for picture in (shown, mean, empty)])
    field, still, nobody = np.mean(scores, axis=0).tolist()
    return field, still, nobody


def main(arguments: list[str] | None = None) -> int:
    """Train, score, and write what was asked for; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clip", type=Path, help="a prepared clip; without it one is rendered")
    parser.add_argument("--size", type=int, default=512, help="width of the rendered clip, pixels")
    parser.add_argument("--frames", type=int, default=500, help="frames of the rendered clip")
    parser.add_argument("--preset", choices=tuple(PRESETS), default="full")
    parser.add_argument("--precision", choices=("float32", "bfloat16"))
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--minutes", type=float, help="time for the training instead of the preset's")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args(arguments)
    try:
        check_device(options.device)
        with tempfile.TemporaryDirectory() as folder:
            clip = (
                Clip(options.clip)
                if options.clip
                else render_clip(
                    Path(folder) / "clip", Avatar.load("presenter"), options.frames, options.size, options.device
                )
            )
            trainer, loop, samples = train(clip, options)
            seconds = loop.elapsed_s
            field_db, mean_db, empty_db = held_out(clip, trainer)
    except DfanerfError as fault:
        raise SystemExit(f"bench_train: {fault}") from fault
    on_gpu = options.device == "cuda"
    row = {
        "preset": options.preset,
        "device": options.device,
        "precision": trainer.config.precision,
        "width": clip.meta.width,
        "frames": int(trainer.good.sum()),
        "steps": loop.step,
        "seconds": seconds,
        "steps_per_s": loop.step / seconds,
        "samples_per_s": samples * loop.step / seconds,
        "held_out_psnr_db": field_db,
        "mean_frame_psnr_db": mean_db,
        "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "peak_gpu_mb": torch.cuda.max_memory_allocated() / 2**20 if on_gpu else None,
    }
    for name, value in row.items():
        print(f"{name:>20} {value:.4g}" if isinstance(value, float) else f"{name:>20} {value}")
    if options.json:
        write_results(options.json, {"kind": "train", "machine": machine(), "clip": clip.meta.source, "results": [row]})
    return 0 if field_db > empty_db + LEAST_GAIN_DB else 1


if __name__ == "__main__":
    sys.exit(main())
