"""Sixty-eight landmarks worked out by hand and a flat face drawn around them, for the tests of this room."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw


def landmarks(opening_px: float = 6.0, eye_px: float = 6.0, size: int = 128) -> np.ndarray:
    """(68, 2) pixels at a picture width of ``size``: a face between x = 29 and 99, with the centre at x = 64.

    The outer corners of the eyes are 50 px apart, each eye 16 px wide and ``eye_px`` high, the mouth 30 px wide,
    and the inner lips ``opening_px`` apart, all at size 128.
    """
    jaw = np.linspace(np.pi, 0, 17)
    points = [(64 + 35 * np.cos(a), 60 + 50 * np.sin(a)) for a in jaw]
    points += [(x, 45.0) for x in np.linspace(38, 58, 5)] + [(x, 45.0) for x in np.linspace(70, 90, 5)]
    points += [(64.0, y) for y in np.linspace(52, 70, 4)] + [(x, 74.0) for x in np.linspace(58, 70, 5)]
    h = eye_px / 2
    for x in (39, 73):
        points += [(x, 55), (x + 5, 55 - h), (x + 11, 55 - h), (x + 16, 55), (x + 11, 55 + h), (x + 5, 55 + h)]
    o, lip = opening_px / 2, opening_px / 2 + 4
    points += [(49, 88), *((x, 88 - lip) for x in (54, 59, 64, 69, 74)), (79, 88)]
    points += [(x, 88 + lip) for x in (74, 69, 64, 59, 54)]
    points += [(52, 88), *((x, 88 - o) for x in (58, 64, 70)), (76, 88), *((x, 88 + o) for x in (70, 64, 58))]
    return np.array(points, dtype=np.float64) * size / 128


def draw(points: np.ndarray, size: int = 128) -> np.ndarray:
    """(size, size, 3) uint8: the face, eyes and mouth as polygons before a grey wall."""
    picture = Image.new("RGB", (size, size), (90, 95, 100))
    pen = ImageDraw.Draw(picture)

    def polygon(part: np.ndarray, colour: tuple[int, int, int]) -> None:
        pen.polygon([(float(x), float(y)) for x, y in part], fill=colour)

    polygon(np.concatenate([points[:17], points[26:16:-1] - (0, 12 * size / 128)]), (220, 180, 150))
    for eye in (points[36:42], points[42:48]):
        polygon(eye, (245, 245, 245))
    polygon(points[48:60], (180, 60, 60))
    polygon(points[60:68], (40, 10, 10))
    return np.asarray(picture)
