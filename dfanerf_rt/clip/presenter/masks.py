"""What of the head model is lip, brow, lash line, scalp or beard: a value for each vertex of the face at rest."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dfanerf_rt.clip.presenter.raster import Floats
from dfanerf_rt.clip.presenter.shapes import distance_to, lies_inside, smoothstep, spline
from dfanerf_rt.clip.presenter.surface import noise


def lip_distance(rest: Floats, marks: Floats, region: NDArray[np.str_]) -> Floats:
    """Metres into the lips, seen from the front; negative outside."""
    curve = spline(marks[48:60, :2], closed=True)
    distance = distance_to(rest[:, :2], curve) * np.where(lies_inside(rest[:, :2], curve), 1, -1)
    front = rest[:, 2] < marks[[48, 54], 2].max() + 0.012
    return np.where(front & ~np.isin(region, ("neck", "torso")), distance, -0.05).astype(np.float32)


def brow_distance(rest: Floats, marks: Floats) -> Floats:
    """Metres into the brows, which run below MediaPipe's upper brow line and taper outwards."""
    result = np.full(len(rest), -0.05)
    for first in (17, 22):
        curve = spline(marks[first : first + 5], closed=False)
        if first == 17:
            curve = curve[::-1]
        curve = curve + np.array([0.0, 0.0022, 0.0])
        gap = np.linalg.norm(rest[:, None, :] - curve[None], axis=2)
        along = gap.argmin(1) / (len(curve) - 1)
        half = np.interp(along, [0.0, 0.15, 0.6, 1.0], [0.0026, 0.0038, 0.0030, 0.0010])
        result = np.maximum(result, half - gap.min(1))
    return np.where(rest[:, 2] < 0, result, -0.05).astype(np.float32)


def lash_distance(rest: Floats, marks: Floats) -> Floats:
    """Metres into the dark margin of the lids: broad on the upper lid, thin on the lower one."""
    result = np.full(len(rest), -0.05)
    for first in (36, 42):
        upper = spline(marks[first : first + 4], closed=False)
        lower = spline(marks[[first + 3, first + 4, first + 5, first]], closed=False)
        for curve, half in ((upper, 0.0017), (lower, 0.0003)):
            result = np.maximum(result, half - distance_to(rest, curve))
    return result.astype(np.float32)


def hair_distance(rest: Floats, region: NDArray[np.str_]) -> Floats:
    """Metres behind the hairline: over the forehead, down before the ears, round the nape."""
    x, y, z = rest.astype(np.float64).T
    front_to_back = [-0.10, -0.075, -0.050, -0.022, -0.010, 0.02, 0.05]
    line = np.interp(z, front_to_back, [-0.122, -0.110, -0.088, -0.054, -0.016, 0.02, 0.032])
    # A peak on the forehead, and a ragged edge.
    line = line + 0.004 * np.exp(-((x / 0.02) ** 2)) * (z < 0)
    ragged = np.array([noise(45.0 * a, 45.0 * b, 0.0) for a, b in zip(x, z, strict=True)])
    line = line + 0.012 * (ragged - 0.5) * (z < -0.03)
    distance = 0.8 * (line - y)
    return np.where(np.isin(region, ("ears", "torso")), np.minimum(distance, -0.006), distance).astype(np.float32)


def beard_density(rest: Floats, marks: Floats, region: NDArray[np.str_]) -> Floats:
    """How thick a beard would grow, in [0, 1]: upper lip, chin, jaw and under it."""
    x, y, z = rest.astype(np.float64).T
    nose, corner, chin = marks[33], marks[[48, 54]].mean(0), marks[8]
    # The line from the ear past the corner of the mouth to the nose bounds the cheek.
    cheek = np.interp(np.abs(x), [0.0, 0.022, 0.040, 0.072], [nose[1] + 0.005, nose[1] + 0.008, corner[1], -0.012])
    thick = smoothstep(-0.006, 0.010, (y - cheek).astype(np.float32)) * smoothstep(
        0.05, 0.035, (y - chin[1]).astype(np.float32)
    )
    thick *= smoothstep(0.035, 0.015, z.astype(np.float32))
    return np.where(np.isin(region, ("ears", "torso", "scalp")), 0.0, thick).astype(np.float32)


def blush(rest: Floats, marks: Floats) -> Floats:
    """Redness in [0, 1] of cheeks, nose and chin."""
    nose = marks[33]
    tip, chin = nose + np.array([0.0, -0.012, -0.004]), marks[8] + np.array([0.0, -0.018, 0.0])
    spots = [(tip, 0.014, 0.55), (chin, 0.016, 0.25)]
    for side in (-1, 1):
        spots.append((np.array([nose[0] + side * 0.038, nose[1] - 0.006, nose[2] + 0.025]), 0.020, 0.8))
        spots.append((np.array([side * 0.078, -0.005, 0.0]), 0.025, 0.8))
    total = sum(power * np.exp(-0.5 * ((rest - centre) / size) ** 2).prod(1) for centre, size, power in spots)
    return np.asarray(total, np.float32)
