"""The matte: how much of each pixel is the person.

MediaPipe's selfie segmentation, averaged over neighbouring frames against flicker, and sharpened along the picture's
own edges by a guided filter (He et al. 2010), so that hair keeps its outline.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from dfanerf_rt.face.landmarks import import_mediapipe, quiet_native_log


@dataclass(frozen=True)
class MattingConfig:
    """Settings of the matte; lengths are relative to the picture's shorter side."""

    neighbour_weight: float = 0.2
    """Weight of the frame before and of the frame after; the frame itself gets the rest."""
    radius: float = 1 / 64
    """Radius of the guided filter's window."""
    epsilon: float = 4e-4
    """Variance of the picture (values 0 to 1) below which the matte is smoothed rather than guided."""
    low: float = 0.1
    high: float = 0.9
    """The filtered matte is stretched so that these become 0 and 1."""


def mattes(
    frames: Iterable[np.ndarray], config: MattingConfig | None = None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pair each frame with its matte; holds three frames at a time.

    Args:
        frames: (H, W, 3) uint8 sRGB pictures in order.

    Yields:
        The frame, and (H, W) uint8, 255 where the person is.
    """
    config = config or MattingConfig()
    mediapipe = import_mediapipe()
    with quiet_native_log():
        segmentation = mediapipe.solutions.selfie_segmentation.SelfieSegmentation(model_selection=0)
        segmentation.process(np.zeros((128, 128, 3), np.uint8))
    try:
        before: np.ndarray | None = None
        held: tuple[np.ndarray, np.ndarray] | None = None
        for frame in frames:
            raw = np.asarray(segmentation.process(np.ascontiguousarray(frame)).segmentation_mask, np.float32)
            if held is not None:
                yield held[0], _finish(held[0], before, held[1], raw, config)
                before = held[1]
            held = (frame, raw)
        if held is not None:
            yield held[0], _finish(held[0], before, held[1], None, config)
    finally:
        segmentation.close()


def guided_filter(guide: np.ndarray, values: np.ndarray, radius: int, epsilon: float) -> np.ndarray:
    """Smooth ``values`` (H, W) so that they follow the edges of ``guide`` (H, W), both float32 in [0, 1].

    Source: He, Sun and Tang 2010, eq. 5, 6 and 8.
    """
    import cv2

    def mean(x: np.ndarray) -> np.ndarray:
        return cv2.boxFilter(x, -1, (2 * radius + 1, 2 * radius + 1))

    mean_guide, mean_values = mean(guide), mean(values)
    slope = (mean(guide * values) - mean_guide * mean_values) / (mean(guide * guide) - mean_guide**2 + epsilon)
    offset = mean_values - slope * mean_guide
    return mean(slope) * guide + mean(offset)


def _finish(
    frame: np.ndarray, before: np.ndarray | None, raw: np.ndarray, after: np.ndarray | None, config: MattingConfig
) -> np.ndarray:
    import cv2

    side = config.neighbour_weight
    smooth = (
        (1 - 2 * side) * raw + side * (raw if before is None else before) + side * (raw if after is None else after)
    )
    guide = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255.0
    radius = max(2, round(config.radius * min(frame.shape[:2])))
    alpha = (guided_filter(guide, smooth, radius, config.epsilon) - config.low) / (config.high - config.low)
    # the filter must not carry person or background into what the segmentation is sure of
    kernel = np.ones((2 * radius + 1, 2 * radius + 1), np.uint8)
    alpha = np.where(cv2.erode(smooth, kernel) > 0.95, 1.0, alpha)
    alpha = np.where(cv2.dilate(smooth, kernel) < 0.05, 0.0, alpha)
    return (np.clip(alpha, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)
