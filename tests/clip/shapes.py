"""Shapes whose pictures and shadows are known."""

from __future__ import annotations

import numpy as np


def sphere(n: int = 60, radius: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """A sphere of latitudes and longitudes, normals outward by the right-hand rule."""
    polar, turn = np.meshgrid(np.linspace(0, np.pi, n), np.linspace(0, 2 * np.pi, n), indexing="ij")
    vertices = np.stack([np.sin(polar) * np.cos(turn), np.cos(polar), np.sin(polar) * np.sin(turn)], -1).reshape(-1, 3)
    index = np.arange(n * n).reshape(n, n)
    a, b, c, d = index[:-1, :-1], index[1:, :-1], index[:-1, 1:], index[1:, 1:]
    faces = np.concatenate([np.stack([a, c, b], -1).reshape(-1, 3), np.stack([b, c, d], -1).reshape(-1, 3)])
    return (radius * vertices).astype(np.float32), faces.astype(np.int32)
