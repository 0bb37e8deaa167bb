"""Draws frames of the synthetic presenter: pose, z-buffer, shading, matte."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from dfanerf_rt.clip.presenter.light import ShadowMap
from dfanerf_rt.clip.presenter.raster import Buffers, Floats
from dfanerf_rt.clip.presenter.scene import Scene
from dfanerf_rt.clip.presenter.shade import shade
from dfanerf_rt.clip.presenter.strands import draw_strands
from dfanerf_rt.clip.presenter.surface import Look


@dataclass(frozen=True)
class View:
    """A pinhole camera (OpenCV, square pixels) and how finely a pixel is sampled."""

    size: int
    focal_px: float
    samples: int = 3
    """Samples a side of a pixel."""

    @property
    def centre(self) -> float:
        """cx and cy, pixels."""
        return self.size / 2


class PresenterRenderer:
    """Draws one scene through one camera. Not shared between threads; the scene is."""

    def __init__(self, scene: Scene, view: View, look: Look) -> None:
        self.scene, self.view = scene, view
        self.background = studio(view.size)
        self._look = look.table()
        side = view.size * view.samples
        self._buffers = Buffers(side, side)
        self._shadow = ShadowMap()
        self._image = np.empty((view.size, view.size, 3), np.float32)
        self._alpha = np.empty((view.size, view.size), np.float32)
        self._width = scene.strands.width_m * (view.focal_px * view.samples)

    def render(
        self, expression: torch.Tensor, head_pose: torch.Tensor, torso_pose: torch.Tensor
    ) -> tuple[np.ndarray, np.ndarray]:
        """One frame.

        Args:
            expression: (52,). head_pose, torso_pose: (6,).

        Returns:
            Picture (H, W, 3) uint8 sRGB and matte (H, W) uint8, the exact coverage.
        """
        scene, buffers, shadow = self.scene, self._buffers, self._shadow
        posed = scene.pose(expression, head_pose, torso_pose)
        points = self._project(posed.vertices, scene.nearness)
        buffers.draw(points, scene.faces)
        hair = self._project(posed.strands, 1.0)
        draw_strands(hair, self._width, len(scene.faces), buffers.face_id, buffers.weights, buffers.inverse_depth)
        surface, tufts = shadow.draw(posed.vertices, scene.faces, posed.strands)
        strands = scene.strands
        shade(
            buffers.face_id,
            buffers.weights,
            points,
            scene.faces,
            scene.material,
            posed.vertices,
            posed.normals,
            scene.rest,
            scene.masks,
            scene.eyes,
            posed.strands,
            strands.kind,
            strands.tint,
            strands.light,
            posed.skull,
            shadow.matrix,
            surface,
            tufts,
            self._look,
            self.background,
            self.view.samples,
            self._image,
            self._alpha,
        )
        return to_bytes(self._image), to_bytes(self._alpha)

    def _project(self, camera: Floats, nearness: Floats | float) -> Floats:
        """(..., 3) column and row of the finely sampled picture, and 1 / depth."""
        points = np.empty_like(camera)
        points[..., 2] = nearness / camera[..., 2]
        scaled = camera[..., :2] / camera[..., 2:] * self.view.focal_px + self.view.centre
        points[..., :2] = scaled * self.view.samples
        return points


def studio(size: int) -> Floats:
    """A softly graded wall, lighter behind the head, with a faint grain against banding: (size, size, 3) in [0, 1]."""
    row, column = np.mgrid[0:size, 0:size] / size
    glow = np.exp(-(((column - 0.55) / 0.55) ** 2 + ((row - 0.38) / 0.6) ** 2))
    shade_of_wall = 0.47 + 0.24 * glow
    grain = np.random.default_rng(0).normal(0, 0.004, (size, size))
    tint = np.array([0.96, 0.985, 1.02])
    return np.clip((shade_of_wall + grain)[..., None] * tint, 0, 1).astype(np.float32)


def to_bytes(values: Floats) -> np.ndarray:
    """Values in [0, 1] as uint8."""
    return (np.clip(values, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)
