"""Clips of the presenter with something wrong in the middle, made by painting over a good one."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from dfanerf_rt.clip.format import Clip
from dfanerf_rt.clip.judgement import FILE_NAME

Paint = Callable[[int, np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
"""Index, picture (H, W, 3) uint8 and matte (H, W) uint8 -> the two as they shall be."""


def repainted(clip: Clip, folder: Path, paint: Paint) -> Clip:
    """A copy of ``clip`` in ``folder`` with other pictures and mattes; track and sound stay."""
    shutil.copytree(clip.root, folder)
    (folder / FILE_NAME).unlink(missing_ok=True)
    for index in range(clip.meta.n_frames):
        frame, alpha = paint(index, clip.frame(index).copy(), clip.alpha(index).copy())
        Image.fromarray(frame).save(folder / "frames" / f"{index:06d}.jpg", quality=95, subsampling=0)
        Image.fromarray(alpha).save(folder / "alpha" / f"{index:06d}.png", compress_level=1)
    return Clip(folder)


def black(frames: range) -> Paint:
    """Black pictures, with the noise of a video."""
    rng = np.random.default_rng(0)

    def paint(index: int, frame: np.ndarray, alpha: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return (rng.integers(0, 6, frame.shape).astype(np.uint8) if index in frames else frame), alpha

    return paint


def garbled(frames: range) -> Paint:
    """Pictures of coloured blocks, as a decoder leaves them that has lost its place."""

    def paint(index: int, frame: np.ndarray, alpha: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if index not in frames:
            return frame, alpha
        blocks = np.random.default_rng(index).integers(0, 256, (8, 8, 3)).astype(np.uint8)
        side = frame.shape[0]
        return np.asarray(Image.fromarray(blocks).resize((side, side), Image.Resampling.NEAREST)).copy(), alpha

    return paint


def frozen(clip: Clip, frames: range) -> Paint:
    """The picture before the first of the frames, all the while."""
    held = clip.frame(frames.start - 1), clip.alpha(frames.start - 1)
    return lambda index, frame, alpha: held if index in frames else (frame, alpha)


def without_matte(frames: range, value: int = 0) -> Paint:
    """A matte that finds nobody (0), or takes everything for the person (255)."""
    return lambda index, frame, alpha: (frame, np.full_like(alpha, value) if index in frames else alpha)


def busy_background(clip: Clip) -> Paint:
    """A screen beside the person that shows another colour all the time."""
    size = clip.meta.width
    rng = np.random.default_rng(0)
    screen = np.zeros((size, size), bool)
    screen[size // 12 : size // 3, size // 24 : size // 4] = True

    def paint(index: int, frame: np.ndarray, alpha: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        shown = rng.integers(0, 256, 3)
        share = (alpha[..., None] / 255.0) * frame + (1 - alpha[..., None] / 255.0) * shown
        frame[screen] = share[screen].astype(np.uint8)
        return frame, alpha

    return paint


def glasses(clip: Clip, dark: bool) -> Paint:
    """A frame round each eye; with ``dark`` glass that hides the eyes."""

    def paint(index: int, frame: np.ndarray, alpha: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        picture = Image.fromarray(frame)
        pen = ImageDraw.Draw(picture)
        points = clip.track.landmarks_px[index].numpy()
        rims = []
        for outer, inner in ((36, 39), (45, 42)):
            middle = 0.5 * (points[outer] + points[inner])
            radius = 0.95 * float(np.linalg.norm(points[outer] - points[inner]))
            box = [*(middle - radius * np.array([1.0, 0.8])), *(middle + radius * np.array([1.0, 0.8]))]
            pen.ellipse(box, fill=(18, 18, 22) if dark else None, outline=(10, 10, 10))
            rims.append(middle + np.array([radius if outer == 36 else -radius, 0.0]))
        pen.line([*rims[0], *rims[1]], fill=(10, 10, 10), width=2)
        return np.asarray(picture).copy(), alpha

    return paint
