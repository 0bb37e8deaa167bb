"""Small geometry that the presenter's parts share."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dfanerf_rt.clip.presenter.raster import Floats

Array = NDArray[np.float64]


def smoothstep(low: float, high: float, value: NDArray) -> NDArray:
    """From 0 at ``low`` to 1 at ``high``, either of which may be the larger."""
    t = np.clip((value - low) / (high - low), 0.0, 1.0)
    return np.asarray(t * t * (3 - 2 * t))


def unit(vectors: Array) -> Array:
    """Vectors (..., 3) of length 1."""
    return vectors / (np.linalg.norm(vectors, axis=-1, keepdims=True) + 1e-12)


def fit_sphere(points: Floats) -> Floats:
    """Centre and radius (4,) of the sphere nearest to points."""
    design = np.column_stack([2 * points, np.ones(len(points))]).astype(np.float64)
    solution, *_ = np.linalg.lstsq(design, (points.astype(np.float64) ** 2).sum(1), rcond=None)
    return np.append(solution[:3], np.sqrt(solution[3] + (solution[:3] ** 2).sum())).astype(np.float32)


def spline(points: Floats, closed: bool, steps: int = 12) -> NDArray[np.float64]:
    """A Catmull-Rom spline through points (N, D): (M, D)."""
    p = points.astype(np.float64)
    padded = (
        np.concatenate([p[-1:], p, p[:2]]) if closed else np.concatenate([2 * p[:1] - p[1:2], p, 2 * p[-1:] - p[-2:-1]])
    )
    a, b, c, d = padded[:-3, None], padded[1:-2, None], padded[2:-1, None], padded[3:, None]
    t = (np.arange(steps) / steps)[None, :, None]
    segments = 0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
    spline = segments.reshape(-1, p.shape[1])
    return spline if closed else np.concatenate([spline, p[-1:]])


def distance_to(points: NDArray, curve: NDArray[np.float64]) -> NDArray[np.float64]:
    """Distance (N,) of points to the nearest point of a finely sampled curve."""
    return np.array([np.sqrt(((curve - point) ** 2).sum(1).min()) for point in points])


def lies_inside(points: NDArray, polygon: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which points (N, 2) lie in a polygon (even-odd rule)."""
    x, y = points[:, 0, None], points[:, 1, None]
    ax, ay = polygon.T
    bx, by = np.roll(polygon, -1, 0).T
    crosses = (ay > y) != (by > y)
    at = ax + (y - ay) * (bx - ax) / np.where(by == ay, 1e-12, by - ay)
    return (crosses & (x < at)).sum(1) % 2 == 1
