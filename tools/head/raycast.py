"""Ray-cast views of a triangle mesh on the CPU, with Warp: which triangle each pixel sees, and where on it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import warp as wp
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

wp.config.quiet = True


@wp.kernel
def _cast(
    mesh: wp.uint64,
    directions: wp.array(dtype=wp.vec3),
    triangle: wp.array(dtype=wp.int32),
    weight: wp.array(dtype=wp.vec3),
    distance: wp.array(dtype=wp.float32),
) -> None:
    index = wp.tid()
    query = wp.mesh_query_ray(mesh, wp.vec3(0.0, 0.0, 0.0), directions[index], 10.0)
    if query.result:
        triangle[index] = query.face
        weight[index] = wp.vec3(query.u, query.v, 1.0 - query.u - query.v)
        distance[index] = query.t


@dataclass(frozen=True)
class View:
    """What the rays of an image hit.

    Attributes:
        triangle: (N,) triangle ids, -1 where nothing was hit.
        weight: (N, 3) barycentric weights on it.
        distance: (N,) metres from the camera.
    """

    triangle: IntArray
    weight: FloatArray
    distance: FloatArray


def pixel_rays(size: int, focal_px: float) -> FloatArray:
    """Unit directions (size * size, 3) through the pixel centres, principal point in the middle."""
    step = (np.arange(size) + 0.5 - size / 2) / focal_px
    x, y = np.meshgrid(step, step)
    return _unit(np.stack([x, y, np.ones_like(x)], -1).reshape(-1, 3))


def point_rays(points_px: FloatArray, size: int, focal_px: float) -> FloatArray:
    """Unit directions (N, 3) through image points (N, 2) in pixels."""
    return _unit(np.column_stack([(points_px - size / 2) / focal_px, np.ones(len(points_px))]))


def cast(vertices: FloatArray, faces: IntArray, directions: FloatArray) -> View:
    """First hits of rays from the origin on a mesh (V, 3), (F, 3) in camera coordinates."""
    with wp.ScopedDevice("cpu"):
        mesh = wp.Mesh(
            points=wp.array(vertices.astype(np.float32), dtype=wp.vec3),
            indices=wp.array(faces.astype(np.int32).ravel(), dtype=wp.int32),
        )
        rays = wp.array(directions.astype(np.float32), dtype=wp.vec3)
        triangle = wp.full(len(directions), -1, dtype=wp.int32)
        weight = wp.zeros(len(directions), dtype=wp.vec3)
        distance = wp.zeros(len(directions), dtype=wp.float32)
        wp.launch(_cast, dim=len(directions), inputs=[mesh.id, rays], outputs=[triangle, weight, distance])
        return View(
            triangle.numpy().astype(np.int64), weight.numpy().astype(np.float64), distance.numpy().astype(np.float64)
        )


def vertex_normals(vertices: FloatArray, faces: IntArray) -> FloatArray:
    """Area-weighted unit normals (V, 3)."""
    corners = vertices[faces]
    face_normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals = np.zeros_like(vertices)
    for corner in range(3):
        np.add.at(normals, faces[:, corner], face_normals)
    return _unit(normals)


def shade(
    vertices: FloatArray, faces: IntArray, colours: FloatArray, size: int, focal_px: float
) -> tuple[NDArray[np.uint8], View]:
    """Lambert picture (size, size, 3) of a mesh in camera coordinates with vertex colours (V, 3) in [0, 1]."""
    directions = pixel_rays(size, focal_px)
    view = cast(vertices, faces, directions)
    hit = view.triangle >= 0
    corners = faces[view.triangle[hit]]
    weight = view.weight[hit][:, :, None]
    normal = _unit((vertex_normals(vertices, faces)[corners] * weight).sum(1))
    normal *= np.where((normal * directions[hit]).sum(1) > 0, -1.0, 1.0)[:, None]
    key, fill = _unit(np.array([[-0.4, -0.6, -0.8]])), _unit(np.array([[0.7, -0.1, -0.6]]))
    light = 0.35 + 0.55 * np.clip(normal @ key[0], 0, None) + 0.25 * np.clip(normal @ fill[0], 0, None)
    picture = np.full((size * size, 3), 0.55)
    picture[hit] = (colours[corners] * weight).sum(1) * light[:, None]
    return (np.clip(picture, 0, 1) * 255).astype(np.uint8).reshape(size, size, 3), view


def _unit(vectors: FloatArray) -> FloatArray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)
