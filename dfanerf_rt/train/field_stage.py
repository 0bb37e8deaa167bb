"""The field's training from start, or from a checkpoint, to its end, with a preview picture every minute."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from dfanerf_rt.clip.format import Clip
from dfanerf_rt.field.field import ConditionalField
from dfanerf_rt.files import atomic_path
from dfanerf_rt.ops.camera import Camera
from dfanerf_rt.ops.render_field import render_field
from dfanerf_rt.train.checkpoint import load_checkpoint, save_checkpoint
from dfanerf_rt.train.field import FieldTrainer
from dfanerf_rt.train.loop import Interrupted, Loop, Progress, ShouldStop

PREVIEW_EVERY_S = 60.0
PROGRESS_EVERY_S = 1.0


def train_field(
    trainer: FieldTrainer,
    clip: Clip,
    work: Path,
    fingerprint: str,
    on_progress: Progress,
    should_stop: ShouldStop,
) -> ConditionalField:
    """Train to the end; ``work`` receives ``checkpoint.safetensors`` and ``preview.jpg``.

    Args:
        trainer: a new trainer; a checkpoint in ``work`` with the same fingerprint is continued.
        clip: the clip it learns from.
        work: folder of this training.
        fingerprint: what the checkpoint must have been made from.

    Raises:
        Interrupted: ``should_stop`` said so; the checkpoint holds everything up to now.
        DfanerfError: a checkpoint is there and does not fit.
    """
    checkpoint = work / "checkpoint.safetensors"
    loop = Loop(trainer.config.n_steps, trainer.config.budget_s)
    if checkpoint.is_file():
        loop = _restore(trainer, checkpoint, fingerprint)
    shown = previewed = time.monotonic()
    mean: dict[str, float] = {}
    while not loop.done:
        scalars = trainer.step(loop)
        loop.step += 1
        for name, value in scalars.items():
            mean[name] = value if name not in mean else 0.98 * mean[name] + 0.02 * value
        now = time.monotonic()
        if now - shown > PROGRESS_EVERY_S:
            shown = now
            psnr = -10.0 * float(np.log10(max(mean["mse"], 1e-10)))
            on_progress(loop.fraction, {"step": loop.step, "ray_psnr_db": psnr, **mean})
        if now - previewed > PREVIEW_EVERY_S:
            previewed = now
            write_preview(trainer, clip, work / "preview.jpg")
            _save(trainer, checkpoint, fingerprint, loop)
        if should_stop() and not loop.done:
            _save(trainer, checkpoint, fingerprint, loop)
            raise Interrupted(f"stopped after {loop.step} steps; the same command goes on from there")
    kept = trainer.tighten()
    write_preview(trainer, clip, work / "preview.jpg")
    on_progress(1.0, {"step": loop.step, "occupied": kept, **mean})
    return trainer.field


@torch.no_grad()
def write_preview(trainer: FieldTrainer, clip: Clip, path: Path) -> None:
    """A strip of four training frames, truth above render."""
    meta = clip.meta
    camera = Camera(meta.width, meta.height, meta.focal_px, meta.cx, meta.cy)
    columns = []
    for frame in np.linspace(0, len(trainer.store) - 1, 4).astype(int).tolist():
        folded = trainer.field.fold(trainer.condition[frame], trainer.head_pose(frame))
        picture = render_field(folded, camera, trainer.store.background).image
        shown = (picture.clamp(0, 1) * 255).round().byte()
        columns.append(torch.cat([trainer.store.pictures[frame], shown]))
    with atomic_path(path) as temporary:
        Image.fromarray(torch.cat(columns, 1).numpy()).save(temporary, quality=92)


def _save(trainer: FieldTrainer, path: Path, fingerprint: str, loop: Loop) -> None:
    keeper = trainer.occupancy
    tensors = {
        "refinement": trainer.refinement,
        "colour": trainer.colour,
        "occs": keeper.estimator.occs,
        "binaries": keeper.estimator.binaries,
        "seen": keeper.seen,
        "generator": trainer.generator.get_state(),
    }
    metadata = {"fingerprint": fingerprint, "step": loop.step, "spent_s": loop.elapsed_s}
    save_checkpoint(path, {"field": trainer.field}, trainer.optimizers, tensors, metadata)


def _restore(trainer: FieldTrainer, path: Path, fingerprint: str) -> Loop:
    modules, optimizers = {"field": trainer.field}, trainer.optimizers
    tensors, metadata = load_checkpoint(path, modules, optimizers, fingerprint)
    with torch.no_grad():
        trainer.refinement.copy_(tensors["refinement"])
        trainer.colour.copy_(tensors["colour"])
        trainer.occupancy.estimator.occs.copy_(tensors["occs"])
        trainer.occupancy.estimator.binaries.copy_(tensors["binaries"])
        trainer.occupancy.seen.copy_(tensors["seen"])
    trainer.generator.set_state(tensors["generator"])
    config = trainer.config
    return Loop(config.n_steps, config.budget_s, step=int(metadata["step"]), spent_s=float(metadata["spent_s"]))
