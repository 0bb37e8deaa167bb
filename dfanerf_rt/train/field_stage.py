"""The field's training from start, or from a checkpoint, to its end, with a contact sheet every minute."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from dfanerf_rt.clip.format import Clip
from dfanerf_rt.field.field import ConditionalField
from dfanerf_rt.train.checkpoint import load_checkpoint, save_checkpoint
from dfanerf_rt.train.field import FieldTrainer
from dfanerf_rt.train.loop import Interrupted, Loop, Progress, ShouldStop
from dfanerf_rt.train.preview import preview_sheet, write_preview

PREVIEW_EVERY_S = 60.0
PROGRESS_EVERY_S = 1.0

OnPicture = Callable[[int, np.ndarray], None]
"""Called with the step and a contact sheet (H, W, 3) uint8."""


def no_picture(step: int, sheet: np.ndarray) -> None:
    """The default of ``on_picture``."""


def train_field(
    trainer: FieldTrainer,
    clip: Clip,
    work: Path,
    fingerprint: str,
    on_progress: Progress,
    should_stop: ShouldStop,
    on_picture: OnPicture = no_picture,
) -> ConditionalField:
    """Train to the end; ``work`` receives ``checkpoint.safetensors`` and ``preview.jpg``, from the first process alone.

    Args:
        trainer: a new trainer; a checkpoint in ``work`` with the same fingerprint is continued.
        clip: the clip it learns from.
        work: folder of this training.
        fingerprint: what the checkpoint must have been made from.
        on_picture: given each contact sheet too.

    Returns:
        The field; processes other than the first have not let go of its unseen cells.

    Raises:
        Interrupted: ``should_stop`` said so; the checkpoint holds everything up to now.
        DfanerfError: a checkpoint is there and does not fit.
    """
    team, checkpoint = trainer.team, work / "checkpoint.safetensors"
    loop = Loop(trainer.config.n_steps, trainer.config.budget_s)
    if checkpoint.is_file():
        loop = _restore(trainer, checkpoint, fingerprint)

    def show() -> None:
        sheet = preview_sheet(trainer, clip.meta)
        write_preview(sheet, work / "preview.jpg")
        on_picture(loop.step, sheet)

    shown = previewed = time.monotonic()
    mean: dict[str, float] = {}
    loop.agree(team, False)
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
        if team.first and now - previewed > PREVIEW_EVERY_S:
            previewed = now
            show()
            _save(trainer, checkpoint, fingerprint, loop)
        if loop.agree(team, should_stop()) and not loop.done:
            if team.first:
                _save(trainer, checkpoint, fingerprint, loop)
            raise Interrupted(f"stopped after {loop.step} steps; the same command goes on from there")
    kept = float(trainer.field.occupancy.float().mean())
    if team.first:
        kept = trainer.tighten()
        show()
    team.wait()
    on_progress(1.0, {"step": loop.step, "occupied": kept, **mean})
    return trainer.field


def _save(trainer: FieldTrainer, path: Path, fingerprint: str, loop: Loop) -> None:
    keeper = trainer.occupancy
    tensors = {
        "refinement": trainer.refinement,
        "colour": trainer.colour,
        "alphas": keeper.grid.alphas,
        "occupied": keeper.grid.occupied,
        "seen": keeper.seen,
        "generator": trainer.generator.get_state(),
        "frame_generator": trainer.frame_generator.get_state(),
        "draws": trainer.draws.get_state(),
    }
    metadata = {"fingerprint": fingerprint, "step": loop.step, "spent_s": loop.elapsed_s}
    save_checkpoint(path, {"field": trainer.field}, trainer.optimizers, tensors, metadata)


def _restore(trainer: FieldTrainer, path: Path, fingerprint: str) -> Loop:
    modules, optimizers = {"field": trainer.field}, trainer.optimizers
    tensors, metadata = load_checkpoint(path, modules, optimizers, fingerprint)
    keeper, team = trainer.occupancy, trainer.team
    with torch.no_grad():
        trainer.refinement.copy_(tensors["refinement"])
        trainer.colour.copy_(tensors["colour"])
        for held, name in ((keeper.grid.alphas, "alphas"), (keeper.grid.occupied, "occupied"), (keeper.seen, "seen")):
            held.copy_(tensors[name])
    trainer.frame_generator.set_state(tensors["frame_generator"])
    step = int(metadata["step"])
    if team.first:
        trainer.generator.set_state(tensors["generator"])
        if len(trainer.draws.get_state()) == len(tensors["draws"]):  # of the same kind of device
            trainer.draws.set_state(tensors["draws"])
    else:
        trainer.generator.manual_seed(1_000_003 * team.rank + step)
        if trainer.draws is not trainer.generator:
            trainer.draws.manual_seed(1_000_003 * team.rank + step)
    config = trainer.config
    return Loop(config.n_steps, config.budget_s, step=step, spent_s=float(metadata["spent_s"]))
