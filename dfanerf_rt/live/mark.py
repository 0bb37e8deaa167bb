"""The small visible mark that says a picture is synthetic."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

SYNTHETIC_COMMENT = "Synthetic video: this person is rendered by a computer (dfanerf_rt), and did not say this."
"""Written into the metadata of every file."""


def draw_mark(image: np.ndarray) -> None:
    """Draw the word "synthetic" into the lower right corner of (H, W, 3) uint8, in place."""
    height, width = image.shape[:2]
    colour, alpha = _mark(height, width)
    patch = image[height - alpha.shape[0] :, width - alpha.shape[1] :]
    patch[:] = (patch + (colour - patch.astype(np.float32)) * alpha).astype(np.uint8)


@lru_cache(maxsize=8)
def _mark(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Colour and opacity (h, w, 1) of the mark, sized for the picture and never larger than it."""
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default(max(8.0, height / 28))
    left, top, right, bottom = font.getbbox("synthetic")
    margin = max(int(height / 100), 1)
    size = (int(right - left) + 2 * margin + 1, int(bottom - top) + 2 * margin + 1)
    shadow, letters = Image.new("L", size), Image.new("L", size)
    ImageDraw.Draw(shadow).text((margin - left + 1, margin - top + 1), "synthetic", font=font, fill=110)
    ImageDraw.Draw(letters).text((margin - left, margin - top), "synthetic", font=font, fill=150)
    bright = np.asarray(letters, np.float32)[-height:, -width:, None] / 255
    dark = np.asarray(shadow, np.float32)[-height:, -width:, None] / 255
    alpha = bright + dark * (1 - bright)
    return 255 * bright / np.maximum(alpha, 1e-6), alpha
