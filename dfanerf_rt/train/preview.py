"""A contact sheet of a training: training frames, what the field makes of them, and where the two differ."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw

from dfanerf_rt.clip.format import ClipMeta
from dfanerf_rt.evaluate.image_quality import psnr
from dfanerf_rt.evaluate.show import CAPTION_PX, ERROR_GAIN, error_map
from dfanerf_rt.files import atomic_path
from dfanerf_rt.ops.camera import Camera
from dfanerf_rt.ops.render_field import render_field
from dfanerf_rt.train.field import FieldTrainer

COLUMNS = 4
ROWS = ("truth", "render", f"error x{ERROR_GAIN}")


def shown_frames(trainer: FieldTrainer) -> list[int]:
    """Up to four training frames that are learned from, evenly spread."""
    known = trainer.known
    places = torch.linspace(0, len(known) - 1, min(len(known), COLUMNS)).round().long().unique()
    return known[places].tolist()


@torch.no_grad()
def preview_sheet(trainer: FieldTrainer, meta: ClipMeta) -> np.ndarray:
    """A column a frame under a caption with its number and PSNR: truth, render, and the error.

    Returns:
        (14 + 3 H, columns * W, 3) uint8.
    """
    camera = Camera(meta.width, meta.height, meta.focal_px, meta.cx, meta.cy)
    frames = shown_frames(trainer)
    sheet = Image.new("RGB", (meta.width * len(frames), CAPTION_PX + meta.height * len(ROWS)))
    pen = ImageDraw.Draw(sheet)
    for column, frame in enumerate(frames):
        folded = trainer.field.fold(trainer.condition[frame], trainer.head_pose(frame))
        picture = render_field(folded, camera, trainer.store.background).image
        render = (picture.clamp(0, 1) * 255).round().byte().cpu().numpy()
        truth = trainer.store.pictures[frame].cpu().numpy()
        x = column * meta.width
        for row, panel in enumerate((truth, render, error_map(truth, render))):
            y = CAPTION_PX + row * meta.height
            sheet.paste(Image.fromarray(panel), (x, y))
            pen.text((x + 3, y + 2), ROWS[row], fill=(255, 255, 255), stroke_width=1, stroke_fill=(0, 0, 0))
        caption = f"frame {trainer.store.indices[frame]}, {psnr(truth, render):.1f} dB"
        pen.text((x + 2, 1), caption, fill=(255, 255, 255))
    return np.asarray(sheet)


def write_preview(sheet: np.ndarray, path: Path) -> None:
    """Write a sheet as JPEG, atomically."""
    with atomic_path(path) as temporary:
        Image.fromarray(sheet).save(temporary, quality=92)
