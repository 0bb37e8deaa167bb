"""The synthetic presenter's studio: three lights, the sky of a room, and the shadows that the key light casts."""

from __future__ import annotations

import numba
import numpy as np

from dfanerf_rt.clip.presenter.raster import Buffers, Floats, Ints
from dfanerf_rt.clip.presenter.strands import draw_strands

LIGHTS = np.array([[-0.50, -0.56, -0.66], [0.80, -0.10, -0.59], [0.50, -0.62, 0.60]], np.float32)
"""Directions towards the key from the upper left, the fill, and the rim from behind; camera coordinates."""
POWER = np.array([[1.00, 0.94, 0.85], [0.22, 0.24, 0.28], [0.52, 0.54, 0.60]], np.float32)
SKY, GROUND = 0.33, 0.13
"""Light of the room from above and from below."""
CENTRE = np.array([0.0, 0.05, 0.80])
RADIUS_M = 0.36
"""The ball that the shadow map sees."""
SIDE = 720
SOFT_M = 0.0065
"""Radius of the blur of shadows: the key light is a large soft box."""
_N_TAPS = 10
_turn = np.pi * (1 + 5**0.5) * (np.arange(_N_TAPS) + 0.5)
_ring = np.sqrt((np.arange(_N_TAPS) + 0.5) / _N_TAPS)
TAPS = np.stack([_ring * np.cos(_turn), _ring * np.sin(_turn)], 1).astype(np.float32)


def axes_towards(light: np.ndarray) -> np.ndarray:
    """(3, 3) right, down and forward of a view along the light, rows."""
    forward = -np.asarray(light, np.float64) / np.linalg.norm(light)
    helper = np.array([0.0, 1.0, 0.0]) if abs(forward[1]) < 0.9 else np.array([1.0, 0.0, 0.0])
    right = np.cross(helper, forward)
    right /= np.linalg.norm(right)
    return np.stack([right, np.cross(forward, right), forward])


def parallel(points: Floats, axes: np.ndarray, centre: np.ndarray, radius_m: float, side: int) -> Floats:
    """Points (..., 3) as the rasteriser takes them, seen along ``axes`` in a parallel projection."""
    local = (points - centre.astype(np.float32)) @ (axes.T / radius_m).astype(np.float32)
    result = np.empty_like(local)
    result[..., :2] = (local[..., :2] + 1) * (side / 2)
    result[..., 2] = 2.0 - local[..., 2]
    return np.ascontiguousarray(result)


class ShadowMap:
    """What the key light sees of one frame: the nearest surface, and the nearest strand. One a thread."""

    def __init__(self) -> None:
        self.axes = axes_towards(LIGHTS[0])
        self._surface, self._strands = Buffers(SIDE, SIDE), Buffers(SIDE, SIDE)
        self.matrix = np.zeros((3, 4), np.float32)
        """Camera coordinates to column, row and nearness."""
        scale = self.axes / RADIUS_M
        scale[:2] *= SIDE / 2
        scale[2] *= -1
        self.matrix[:, :3] = scale
        self.matrix[:, 3] = np.array([SIDE / 2, SIDE / 2, 2.0]) - scale @ CENTRE

    def draw(self, vertices: Floats, faces: Ints, strands: Floats) -> tuple[Floats, Floats]:
        """Depth maps (SIDE, SIDE) of surfaces (V, 3), (F, 3) and of strands (S, P, 3), nearest the larger."""
        self._surface.draw(parallel(vertices, self.axes, CENTRE, RADIUS_M, SIDE), faces)
        hair = self._strands
        hair.inverse_depth[:] = 0.0
        points = parallel(strands, self.axes, CENTRE, RADIUS_M, SIDE)
        draw_strands(points, np.zeros(len(points), np.float32), 0, hair.face_id, hair.weights, hair.inverse_depth)
        return self._surface.inverse_depth, hair.inverse_depth


@numba.njit(cache=True, nogil=True, fastmath=True)
def key_light(
    x: float, y: float, z: float, matrix: Floats, surface: Floats, hair: Floats, turn: float, bias_m: float
) -> tuple[float, float]:
    """Share of the key light that reaches a point past surfaces, and past hair; the mean over a disc of taps.

    Args:
        x, y, z: camera coordinates, metres. turn: radians by which the taps are turned.
        bias_m: what lies less than this nearer to the light casts no shadow.
    """
    column = matrix[0, 0] * x + matrix[0, 1] * y + matrix[0, 2] * z + matrix[0, 3]
    row = matrix[1, 0] * x + matrix[1, 1] * y + matrix[1, 2] * z + matrix[1, 3]
    near = matrix[2, 0] * x + matrix[2, 1] * y + matrix[2, 2] * z + matrix[2, 3]
    reach = SOFT_M / RADIUS_M * SIDE / 2
    c, s = np.cos(turn), np.sin(turn)
    open_share = hair_share = 0.0
    for tap in range(TAPS.shape[0]):
        u = int(column + reach * (c * TAPS[tap, 0] - s * TAPS[tap, 1]))
        v = int(row + reach * (s * TAPS[tap, 0] + c * TAPS[tap, 1]))
        if u < 0 or v < 0 or u >= SIDE or v >= SIDE:
            open_share += 1.0
            hair_share += 1.0
            continue
        if (surface[v, u] - near) * RADIUS_M < bias_m:
            open_share += 1.0
        behind = (hair[v, u] - near) * RADIUS_M - 0.0012
        hair_share += np.exp(-max(behind, 0.0) / 0.007) if hair[v, u] > 0.0 else 1.0
    return open_share / TAPS.shape[0], hair_share / TAPS.shape[0]
