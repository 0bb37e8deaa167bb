"""Pictures in the middle of a shot that do not belong to it: black, garbled, or of something else for a moment.

What tells an interruption from a cut is that the shot goes on behind it as it was before.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from PIL import Image

THUMBNAIL_PX = 32
LONGEST_S = 3.0
"""After more time than this the picture may well be what it was before: it has been cut all the same."""
LEAP = 0.08
"""A mean absolute change from one picture to the next (values 0 to 1) that no motion makes."""
LEAP_RATIO = 6.0
"""And so many times what is usual around."""
RETURNS_WITHIN = 0.4
"""Back where it was: the picture differs from that before the leap by less than this share of the leap."""
BLANK_SPREAD = 0.015
"""Standard deviation over a thumbnail below which it shows nothing."""
DARK_SHARE = 0.35
"""A picture of less than this share of the usual brightness shows nothing either."""
_AROUND = 12


def thumbnail(frame: np.ndarray) -> np.ndarray:
    """(32, 32, 3) float32 in [0, 1] of a picture (H, W, 3) uint8: means over its tiles."""
    size = (THUMBNAIL_PX, THUMBNAIL_PX)
    return np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.BOX), np.float32) / 255.0


def find_interruptions(thumbnails: np.ndarray, fps: float) -> np.ndarray:
    """(T,) bool: pictures that show nothing, or something else before the shot goes on as it was.

    Args:
        thumbnails: (T, h, w, 3) in [0, 1].
        fps: frames a second.
    """
    flat = thumbnails.reshape(len(thumbnails), -1).astype(np.float32)
    brightness = flat.mean(1)
    lost = (flat.std(1) < BLANK_SPREAD) | (brightness < DARK_SHARE * np.median(brightness))
    if lost.all():
        return lost
    change, longest = changes(flat, lost), round(LONGEST_S * fps)
    shown = np.flatnonzero(~lost).tolist()
    place = 1
    while place < len(shown):
        frame, before = shown[place], flat[shown[place - 1]]
        if not _leaps(change, frame):
            place += 1
            continue
        limit = min(RETURNS_WITHIN * float(change[frame]), LEAP)
        behind = (k for k in range(place + 1, len(shown)) if shown[k] - frame <= longest)
        back = next((k for k in behind if float(np.abs(flat[shown[k]] - before).mean()) < limit), None)
        if back is not None:
            lost[shown[place:back]] = True
        place = place + 1 if back is None else back + 1
    return lost


def runs(flags: np.ndarray) -> list[slice]:
    """Runs of True in (T,) bool."""
    edges = np.diff(np.concatenate([[0], flags.astype(np.int8), [0]]))
    begins, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    return [slice(int(a), int(b)) for a, b in zip(begins, ends, strict=True)]


def changes(thumbnails: np.ndarray, lost: np.ndarray) -> np.ndarray:
    """(T,) mean absolute change from the frame before that is not ``lost``, 0 to 1; 0 where a frame is."""
    flat = thumbnails.reshape(len(thumbnails), -1)
    change = np.zeros(len(flat))
    shown = np.flatnonzero(~lost)
    for before, frame in pairwise(shown.tolist()):
        change[frame] = np.abs(flat[frame] - flat[before]).mean()
    return change


def _leaps(change: np.ndarray, frame: int) -> bool:
    """Whether the whole picture changes at once at a frame, from a shot that is calmer before it or behind it."""
    sides = change[max(1, frame - _AROUND) : frame], change[frame + 1 : frame + 1 + _AROUND]
    usual = min((float(np.median(side)) for side in sides if len(side)), default=0.0)
    return float(change[frame]) > max(LEAP, LEAP_RATIO * usual)
