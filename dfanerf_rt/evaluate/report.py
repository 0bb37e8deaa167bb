"""Scores rendered pictures against the held-out frames of a clip, row by row, into one report."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np

from dfanerf_rt.clip.format import Clip
from dfanerf_rt.clip.judge import judgement_of
from dfanerf_rt.errors import ClipError
from dfanerf_rt.evaluate.blinks import count_blinks, eye_aspect_ratio
from dfanerf_rt.evaluate.boxes import face_box, mouth_box
from dfanerf_rt.evaluate.image_quality import gradient_energy, psnr, ssim
from dfanerf_rt.evaluate.lips import collapsed_lmd_px, correlation, lmd_px, mouth_opening

RenderFrame = Callable[[int], np.ndarray]
"""Index of a frame of the clip -> its picture, (H, W, 3) uint8."""
Detect = Callable[[np.ndarray], "np.ndarray | None"]
"""Picture (H, W, 3) uint8 -> (68, 2) landmarks in pixels, or None where no face is found."""
Detector = Callable[[], AbstractContextManager[Detect]]
"""Opens a tracker; each series of pictures gets a fresh one, so that no row sees another row's past."""
Progress = Callable[[str, int, int], None]
"""Called with (name of the row, frames done, frames in all)."""

MEAN_FRAME = "mean_frame"
MIN_CHANCE_STRETCHES = 20
AVERAGED = ("psnr_db", "face_psnr_db", "mouth_psnr_db", "ssim", "face_ssim")
FIGURES = (*AVERAGED, "gradient_energy", "truth_gradient_energy")


@dataclass(frozen=True)
class Series:
    """What was measured in one row, frame by frame; all arrays have length T."""

    figures: dict[str, np.ndarray]
    """One array for each of :data:`FIGURES`; the energies of the gradient are taken inside the face box."""
    landmarks: np.ndarray
    """(T, 68, 2) pixels; NaN where no face was found."""

    @property
    def found(self) -> np.ndarray:
        """(T,) bool, whether a face was found."""
        return np.isfinite(self.landmarks).all(axis=(1, 2))


@dataclass(frozen=True)
class Evaluation:
    """The report for machines, and the series behind it for pictures of the worst frames."""

    report: dict[str, Any]
    series: dict[str, Series]
    frames: range
    truth: np.ndarray
    """(T, 68, 2) landmarks found in the clip's own pictures, pixels; NaN where no face was found."""
    kept: np.ndarray
    """(T,) bool: frames that are scored; the pictures of the others are no truth to compare with."""


def evaluate_rows(
    clip: Clip,
    rows: Mapping[str, RenderFrame],
    detector: Detector,
    progress: Progress = lambda name, done, total: None,
) -> Evaluation:
    """Score each row's pictures against the held-out frames, beside the mean training frame as a baseline.

    Pictures are compared over the full frame with nothing pasted back; figures a frame are averaged over frames
    (PSNR in dB). Landmarks of truth and renders come from the same tracker, so that its errors cancel. A rendered
    frame in which no face is found counts: its mouth is taken as shrunk to a point (LMD about a third of the
    mouth's width, opening 0), and ``landmarks_found`` says the share of frames with a face. Truth frames in which
    no face is found have nothing to compare with; ``truth_landmarks_found`` says the share of those that have. Frames
    that the clip's judgement calls black, frozen, or tracked wrongly are left out of every figure; ``left_out`` counts
    them, and ``doubts`` says why.

    Args:
        clip: its held-out frames are the truth; boxes come from its tracked landmarks.
        rows: name -> renderer of frame ``index`` of the clip.
        detector: opens a landmark tracker.
        progress: told after each frame.

    Returns:
        The report with the keys of ``dfanerf evaluate --json``. The mean frame is tracked once, so its LMD is that
        of one mouth that never moves, and its correlation, being that of a constant, counts as 0. A figure without
        any truth landmarks is None.

    Raises:
        ClipError: no held-out frames, no training frames, or face or mouth outside the picture.
        ShapeError: a renderer returns a picture of another size.
    """
    meta = clip.meta
    frames = meta.test_frames
    if not len(frames):
        raise ClipError(f"{clip.root}: no frames are held out of training (n_test_frames is 0), so none can be scored")
    judgement = judgement_of(clip)
    kept = judgement.tracked(frames).numpy()
    if not kept.any():
        why = "; ".join(judgement.warnings(frames, meta.fps))
        raise ClipError(f"{clip.root}: none of the {len(frames)} held-out frames can be scored ({why})")
    truth = _track_all(clip.frame, frames, detector, "truth", progress)
    truth[~kept] = np.nan
    truth_found = np.isfinite(truth).all(axis=(1, 2))
    mean_frame = mean_training_frame(clip, progress)
    everything = {**rows, MEAN_FRAME: lambda index: mean_frame}
    series = {
        name: _measure(clip, render, detector, name, progress, still=name == MEAN_FRAME)
        for name, render in everything.items()
    }
    report = {
        "frames": len(frames),
        "width": meta.width,
        "height": meta.height,
        "fps": meta.fps,
        "first_frame": frames.start,
        "left_out": int((~kept).sum()),
        "doubts": judgement.warnings(frames, meta.fps),
        "truth_landmarks_found": float(truth_found[kept].mean()),
        "mouth_opening_corr_chance": chance_correlation(clip),
        "rows": {name: _summarise(one, truth, kept, meta.width, meta.fps) for name, one in series.items()},
    }
    return Evaluation(report, series, frames, truth, kept)


def mean_training_frame(clip: Clip, progress: Progress = lambda name, done, total: None) -> np.ndarray:
    """The mean of all training frames: (H, W, 3) uint8."""
    frames = clip.meta.train_frames
    total = np.zeros((clip.meta.height, clip.meta.width, 3), dtype=np.float64)
    for index in frames:
        total += clip.frame(index)
        progress("mean training frame", index + 1, len(frames))
    return (total / len(frames)).round().astype(np.uint8)


def chance_correlation(clip: Clip) -> float | None:
    """What ``mouth_opening_corr`` reaches by chance: a mouth of the same person that says something else.

    The held-out frames' opening is correlated with that of every equally long stretch of training frames, from the
    clip's own landmarks; a short clip holds few syllables, and unrelated ones can agree well.

    Returns:
        The 95th percentile, or None where there are fewer than 20 such stretches.
    """
    opening = mouth_opening(clip.track.landmarks_px.double().numpy())
    held_out, n_train = opening[clip.meta.test_frames.start :], len(clip.meta.train_frames)
    starts = range(n_train - len(held_out) + 1)
    if len(starts) < MIN_CHANCE_STRETCHES:
        return None
    return float(np.percentile([correlation(opening[i : i + len(held_out)], held_out) for i in starts], 95))


def _track_all(
    render: RenderFrame, frames: range, detector: Detector, name: str, progress: Progress, still: bool = False
) -> np.ndarray:
    """Landmarks (T, 68, 2); where the picture stands ``still``, those of its first frame, since a tracker wanders."""
    landmarks = np.full((len(frames), 68, 2), np.nan)
    with detector() as detect:
        for i, index in enumerate(frames):
            picture = render(index)
            points = landmarks[0] if still and i else detect(picture)
            if points is not None:
                landmarks[i] = points
            progress(name, i + 1, len(frames))
    return landmarks


def _measure(clip: Clip, render: RenderFrame, detector: Detector, name: str, progress: Progress, still: bool) -> Series:
    meta = clip.meta
    figures: dict[str, list[float]] = {name: [] for name in FIGURES}
    boxes = clip.track.landmarks_px.double().numpy()

    def measured(index: int) -> np.ndarray:
        truth, picture = clip.frame(index), render(index)
        face = face_box(boxes[index], meta.width, meta.height)
        mouth = mouth_box(boxes[index], meta.width, meta.height)
        now = (
            psnr(truth, picture),
            psnr(face.crop(truth), face.crop(picture)),
            psnr(mouth.crop(truth), mouth.crop(picture)),
            ssim(truth, picture),
            ssim(face.crop(truth), face.crop(picture)),
            gradient_energy(face.crop(picture)),
            gradient_energy(face.crop(truth)),
        )
        for name, value in zip(FIGURES, now, strict=True):
            figures[name].append(value)
        return picture

    landmarks = _track_all(measured, meta.test_frames, detector, name, progress, still)
    return Series({name: np.array(values) for name, values in figures.items()}, landmarks)


def _summarise(
    series: Series, truth: np.ndarray, kept: np.ndarray, width_px: int, fps: float
) -> dict[str, float | None]:
    seconds = kept.sum() / fps
    figures = {name: values[kept] for name, values in series.figures.items()}
    seen_eyes = np.where(kept[:, None, None], series.landmarks, np.nan)
    energy, truth_energy = (float(figures[name].sum()) for name in ("gradient_energy", "truth_gradient_energy"))
    compared = np.isfinite(truth).all(axis=(1, 2))
    lmd = corr = None
    if compared.any():
        known, found, seen = truth[compared], series.landmarks[compared], series.found[compared]
        lmd = float(np.where(seen, lmd_px(known, found, width_px), collapsed_lmd_px(known, width_px)).mean())
        corr = correlation(mouth_opening(known), np.where(seen, mouth_opening(found), 0.0))
    return {
        **{name: float(figures[name].mean()) for name in AVERAGED},
        "lmd_px": lmd,
        "mouth_opening_corr": corr,
        "blinks_per_s": count_blinks(eye_aspect_ratio(seen_eyes)) / seconds,
        "blinks_per_s_truth": count_blinks(eye_aspect_ratio(truth)) / seconds if compared.any() else None,
        "gradient_energy_ratio": energy / max(truth_energy, 1e-12),
        "landmarks_found": float(series.found[kept].mean()),
    }
