"""Two rows of teeth in place of MakeHuman's rough helper strips, moving as those do."""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

from dfanerf_rt.face.regions import REGION_INDEX
from head.makehuman import FloatArray, IntArray

# Widths of the teeth from the middle outwards, metres (incisors, canine, premolars, molar).
WIDTHS = {
    "teeth_upper": (0.0085, 0.0066, 0.0076, 0.0070, 0.0068, 0.0100),
    "teeth_lower": (0.0053, 0.0059, 0.0069, 0.0070, 0.0071, 0.0110),
}
# Edge and gum line (y), front of the arch (z), head coordinates of the mean head, metres.
PLACE = {"teeth_upper": (0.0368, 0.0272, -0.0862), "teeth_lower": (0.0356, 0.0442, -0.0842)}
ARCH_HALF_WIDTH, ARCH_DEPTH = 0.0262, 0.0360
# Profile from the gum over the front and the edge to the back: share of the height, depth behind the arch.
PROFILE = ((-0.55, 0.0016), (0.0, 0.0004), (0.55, -0.0003), (0.97, 0.0003), (1.0, 0.0016), (0.3, 0.0040))
ACROSS = (0.0, 0.22, 0.78)  # columns of one tooth


def replace_teeth(head: dict[str, NDArray]) -> None:
    """Swap the helper teeth for :func:`row`; positions and bases follow the helpers by an affine fit."""
    for name in WIDTHS:
        old = head["region"] == REGION_INDEX[name]
        points, faces, gum = row(name)
        affine = np.linalg.pinv(np.column_stack([head["mean"][old], np.ones(old.sum())]))
        weight = np.column_stack([points, np.ones(len(points))]) @ affine
        region = np.full(len(points), REGION_INDEX[name], dtype=np.uint8)
        region[gum] = REGION_INDEX["mouth_inner"]
        kept = np.cumsum(~old) - 1
        count = int((~old).sum())
        head["faces"] = np.concatenate([kept[head["faces"][~old[head["faces"]].any(1)]], faces + count])
        for key in ("id_basis", "exp_basis"):
            carried = np.einsum("pv,kvc->kpc", weight, head[key][:, old])
            head[key] = np.concatenate([head[key][:, ~old], carried], 1)
        head["mean"] = np.concatenate([head["mean"][~old], points])
        head["uv"] = np.concatenate([head["uv"][~old], np.zeros((len(points), 2))])
        head["region"] = np.concatenate([head["region"][~old], region])
        head["neck_weight"] = np.concatenate([head["neck_weight"][~old], np.ones(len(points))])


def row(name: str) -> tuple[FloatArray, IntArray, NDArray[np.bool_]]:
    """One row of teeth: vertices (P, 3), triangles wound outwards, and which vertices are gum."""
    edge, gum_line, front = PLACE[name]
    widths = np.array(WIDTHS[name])
    starts = np.concatenate([-np.cumsum(widths)[::-1], [0.0], np.cumsum(widths)])
    columns = [(start + t * (end - start), t) for start, end in itertools.pairwise(starts) for t in ACROSS]
    columns.append((float(starts[-1]), 0.0))

    half = np.linspace(0, 1.2 * ARCH_HALF_WIDTH, 400)
    depth = ARCH_DEPTH * (half / ARCH_HALF_WIDTH) ** 2
    length = np.concatenate([[0.0], np.cumsum(np.hypot(np.diff(half), np.diff(depth)))])
    points = []
    for along, t in columns:
        x = float(np.sign(along) * np.interp(abs(along), length, half))
        slope = 2 * ARCH_DEPTH * x / ARCH_HALF_WIDTH**2
        inward = np.array([-slope, 1.0]) / np.hypot(slope, 1.0)  # in (x, z), towards the throat
        gap = abs(2 * t - 1) ** 4
        for height, behind in PROFILE:
            shorter = 0.0009 * gap * (height > 0.5)
            y = gum_line + height * (edge - gum_line) - shorter * np.sign(edge - gum_line)
            behind_here = behind + 0.0008 * gap * (0 < height < 1 and behind < 0.001)
            points.append(
                (
                    x + behind_here * inward[0],
                    y,
                    front + ARCH_DEPTH * (x / ARCH_HALF_WIDTH) ** 2 + behind_here * inward[1],
                )
            )
    rows = len(PROFILE)
    first = np.arange(len(columns) - 1)[:, None] * rows + np.arange(rows - 1)
    a, b, c, d = (first.ravel(), first.ravel() + 1, first.ravel() + rows, first.ravel() + rows + 1)
    faces = np.concatenate([np.stack([a, c, b], 1), np.stack([b, c, d], 1)])
    vertices = np.array(points)
    corners = vertices[faces]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    front_faces = (np.arange(len(a)) % (rows - 1)) == 1
    if normal[: len(a)][front_faces, 2].mean() > 0:
        faces = faces[:, ::-1]
    return vertices, faces, np.tile(np.arange(rows) == 0, len(columns))
