"""Grows the synthetic presenter's hair, brows and lashes on the head model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from dfanerf_rt.clip.presenter.shapes import Array, smoothstep, unit
from dfanerf_rt.clip.presenter.strands import BROW, HAIR, LASH, Floats, Ints, Strands


@dataclass(frozen=True)
class HairStyle:
    """How the hair is worn."""

    cut: Literal["parted", "curly"] = "parted"
    """``parted``: a side parting, combed over and back, short at the sides. ``curly``: close curls all round."""
    n_strands: int = 16_000
    length_m: float = 0.060
    """On top of the head."""
    side_m: float = 0.014
    """At the temples and the nape."""
    volume_m: float = 0.021
    """How far combed hair stands off the scalp on top."""
    width_m: float = 2.2e-4
    """Of a strand at its root, several real ones together."""
    grey: float = 0.0
    """Share of grey strands."""
    brow_strands: int = 420
    """Of one brow."""
    brow_width: float = 1.0
    """Breadth of the brows beside the usual."""
    lash_m: float = 0.0075
    """Length of the upper lashes."""


def grow_hair(
    style: HairStyle,
    rest: Floats,
    normals: Floats,
    faces: Ints,
    mask: Floats,
    crown: Floats,
    random: np.random.Generator,
) -> Strands:
    """The hair of the head.

    Args:
        rest, normals: (V, 3) of the whole head at rest, head coordinates.
        faces: (F, 3).
        mask: (V,) metres behind the hairline.
        crown: (3,) the middle of the skull.
    """
    roots, along, vertex = _scatter(style.n_strands, rest, normals, faces, mask, random)
    # Skin that hair must not enter: all but what lies deep in the neck and the mouth.
    skull = cKDTree(rest)
    if style.cut == "curly":
        points = _curls(style, roots, along, crown, random)
    else:
        points = _combed(style, roots, along, rest, normals, skull, random)
    n = len(points)
    tint = np.stack([np.exp(random.normal(0, 0.30, n)), random.random(n) < style.grey], 1)
    return Strands.unlit(points, style.width_m * random.uniform(0.8, 1.2, n), HAIR, tint, vertex)


def _combed(
    style: HairStyle,
    roots: Array,
    along: Array,
    rest: Floats,
    normals: Floats,
    skull: cKDTree,
    random: np.random.Generator,
    n_points: int = 12,
) -> Array:
    """(S, P, 3): short sides that lie down and back, a top that is combed from the parting over and back."""
    n = len(roots)
    parting = 0.030
    x, y, z = roots.T
    top = smoothstep(-0.075, -0.112, y) * (1 - 0.55 * smoothstep(0.045, 0.095, z))
    length = style.side_m + (style.length_m - style.side_m) * top
    # Short before the ears and on the nape.
    length *= 0.35 + 0.65 * smoothstep(0.02, -0.05, y)
    length *= np.exp(random.normal(0, 0.10, n))
    away = np.where(x > parting, 1.0, -1.0) * smoothstep(0.0, 0.012, np.abs(x - parting))
    # From the forehead it rises and turns over and back; behind the crown it falls.
    over = np.stack([0.85 * away, -0.10 * np.ones(n), 0.55 + 0.6 * smoothstep(-0.05, 0.05, z)], 1)
    down = np.stack([0.15 * np.sign(x), np.ones(n), 0.42 * np.where(z < 0.02, 1.0, 0.2)], 1)
    flow = unit(top[:, None] * over + (1 - top)[:, None] * down + random.normal(0, 0.10, (n, 3)))
    wave = random.uniform(0, 2 * np.pi, n)
    # Neighbours lean alike, in locks.
    locks = cKDTree(roots[random.choice(n, max(n // 45, 1), replace=False)]).query(roots)[1]
    lean = random.normal(0, 0.20, (locks.max() + 1, 3))[locks]
    flow = unit(flow + lean * (0.4 + 0.6 * top[:, None]))
    points = np.empty((n, n_points, 3))
    points[:, 0] = roots
    for k in range(1, n_points):
        t = k / (n_points - 1)
        nearest = skull.query(points[:, k - 1])[1]
        ground = normals[nearest]
        # Combed hair follows the skull; it leaves it at the root only.
        flat = unit(flow - (flow * ground).sum(1, keepdims=True) * ground)
        lift = (1.05 * (1 - t) ** 3 * top + 0.22 * (1 - t))[:, None] - 0.22 * t
        curve = 0.07 * np.sin(wave + 5.0 * t)[:, None] * np.roll(flow, 1, 1)
        step = unit(lift * ground + flat + np.array([0.0, 0.25, 0.0]) * t + curve)
        moved = points[:, k - 1] + step * (length / (n_points - 1))[:, None]
        off = 0.0012 + 0.004 * (1 - top) * min(3 * t, 1.0) + style.volume_m * top * np.sin(np.pi * min(0.75 * t, 0.6))
        points[:, k] = _push_out(moved, off, rest, normals, skull)
    return _gather(points, roots, random, size=28, hold=0.45)


def _curls(style: HairStyle, roots: Array, along: Array, crown: Floats, random: np.random.Generator) -> Array:
    """(S, P, 3): locks that stand off the head and turn about themselves."""
    n, n_points = len(roots), 26
    middles = random.choice(n, max(n // 14, 1), replace=False)
    lock = cKDTree(roots[middles]).query(roots)[1]
    y, z = roots[:, 1], roots[:, 2]
    top = smoothstep(0.03, -0.10, y)
    length = (style.side_m + (style.length_m - style.side_m) * top) * np.exp(random.normal(0, 0.08, n))
    # Shorter at the hairline on the forehead.
    length *= 0.62 + 0.38 * np.clip(smoothstep(-0.085, -0.04, z) + smoothstep(-0.085, -0.125, y), 0, 1)
    outward = unit(unit(along) + 0.7 * unit(roots - crown) + random.normal(0, 0.22, (len(middles), 3))[lock])
    t = np.linspace(0, 1, n_points)
    # The lock's axis bends a little under its weight.
    axis = roots[:, None] + outward[:, None] * (length[:, None] * t)[..., None]
    axis[..., 1] += 0.28 * length[:, None] * t**2
    side = unit(np.cross(outward, np.array([0.31, 0.52, 0.8])))
    other = np.cross(outward, side)
    turns = random.uniform(3.0, 5.0, len(middles))[lock]
    start = random.uniform(0, 2 * np.pi, len(middles))[lock] + random.normal(0, 0.35, n)
    radius = 0.0030 * np.exp(random.normal(0, 0.25, len(middles)))[lock]
    angle = start[:, None] + 2 * np.pi * turns[:, None] * t
    grown = radius[:, None] * np.minimum(4 * t, 1.0)
    curl = (np.cos(angle) * grown)[..., None] * side[:, None] + (np.sin(angle) * grown)[..., None] * other[:, None]
    drawn = _gather(axis, roots, random, size=14, hold=0.75, lock=lock, middles=middles)
    return drawn + curl + random.normal(0, 1.5e-4, (n, 1, 3)) * t[None, :, None]


def grow_brows(
    style: HairStyle, rest: Floats, normals: Floats, faces: Ints, mask: Floats, random: np.random.Generator
) -> Strands:
    """Both brows: hairs that lie on the skin, upright near the nose and outwards beyond.

    Args:
        mask: (V,) metres into the brow.
    """
    wide = mask + 0.0012 * (style.brow_width - 1.0)
    roots, along, vertex = _scatter(2 * style.brow_strands, rest, normals, faces, wide, random, soft_m=0.0016)
    n = len(roots)
    side = np.sign(roots[:, 0])
    outward = smoothstep(0.012, 0.042, np.abs(roots[:, 0]))
    lie = np.stack([side * (0.35 + 0.65 * outward), -0.75 * (1 - outward) + 0.18 * outward, 0.15 * outward], 1)
    lie = unit(lie + random.normal(0, 0.13, (n, 3)))
    lie = unit(lie - (lie * along).sum(1, keepdims=True) * along)
    length = 0.0065 * np.exp(random.normal(0, 0.2, n)) * (1 - 0.35 * outward)
    t = np.linspace(0, 1, 4)
    rise = 0.25 * np.sin(np.pi * t)[None, :, None] * along[:, None]
    points = roots[:, None] + length[:, None, None] * (lie[:, None] * t[None, :, None] + 0.4 * rise)
    points += along[:, None] * 3e-4
    tint = np.stack([np.exp(random.normal(-0.1, 0.2, n)), random.random(n) < 0.3 * style.grey], 1)
    return Strands.unlit(points, 1.7e-4, BROW, tint, vertex)


def grow_lashes(
    style: HairStyle,
    rest: Floats,
    lids: NDArray[np.int64],
    marks: Floats,
    eyes: Floats,
    random: np.random.Generator,
) -> Strands:
    """Lashes along the lids, fanned out, the upper ones long and curled.

    Args:
        lids: (L,) vertices of skin.
        marks: (68, 3) landmarks at rest.
        eyes: (2, 4) centre and radius of the left and the right eyeball.
    """
    tree = cKDTree(rest[lids])
    parts, roots = [], []
    for first in (36, 42):
        eye = eyes[0 if marks[first : first + 6, 0].mean() > 0 else 1, :3]
        middle = marks[first : first + 6].mean(0)
        for lid, count, reach, up in (
            ((0, 1, 2, 3), 85, style.lash_m, -0.55),
            ((3, 4, 5, 0), 46, 0.45 * style.lash_m, 0.5),
        ):
            line = marks[[first + k for k in lid]].astype(np.float64)
            u = np.sort(random.uniform(0.03, 0.97, count)) * 3
            low = np.minimum(u.astype(int), 2)
            # A parabola through the lid's ends and its middle is as round as the lid.
            at = line[low] + (u - low)[:, None] * (line[low + 1] - line[low])
            bulge = np.interp(u, [0, 0.5, 1, 1.5, 2, 2.5, 3], [0, 0.7, 0, 1.0, 0, 0.7, 0])
            at[:, 1] += bulge * (5e-4 if up > 0 else -7e-4)
            fan = (at[:, :1] - middle[0]) * 38
            away = unit(at - eye)
            start = unit(away + np.concatenate([fan * 0.8, 0 * fan, 0 * fan], 1) + random.normal(0, 0.08, (count, 3)))
            t = np.linspace(0, 1, 5)[None, :, None]
            curl = np.array([0.0, up, 0.0]) * t**2
            length = (
                reach * np.exp(random.normal(0, 0.12, (count, 1, 1))) * (1 - 0.35 * np.abs(u / 1.5 - 1))[:, None, None]
            )
            points = at[:, None] + length * (start[:, None] * t * 0.9 + curl)
            parts.append(points)
            roots.append(lids[tree.query(at)[1]])
    points = np.concatenate(parts)
    tint = np.tile([0.4, 0.0], (len(points), 1))
    return Strands.unlit(points, 1.3e-4, LASH, tint, np.concatenate(roots))


def _scatter(
    count: int,
    rest: Floats,
    normals: Floats,
    faces: Ints,
    mask: Floats,
    random: np.random.Generator,
    soft_m: float = 0.005,
) -> tuple[Array, Array, Ints]:
    """About ``count`` points where the mask is positive, thinner at its edge: position, normal, nearest vertex."""
    corner = rest[faces].astype(np.float64)
    area = 0.5 * np.linalg.norm(np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]), axis=1)
    chance = area * (mask[faces].max(1) > -soft_m)
    share = 2.2 * count  # some are thrown away at the edge
    face = random.choice(len(faces), int(share), p=chance / chance.sum())
    weight = random.dirichlet((1.0, 1.0, 1.0), len(face))
    value = (mask[faces[face]] * weight).sum(1)
    kept = np.flatnonzero(random.random(len(face)) < smoothstep(-soft_m, soft_m, value))[:count]
    face, weight = face[kept], weight[kept]
    position = (corner[face] * weight[..., None]).sum(1)
    normal = unit((normals[faces[face]] * weight[..., None]).sum(1).astype(np.float64))
    nearest = faces[face, weight.argmax(1)].astype(np.int32)
    return position, normal, nearest


def _push_out(points: Array, off: Array, rest: Floats, normals: Floats, tree: cKDTree) -> Array:
    """Points that are nearer to the surface than ``off``, moved out along its normal."""
    nearest = tree.query(points)[1]
    height = ((points - rest[nearest]) * normals[nearest]).sum(1)
    return points + np.maximum(off - height, 0.0)[:, None] * normals[nearest]


def _gather(
    points: Array,
    roots: Array,
    random: np.random.Generator,
    size: int,
    hold: float,
    lock: NDArray[np.int64] | None = None,
    middles: NDArray[np.int64] | None = None,
) -> Array:
    """Strands drawn towards the middle of their lock, the more the nearer to the tip."""
    if lock is None or middles is None:
        middles = random.choice(len(points), max(len(points) // size, 1), replace=False)
        lock = cKDTree(roots[middles]).query(roots)[1]
    t = np.linspace(0, 1, points.shape[1])
    share = hold * t[None, :, None] * np.exp(random.normal(0, 0.3, (len(points), 1, 1))).clip(0, 1.3)
    return points + (points[middles][lock] - points) * share.clip(0, 0.97)
