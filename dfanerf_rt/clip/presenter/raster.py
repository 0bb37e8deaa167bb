"""A z-buffer rasteriser for the synthetic presenter, compiled by numba; one frame a thread, without the GIL.

Screen coordinates follow the project's camera: sample (row r, column c) lies at (c + 0.5, r + 0.5).
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]

BACKGROUND = -1


@numba.njit(cache=True, nogil=True, fastmath=False)
def rasterize(
    points: Floats, faces: Ints, height: int, width: int, face_id: Ints, weights: Floats, inverse_depth: Floats
) -> None:
    """Draw front-facing triangles into the buffers, nearest first.

    Args:
        points: (V, 3) column, row, and 1 / depth of every vertex (for a parallel projection any value that grows
            towards the viewer); vertices behind the camera have a value that is not positive.
        faces: (F, 3) vertex indices; its normal, by the right-hand rule, points out of its front.
        face_id: (H, W) out, :data:`BACKGROUND` where nothing was drawn.
        weights: (H, W, 2) out, screen-space barycentrics of the triangle's second and third vertex.
        inverse_depth: (H, W) out, 0 where nothing was drawn.
    """
    face_id[:] = -1
    inverse_depth[:] = 0.0
    for f in range(faces.shape[0]):
        a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
        ax, ay, az = points[a, 0], points[a, 1], points[a, 2]
        bx, by, bz = points[b, 0], points[b, 1], points[b, 2]
        cx, cy, cz = points[c, 0], points[c, 1], points[c, 2]
        if az <= 0.0 or bz <= 0.0 or cz <= 0.0:
            continue
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if area >= 0.0:
            continue
        left = max(int(np.ceil(min(ax, bx, cx) - 0.5)), 0)
        right = min(int(np.floor(max(ax, bx, cx) - 0.5)), width - 1)
        top = max(int(np.ceil(min(ay, by, cy) - 0.5)), 0)
        bottom = min(int(np.floor(max(ay, by, cy) - 0.5)), height - 1)
        inverse_area = 1.0 / area
        # Barycentric of b and c grow by a constant a column.
        step_b = (cy - ay) * inverse_area
        step_c = -(by - ay) * inverse_area
        for row in range(top, bottom + 1):
            dx, dy = left + 0.5 - ax, row + 0.5 - ay
            wb = (dx * (cy - ay) - dy * (cx - ax)) * inverse_area
            wc = (dy * (bx - ax) - dx * (by - ay)) * inverse_area
            for column in range(left, right + 1):
                if wb >= 0.0 and wc >= 0.0 and wb + wc <= 1.0:
                    nearness = az + wb * (bz - az) + wc * (cz - az)
                    if nearness > inverse_depth[row, column]:
                        inverse_depth[row, column] = nearness
                        face_id[row, column] = f
                        weights[row, column, 0] = wb
                        weights[row, column, 1] = wc
                wb += step_b
                wc += step_c


@numba.njit(cache=True, nogil=True)
def vertex_normals(vertices: Floats, faces: Ints) -> Floats:
    """Area-weighted unit normals: (V, 3), by the right-hand rule."""
    normals = np.zeros_like(vertices)
    for f in range(faces.shape[0]):
        a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
        ux, uy, uz = vertices[b, 0] - vertices[a, 0], vertices[b, 1] - vertices[a, 1], vertices[b, 2] - vertices[a, 2]
        vx, vy, vz = vertices[c, 0] - vertices[a, 0], vertices[c, 1] - vertices[a, 1], vertices[c, 2] - vertices[a, 2]
        nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
        for v in (a, b, c):
            normals[v, 0] += nx
            normals[v, 1] += ny
            normals[v, 2] += nz
    for v in range(vertices.shape[0]):
        length = np.sqrt(normals[v, 0] ** 2 + normals[v, 1] ** 2 + normals[v, 2] ** 2) + 1e-20
        for k in range(3):
            normals[v, k] /= length
    return normals


def edges_of(faces: Ints) -> Ints:
    """(3 F, 2) edges of triangles (F, 3), directed: all first ones, then all second, then all third."""
    return np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])


class Refinement:
    """Splits every triangle in four, new vertices on a curved surface (Phong tessellation, Boubekeur & Alexa 2008).

    The old vertices stay where they are, so what is known of them, landmarks for one, holds on the fine mesh too.
    """

    CURVATURE = 0.75

    def __init__(self, faces: Ints, n_vertices: int) -> None:
        edges = np.sort(edges_of(faces), 1)
        self.edges, index = np.unique(edges, axis=0, return_inverse=True)
        ab, bc, ca = (index.reshape(3, -1) + n_vertices).astype(np.int32)
        a, b, c = faces.T
        corners = [(a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca)]
        self.faces: Ints = np.concatenate([np.stack(corner, 1) for corner in corners]).astype(np.int32)

    def values(self, values: Floats) -> Floats:
        """Values of the fine mesh's vertices from those (V, C) of the coarse one: means at the new vertices."""
        return np.concatenate([values, 0.5 * (values[self.edges[:, 0]] + values[self.edges[:, 1]])])

    def positions(self, vertices: Floats, normals: Floats) -> Floats:
        """Positions of the fine mesh's vertices from position and normal (V, 3) of the coarse one."""
        i, j = self.edges.T
        half = 0.5 * (vertices[j] - vertices[i])
        # A midpoint m = a + half lies above a's tangent plane by half . n_a; pulling it down onto both planes bends it.
        lift = (half * normals[i]).sum(1, keepdims=True) * normals[i] - (half * normals[j]).sum(
            1, keepdims=True
        ) * normals[j]
        return np.concatenate([vertices, vertices[i] + half - 0.5 * self.CURVATURE * lift])


class Buffers:
    """The z-buffer of one thread, allocated once."""

    def __init__(self, height: int, width: int) -> None:
        self.face_id = np.empty((height, width), np.int32)
        self.weights = np.empty((height, width, 2), np.float32)
        self.inverse_depth = np.empty((height, width), np.float32)

    def draw(self, points: Floats, faces: Ints) -> None:
        """Rasterise; see :func:`rasterize`."""
        height, width = self.face_id.shape
        rasterize(points, faces, height, width, self.face_id, self.weights, self.inverse_depth)
