"""The static background behind the person, put together from the pixels that become visible over time."""

from __future__ import annotations

import numpy as np

MAX_SAMPLES = 48


class EvenViews:
    """Copies of a limited number of frames and their mattes, taken evenly over a clip as it passes by.

    Args:
        n_frames: length of the clip.
    """

    def __init__(self, n_frames: int) -> None:
        self._chosen = set(np.linspace(0, n_frames - 1, min(n_frames, MAX_SAMPLES)).round().astype(int).tolist())
        self._views: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def add(self, index: int, frame: np.ndarray, alpha: np.ndarray) -> None:
        """Offer frame ``index``: (H, W, 3) uint8 and its matte (H, W) uint8."""
        if index in self._chosen:
            self._views[index] = frame.copy(), alpha.copy()

    def of(self, good: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
        """Frame and matte of those taken that are ``good`` (T,) bool."""
        return [view for index, view in self._views.items() if good[index]]

    def background(self, good: np.ndarray) -> tuple[np.ndarray, float]:
        """The background, and the share of pixels that were seen.

        Args:
            good: (T,) bool, frames whose picture and matte are right; a matte that finds nobody would paint the person
                into the background. Where none of those taken is good, all of them are looked at.

        Returns:
            (H, W, 3) uint8 sRGB, and a number in [0, 1]. Pixels never seen are filled smoothly from around.
        """
        frames, alphas = zip(*(self.of(good) or self._views.values()), strict=True)
        return static_background(np.stack(frames), np.stack(alphas))


def static_background(frames: np.ndarray, alphas: np.ndarray) -> tuple[np.ndarray, float]:
    """Median over time of uncovered pixels; the rest is filled in.

    Args:
        frames: (N, H, W, 3) uint8.
        alphas: (N, H, W) uint8, 255 where the person is.

    Returns:
        (H, W, 3) uint8, and the share of pixels seen in at least one frame.
    """
    import cv2

    height, width = alphas.shape[1:]
    # the matte's soft rim mixes person and background: keep a distance from it
    margin = max(2, round(min(height, width) / 100))
    kernel = np.ones((2 * margin + 1, 2 * margin + 1), np.uint8)
    free = np.stack([cv2.dilate(alpha, kernel) < 8 for alpha in alphas])
    background = np.zeros((height, width, 3), np.uint8)
    for row in range(height):
        values = np.where(free[:, row, :, None], frames[:, row].astype(np.float32), np.nan)
        seen = free[:, row].any(0)
        if seen.any():
            background[row, seen] = np.nanmedian(values[:, seen], axis=0).round()
    seen = free.any(0)
    return _fill(background, seen), float(seen.mean())


def _fill(picture: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Fill unseen pixels: coarse to fine averages of what is seen, then blended over the rim."""
    import cv2

    if seen.all():
        return picture
    if not seen.any():
        return np.full_like(picture, 128)
    # push-pull: halve while something is missing, then fill each level from the coarser one
    colours, weights = [picture.astype(np.float32) * seen[..., None]], [seen.astype(np.float32)]
    while weights[-1].min() == 0.0 and min(weights[-1].shape) > 1:
        size = ((weights[-1].shape[1] + 1) // 2, (weights[-1].shape[0] + 1) // 2)
        weight = cv2.resize(weights[-1], size, interpolation=cv2.INTER_AREA)
        colour = cv2.resize(colours[-1], size, interpolation=cv2.INTER_AREA)
        full = np.minimum(weight * 4.0, 1.0)
        colours.append(colour * (full / np.maximum(weight, 1e-6))[..., None])
        weights.append(full)
    mean = (picture[seen].astype(np.float32)).mean(0)
    filled = colours[-1] + (1.0 - weights[-1])[..., None] * mean
    for colour, weight in zip(colours[-2::-1], weights[-2::-1], strict=True):
        up = cv2.resize(filled, (weight.shape[1], weight.shape[0]), interpolation=cv2.INTER_LINEAR)
        filled = colour + (1.0 - weight)[..., None] * up.reshape(*weight.shape, 3)
    smooth = np.clip(filled, 0, 255)
    soft = cv2.GaussianBlur(smooth, (0, 0), max(1.0, min(seen.shape) / 100))
    rim = cv2.GaussianBlur(seen.astype(np.float32), (0, 0), max(1.0, min(seen.shape) / 200))[..., None]
    smooth = np.where(seen[..., None], smooth, rim * smooth + (1 - rim) * soft)
    return smooth.round().astype(np.uint8)
