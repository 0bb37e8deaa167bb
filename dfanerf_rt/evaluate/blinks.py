"""Blinks, counted from the eye aspect ratio."""

from __future__ import annotations

import numpy as np

EYES = ((36, 37, 38, 39, 40, 41), (42, 43, 44, 45, 46, 47))
CLOSES_BELOW = 0.6
OPENS_ABOVE = 0.8
"""Shares of the clip's own open level; between the two an eye stays as it was, so that noise is no blink."""


def eye_aspect_ratio(landmarks: np.ndarray) -> np.ndarray:
    """Height of the eyes over their width, the mean of both eyes (Soukupova and Cech 2016, eq. 1).

    Args:
        landmarks: (T, 68, 2) pixels, iBUG order.

    Returns:
        (T,) about 0.3 for an open eye, under 0.15 for a closed one.
    """
    ratios = []
    for eye in EYES:
        p1, p2, p3, p4, p5, p6 = (landmarks[:, index] for index in eye)
        height = np.linalg.norm(p2 - p6, axis=-1) + np.linalg.norm(p3 - p5, axis=-1)
        ratios.append(height / (2.0 * np.maximum(np.linalg.norm(p1 - p4, axis=-1), 1e-6)))
    mean: np.ndarray = np.mean(ratios, axis=0)
    return mean


def count_blinks(aspect_ratio: np.ndarray, open_level: float | None = None) -> int:
    """How many times the eyes close.

    A blink begins where the ratio falls below 0.6 of the open level, and the next can begin only after it has
    risen above 0.8 of it. Eyes closed in the first frame count as a blink; frames that are not a number (no face
    found) leave the state as it was.

    Args:
        aspect_ratio: (T,) from :func:`eye_aspect_ratio`.
        open_level: the ratio of the open eye; by default the median of the series, since eyes are open most of
            the time and the shape of eyes differs between people.
    """
    known = aspect_ratio[np.isfinite(aspect_ratio)]
    if not len(known):
        return 0
    level = float(np.median(known)) if open_level is None else open_level
    closed, blinks = False, 0
    for ratio in known:
        if not closed and ratio < CLOSES_BELOW * level:
            closed, blinks = True, blinks + 1
        elif closed and ratio > OPENS_ABOVE * level:
            closed = False
    return blinks
