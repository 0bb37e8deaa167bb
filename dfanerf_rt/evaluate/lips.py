"""How well the lips follow: landmark distance (LMD), mouth opening, and its correlation with the truth."""

from __future__ import annotations

import numpy as np

from dfanerf_rt.errors import ShapeError

MOUTH = slice(48, 68)
"""Outer and inner lip in iBUG order."""
LMD_WIDTH_PX = 512
INNER_LIP_PAIRS = ((61, 67), (62, 66), (63, 65))
"""Upper and lower points of the inner lip that face each other."""
OUTER_EYE_CORNERS = (36, 45)


def lmd_px(truth: np.ndarray, found: np.ndarray, width_px: int) -> np.ndarray:
    """Landmark distance of the mouth, frame by frame, in pixels at a picture width of 512.

    The mean L2 distance over landmarks 48 to 67 after the mean of these landmarks is taken off each frame, so
    that it measures the shape of the mouth and not where the head is (Chen et al. 2018, as used since).

    Args:
        truth, found: (T, 68, 2) pixels.
        width_px: the width of the picture in which the landmarks were found.

    Returns:
        (T,) float64.
    """
    _check(truth, found)
    centred = [points[:, MOUTH] - points[:, MOUTH].mean(axis=1, keepdims=True) for points in (truth, found)]
    distance: np.ndarray = np.linalg.norm(centred[0] - centred[1], axis=-1).mean(axis=-1)
    return distance * (LMD_WIDTH_PX / width_px)


def collapsed_lmd_px(truth: np.ndarray, width_px: int) -> np.ndarray:
    """:func:`lmd_px` of a mouth shrunk to one point: what a frame counts in which no face is found.

    Args:
        truth: (T, 68, 2) pixels.

    Returns:
        (T,) float64, about a third of the width of the mouth.
    """
    return lmd_px(truth, np.zeros_like(truth), width_px)


def mouth_opening(landmarks: np.ndarray) -> np.ndarray:
    """Gap between the inner lips, as a share of the distance between the outer corners of the eyes.

    Args:
        landmarks: (T, 68, 2) pixels.

    Returns:
        (T,) the mean length of the three inner-lip pairs, without unit: about 0 closed, 0.3 wide open.
    """
    gaps = [np.linalg.norm(landmarks[:, upper] - landmarks[:, lower], axis=-1) for upper, lower in INNER_LIP_PAIRS]
    left, right = OUTER_EYE_CORNERS
    scale = np.linalg.norm(landmarks[:, left] - landmarks[:, right], axis=-1)
    opening: np.ndarray = np.mean(gaps, axis=0) / np.maximum(scale, 1e-6)
    return opening


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Pearson's correlation of two series (T,); 0 where one of them is constant, since it then tells nothing."""
    a, b = a - a.mean(), b - b.mean()
    scale = float(np.sqrt(np.square(a).sum() * np.square(b).sum()))
    return 0.0 if scale < 1e-12 else float((a * b).sum() / scale)


def _check(truth: np.ndarray, found: np.ndarray) -> None:
    for name, points in (("truth", truth), ("found", found)):
        if points.shape != (len(truth), 68, 2):
            raise ShapeError(f"landmarks '{name}' have shape {points.shape}, expected ({len(truth)}, 68, 2)")
