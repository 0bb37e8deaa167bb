"""What the synthetic presenter wears: sheets cut from the torso, each standing off the one below, and a collar."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from dfanerf_rt.clip.presenter.raster import Floats, Ints, Refinement, edges_of, vertex_normals
from dfanerf_rt.clip.presenter.shapes import Array, smoothstep, unit
from dfanerf_rt.clip.presenter.surface import JACKET, SHIRT


@dataclass(frozen=True)
class Dress:
    """Clothes: a shirt with a collar, or a round-necked top, under a jacket."""

    top: Literal["collar", "round"] = "collar"
    opening_m: float = 0.050
    """Half the width of the jacket's opening at the height of the shoulders."""
    lapel_m: float = 0.046


@dataclass(frozen=True)
class Sheet:
    """A piece of cloth at rest, torso coordinates."""

    vertices: Floats
    """(V, 3) metres."""
    faces: Ints
    """(F, 3)."""
    edge_m: Floats
    """(V,) distance from the edge that shows, for seams and shade."""
    material: int
    hides: bool = True
    """Whether skin under it is never seen."""


def sew(dress: Dress, rest: Floats, faces: Ints, body: NDArray[np.bool_]) -> list[Sheet]:
    """All pieces, from the skin outwards.

    Args:
        rest: (V, 3) of the head model at rest; faces: (F, 3).
        body: (V,) neck and torso, which cloth may lie on.
    """
    kept = faces[body[faces].all(1)]
    used = np.unique(kept)
    index = np.full(len(rest), -1)
    index[used] = np.arange(len(used))
    vertices, faces = _finer(rest[used], index[kept].astype(np.int32), 2)
    vertices = _smoothed(vertices, faces)
    normals = vertex_normals(vertices, faces)
    x, y, z = vertices.astype(np.float64).T
    neckline = _neckline(x, z)
    below = y - neckline
    front = z < 0.02
    # The jacket opens in a V, narrower the lower.
    reach = np.interp(y, [0.10, 0.15, 0.20, 0.34], [0.078, 0.066, dress.opening_m, 0.0])
    from_opening = np.where(front, np.abs(x) - reach, 0.08)
    jacket = np.minimum(np.where(front & (y > 0.135), from_opening, 0.06), below - 0.010)
    # Turned back along the opening, with a notch between the collar's part and the lapel's.
    level = y - 0.3 * (np.abs(x) - 0.06)
    width = np.interp(level, [0.166, 0.172, 0.178], [0.72 * dress.lapel_m, 0.42 * dress.lapel_m, dress.lapel_m])
    lapel = np.where(front, np.minimum(jacket, width - from_opening), -1.0)
    sheets = []
    if dress.top == "collar":
        # Open at the throat: a narrow V between the leaves of the collar.
        throat = np.abs(x) - np.interp(y, [0.12, 0.205], [0.034, 0.0])
        shirt = np.minimum(below + 0.004, np.where(front & (y < 0.215), np.maximum(throat, y - 0.205), 0.05))
        sheets.append(_sheet(vertices, normals, faces, shirt, 0.0030, SHIRT))
        sheets.append(_collar(vertices))
    else:
        round_neck = y - np.where(front, 0.182 - 6.0 * x**2, neckline + 0.01)
        sheets.append(_sheet(vertices, normals, faces, np.minimum(round_neck, below), 0.0030, SHIRT))
    sheets.append(_sheet(vertices, normals, faces, jacket, 0.0075, JACKET))
    sheets.append(_sheet(vertices, normals, faces, lapel, 0.0115, JACKET))
    return [sheet for sheet in sheets if len(sheet.faces)]


def _neckline(x: Array, z: Array) -> Array:
    """Height at which cloth ends round the neck: high behind, low in front."""
    radius = np.hypot(x, 0.9 * (z - 0.02))
    line = np.interp(radius, [0.045, 0.070, 0.085, 0.12], [0.160, 0.130, 0.106, 0.080])
    return line - 0.16 * np.minimum(z, 0.1) * np.interp(radius, [0.0, 0.06], [0.0, 1.0])


def _collar(vertices: Floats, n_around: int = 120, n_up: int = 18) -> Sheet:
    """A shirt's collar: a stand round the neck, folded outwards, its leaves longest in front."""
    centre = np.array([0.0, 0.022])
    # Round the neck from one side of the throat to the other.
    turn = np.linspace(-np.pi + 0.30, np.pi - 0.30, n_around)
    sine, cosine = np.sin(turn), np.cos(turn)
    forward = 0.5 - 0.5 * np.cos(turn)  # 0 at the nape, 1 at the throat
    foot = 0.080 + 0.080 * forward**1.3
    angle = np.arctan2(vertices[:, 0], vertices[:, 2] - centre[1])
    away = np.hypot(vertices[:, 0], vertices[:, 2] - centre[1])

    def surface(turns: Array, heights: Array) -> Array:
        """Radius of the torso there: the least of what lies near that direction and height, from outside."""
        gap = np.abs(np.angle(np.exp(1j * (angle[None] - turns[:, None]))))
        near = gap / 0.10 + np.abs(vertices[None, :, 1] - heights[:, None]) / 0.006
        weight = np.exp(-(near**2))
        return np.asarray((weight * away).sum(1) / (weight.sum(1) + 1e-9))

    at_foot = np.minimum(surface(turn, foot), 0.078)
    at_foot = np.convolve(np.pad(at_foot, 6, "edge"), np.ones(13) / 13, "valid")
    stand = 0.030 - 0.006 * forward
    fall = 0.033 + 0.020 * smoothstep(0.72, 1.0, forward)
    rows = []
    for k in range(n_up):
        t = k / (n_up - 1)
        if t < 0.4:  # up along the neck
            s = t / 0.4
            radius = at_foot + 0.0035 + 0.0025 * s
            height = foot - stand * s
        else:  # over, and down outside
            s = (t - 0.4) / 0.6
            bend = np.sin(np.pi * min(s / 0.16, 1.0) / 2)
            radius = at_foot + 0.006 + 0.0045 * bend + (0.015 + 0.022 * forward**2) * s
            height = foot - stand - 0.0022 * np.sin(np.pi * min(s / 0.16, 1.0)) + fall * s
        spread = 1.0 + (0.10 * s if t >= 0.4 else 0.0) * smoothstep(0.8, 1.0, forward)
        rows.append(np.stack([radius * sine * spread, height, radius * cosine + centre[1]], 1))
    grid = np.stack(rows)
    # In coordinates where z grows backwards, turn 0 is the nape and pi the throat.
    index = np.arange(n_up * n_around).reshape(n_up, n_around)
    a, b, c, d = index[:-1, :-1], index[1:, :-1], index[:-1, 1:], index[1:, 1:]
    sides = np.concatenate([np.stack([a, b, c], -1).reshape(-1, 3), np.stack([b, d, c], -1).reshape(-1, 3)])
    along = np.linspace(0, 1, n_up)[:, None]
    end = np.minimum(turn - turn[0], turn[-1] - turn) * 0.06
    edge = np.minimum((1 - along) * (fall / 0.6)[None], end[None] + 0 * along)
    # Both sides of the leaf are seen, so the sheet is closed by its own back, a little inside.
    flat = grid.reshape(-1, 3).astype(np.float32)
    inner = flat - 0.0009 * vertex_normals(flat, sides.astype(np.int32))
    faces = np.concatenate([sides, sides[:, ::-1] + len(flat)]).astype(np.int32)
    return Sheet(
        np.concatenate([flat, inner]).astype(np.float32),
        faces,
        np.tile(edge.ravel(), 2).astype(np.float32),
        SHIRT,
        False,
    )


def _sheet(vertices: Floats, normals: Floats, faces: Ints, value: Array, off_m: float, material: int) -> Sheet:
    """The part of a surface where ``value`` is positive, moved out, with a rim that goes back to the surface."""
    points, kept, values = _clip(np.concatenate([vertices, normals], 1), faces, value)
    position, normal = points[:, :3], unit(points[:, 3:])
    lifted = position + off_m * normal
    edges = edges_of(kept)
    _, first, count = np.unique(np.sort(edges, 1), axis=0, return_index=True, return_counts=True)
    border = edges[first[count == 1]]
    shows = (np.abs(values[border]) < 1e-6).all(1)
    border = border[shows]
    used, local = np.unique(border, return_inverse=True)
    local = local.reshape(border.shape)
    rim = position[used] + (off_m - 0.004) * normal[used]
    start = len(lifted)
    wall = np.concatenate(
        [
            np.stack([border[:, 1], border[:, 0], start + local[:, 0]], 1),
            np.stack([border[:, 1], start + local[:, 0], start + local[:, 1]], 1),
        ]
    )
    return Sheet(
        np.concatenate([lifted, rim]).astype(np.float32),
        np.concatenate([kept, wall]).astype(np.int32),
        np.concatenate([values, np.zeros(len(rim))]).astype(np.float32),
        material,
    )


def _clip(points: Array, faces: Ints, value: Array) -> tuple[Array, Ints, Array]:
    """Triangles cut along value 0; returns points, faces and values of what is positive."""
    value = np.where(np.abs(value) < 1e-7, 1e-7, value)
    inside = value > 0
    new_points: list[Array] = []
    made: dict[tuple[int, int], int] = {}

    def cross(i: int, j: int) -> int:
        key = (min(i, j), max(i, j))
        if key not in made:
            share = value[i] / (value[i] - value[j])
            made[key] = len(points) + len(new_points)
            new_points.append(points[i] + share * (points[j] - points[i]))
        return made[key]

    result = [faces[inside[faces].all(1)]]
    extra: list[tuple[int, int, int]] = []
    for face in faces[inside[faces].any(1) & ~inside[faces].all(1)]:
        polygon: list[int] = []
        for a, b in zip(face, np.roll(face, -1), strict=True):
            if inside[a]:
                polygon.append(int(a))
            if inside[a] != inside[b]:
                polygon.append(cross(int(a), int(b)))
        extra += [(polygon[0], polygon[k], polygon[k + 1]) for k in range(1, len(polygon) - 1)]
    if extra:
        result.append(np.array(extra, np.int32))
    every = np.concatenate([points, np.array(new_points).reshape(-1, points.shape[1])])
    values = np.concatenate([value, np.zeros(len(new_points))])
    kept = np.concatenate(result)
    used, index = np.unique(kept, return_inverse=True)
    return every[used], index.reshape(kept.shape).astype(np.int32), values[used]


def _finer(vertices: Floats, faces: Ints, times: int) -> tuple[Floats, Ints]:
    for _ in range(times):
        fine = Refinement(faces, len(vertices))
        vertices, faces = fine.positions(vertices, vertex_normals(vertices, faces)), fine.faces
    return vertices, faces


def _smoothed(vertices: Floats, faces: Ints, times: int = 12) -> Floats:
    """Vertices moved to the mean of their neighbours, again and again: cloth does not follow collar bones."""
    edges = np.unique(np.sort(edges_of(faces), 1), axis=0)
    both = np.concatenate([edges, edges[:, ::-1]])
    count = np.bincount(both[:, 0], minlength=len(vertices))[:, None]
    for _ in range(times):
        total = np.stack([np.bincount(both[:, 0], vertices[both[:, 1], k], len(vertices)) for k in range(3)], 1)
        vertices = (0.5 * vertices + 0.5 * total / np.maximum(count, 1)).astype(np.float32)
    return vertices
