"""The boxes in which face and mouth are compared; one box a frame, from the truth, used for truth and render."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dfanerf_rt.errors import ClipError
from dfanerf_rt.evaluate.lips import MOUTH

FACE_MARGIN = 0.10
FOREHEAD_MARGIN = 0.30
MOUTH_MARGIN = 0.25
MIN_SIDE_PX = 11
"""A smaller box has no window of :func:`~dfanerf_rt.evaluate.image_quality.ssim` inside."""


@dataclass(frozen=True)
class Box:
    """Rows ``top`` to ``bottom`` and columns ``left`` to ``right`` of a picture, the ends excluded, pixels."""

    top: int
    bottom: int
    left: int
    right: int

    def crop(self, picture: np.ndarray) -> np.ndarray:
        """The part of ``picture`` (H, W, ...) inside the box (a view)."""
        return picture[self.top : self.bottom, self.left : self.right]


def face_box(landmarks_px: np.ndarray, width: int, height: int) -> Box:
    """The 68 landmarks' bounding box with a margin, cut at the picture's border.

    The margin is 10 % of the bounding box's width at either side, 10 % of its height below the chin, and 30 % of
    its height above the brows, where the landmarks end and the forehead goes on.

    Args:
        landmarks_px: (68, 2) x right, y down.

    Raises:
        ClipError: less than 11 px of the box lies inside the picture.
    """
    low, high = landmarks_px.min(axis=0), landmarks_px.max(axis=0)
    w, h = high - low
    above, around = np.array([FACE_MARGIN * w, FOREHEAD_MARGIN * h]), np.array([FACE_MARGIN * w, FACE_MARGIN * h])
    return _inside(low - above, high + around, width, height, "face")


def mouth_box(landmarks_px: np.ndarray, width: int, height: int) -> Box:
    """The bounding box of landmarks 48 to 67 with a margin of 25 % of its width at each of the four sides.

    The width sets the vertical margin too: a closed mouth is flat, and a render that opens it wrongly is to be
    seen inside the box.

    Args:
        landmarks_px: (68, 2) x right, y down.

    Raises:
        ClipError: less than 11 px of the box lies inside the picture.
    """
    low, high = landmarks_px[MOUTH].min(axis=0), landmarks_px[MOUTH].max(axis=0)
    margin = MOUTH_MARGIN * (high[0] - low[0])
    return _inside(low - margin, high + margin, width, height, "mouth")


def _inside(low: np.ndarray, high: np.ndarray, width: int, height: int, what: str) -> Box:
    left, top = np.floor(low).astype(int)
    right, bottom = np.ceil(high).astype(int)
    box = Box(max(top, 0), min(bottom, height), max(left, 0), min(right, width))
    if box.bottom - box.top < MIN_SIDE_PX or box.right - box.left < MIN_SIDE_PX:
        raise ClipError(
            f"the {what} box (columns {left} to {right}, rows {top} to {bottom}) has less than {MIN_SIDE_PX} px "
            f"inside the {width}x{height} picture; prepare the clip at a larger --size"
        )
    return box
