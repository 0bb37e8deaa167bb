"""The square that a clip shows: the whole picture where it is square, else head and shoulders."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

HEADROOM = 0.46
"""Height of the face's middle in the square, from the top."""
FACES_HIGH = 2.4
"""Side of the square in heights of the face (brow to chin as MediaPipe's mesh spans it)."""
MARGIN = 0.15


@dataclass(frozen=True)
class Crop:
    """A square of the displayed video, and the size it is scaled to; constant over the clip."""

    x: int
    y: int
    side: int
    size: int

    @property
    def scale(self) -> float:
        """Pixels of the clip per pixel of the video."""
        return self.size / self.side

    def apply(self, frame: np.ndarray) -> np.ndarray:
        """(size, size, 3) uint8 of a video frame (H, W, 3)."""
        import cv2

        square = frame[self.y : self.y + self.side, self.x : self.x + self.side]
        if self.side == self.size:
            return np.ascontiguousarray(square)
        shrinking = self.size < self.side
        return cv2.resize(
            square, (self.size, self.size), interpolation=cv2.INTER_AREA if shrinking else cv2.INTER_CUBIC
        )

    def points(self, landmarks: np.ndarray) -> np.ndarray:
        """Landmarks (..., 2 or 3) of the video in pixels of the clip; depth is scaled alike."""
        moved = landmarks.astype(np.float32, copy=True)
        moved[..., 0] -= self.x
        moved[..., 1] -= self.y
        return moved * np.float32(self.scale)


def choose_crop(landmarks: np.ndarray, width: int, height: int, size: int | None, default_size: int = 512) -> Crop:
    """Choose the square for a clip.

    Args:
        landmarks: (T, 478, 3) pixels, NaN where no face was found.
        width, height: of the video as displayed.
        size: side of the clip's frames; None takes ``default_size``, or the square's own side where that is smaller.
    """
    side, x, y = min(width, height), 0, 0
    if abs(width - height) > 0.02 * side:
        points = landmarks[np.isfinite(landmarks).all((1, 2))][..., :2]
        low, high = points.min(1), points.max(1)
        face_height = float(np.median(high[:, 1] - low[:, 1]))
        reach = (high.max(0) - low.min(0)).max() * (1 + 2 * MARGIN)
        side = min(side, round(max(FACES_HIGH * face_height, reach)))
        centre = np.median(0.5 * (low + high), axis=0)
        x = int(np.clip(round(centre[0] - side / 2), 0, width - side))
        y = int(np.clip(round(centre[1] - HEADROOM * side), 0, height - side))
    else:
        x, y = (width - side) // 2, (height - side) // 2
    # video encoders want even sizes
    return Crop(x, y, side, size if size is not None else min(default_size, side // 2 * 2))
