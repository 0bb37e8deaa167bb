"""How much of the sky the presenter's skin, cloth and hair see, worked out once at rest."""

from __future__ import annotations

import numpy as np

from dfanerf_rt.clip.presenter.light import axes_towards, parallel
from dfanerf_rt.clip.presenter.raster import Buffers, Floats, Ints, vertex_normals
from dfanerf_rt.clip.presenter.strands import draw_strands

HAIR_DEPTH_M = 0.010
"""Light falls to 1 / e after so much hair."""


def occlusion(
    vertices: Floats,
    faces: Ints,
    strands: Floats | None = None,
    n_directions: int = 96,
    resolution: int = 320,
    bias_m: float = 1.5e-3,
) -> tuple[Floats, Floats]:
    """Ambient occlusion: the cosine-weighted share of the sky that every vertex sees, and every point of hair.

    Draws the scene from directions spread evenly over the sphere (Fibonacci lattice) and asks, for each, whether
    the vertex lies on the surface that the direction sees. Hair dims what lies behind it by its depth.

    Args:
        vertices: (V, 3) metres.
        faces: (F, 3).
        strands: (S, P, 3) metres, or None.
        bias_m: depth by which a vertex may lie behind the surface and still count as seen.

    Returns:
        (V,) and (S, P) in [0, 1].
    """
    normals = vertex_normals(vertices, faces)
    hair = np.zeros((0, 2, 3), np.float32) if strands is None else strands
    buffers, tufts = Buffers(resolution, resolution), Buffers(resolution, resolution)
    centre = (vertices.max(0) + vertices.min(0)) / 2
    radius = float(np.linalg.norm(vertices - centre, axis=1).max()) * 1.01
    seen, possible = np.zeros(len(vertices)), np.full(len(vertices), 1e-9)
    hair_seen = np.zeros(hair.shape[:2])
    index = np.arange(n_directions) + 0.5
    height = 1 - 2 * index / n_directions
    turn = np.pi * (1 + 5**0.5) * index
    ring = np.sqrt(1 - height**2)
    directions = np.stack([ring * np.cos(turn), height, ring * np.sin(turn)], 1)
    for towards in directions:
        axes = axes_towards(towards)
        points = parallel(vertices, axes, centre, radius, resolution)
        buffers.draw(points, faces)
        combed = parallel(hair, axes, centre, radius, resolution)
        tufts.inverse_depth[:] = 0.0
        draw_strands(combed, np.zeros(len(hair), np.float32), 0, tufts.face_id, tufts.weights, tufts.inverse_depth)

        def depths(at: Floats) -> tuple[np.ndarray, np.ndarray]:
            columns, rows = (np.clip(at[..., k].astype(np.int64), 0, resolution - 1) for k in (0, 1))
            front = tufts.inverse_depth[rows, columns]
            behind = np.where(front > 0, np.maximum((front - at[..., 2]) * radius - 1e-3, 0.0), 0.0)
            return buffers.inverse_depth[rows, columns], np.exp(-behind / HAIR_DEPTH_M)

        cosine = normals @ towards
        surface, through = depths(points)
        # The slope of a surface seen at a grazing angle moves depth within one sample.
        slack = (bias_m + 2 * radius / resolution / np.maximum(cosine, 0.2)) / radius
        weight = np.maximum(cosine, 0.0)
        seen += weight * (surface <= points[:, 2] + slack) * through
        possible += weight
        surface, through = depths(combed)
        hair_seen += (surface <= combed[..., 2] + 3e-3 / radius) * through
    # Half of the sky is all that hair on a skull can see.
    return (seen / possible).astype(np.float32), np.minimum(hair_seen / (0.5 * n_directions), 1.0).astype(np.float32)
