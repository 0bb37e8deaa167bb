"""The synthetic presenter's body: what of the head model is lip, brow, hair or shirt, and where it is in a frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from dfanerf_rt.clip.presenter_raster import Floats, Ints, Refinement, occlusion, vertex_normals
from dfanerf_rt.clip.presenter_shade import EYE, INNER, MASKS, SKIN, TEETH, TONGUE, noise
from dfanerf_rt.face.arkit import ARKIT_INDEX
from dfanerf_rt.face.model import FaceModel
from dfanerf_rt.face.rotation import head_to_camera

_MATERIAL = {
    "sclera": EYE,
    "iris": EYE,
    "pupil": EYE,
    "teeth_upper": TEETH,
    "teeth_lower": TEETH,
    "tongue": TONGUE,
    "mouth_inner": INNER,
}
HAIR_M = 0.017
"""How far the hair stands off the scalp."""
SHIRT_M = 0.004


@dataclass(frozen=True)
class Scene:
    """The presenter at rest, and what the shader knows of every vertex and face."""

    model: FaceModel
    identity: torch.Tensor
    """(K,) identity coefficients."""
    neutral: torch.Tensor
    """(U, 3) metres, head coordinates: the neutral face with hair and shirt, which stand off the skin, on the head
    model's U vertices."""
    coarse_faces: Ints
    """The head model's own faces."""
    refinement: Refinement
    """Makes the drawn mesh of V vertices and F faces from the head model's."""
    material: Ints
    """(F,) SKIN, EYE, TEETH, TONGUE or INNER."""
    rest: Floats
    """(V, 3) vertices of the neutral face, head coordinates."""
    masks: Floats
    """(V, 8), see :data:`dfanerf_rt.clip.presenter_shade.MASKS`."""
    nearness: Floats
    """(V,) factor on 1 / depth: the sheet inside the mouth gives way to the teeth that it touches."""
    eyes: Floats
    """(2, 4) centre and radius of the left and the right eyeball, head coordinates."""

    @classmethod
    def build(cls, model: FaceModel, identity: torch.Tensor) -> Scene:
        """Work out masks, hair and shirt for one identity of the head model."""
        neutral = torch.zeros(model.n_expressions)
        rest = _array(model.vertices(identity, neutral))
        marks = _array(model.landmarks(identity, neutral))
        faces = np.ascontiguousarray(model.faces.numpy().astype(np.int32))
        region = np.array(model.region_names)[model.region.numpy()]
        vertex_material = np.array([_MATERIAL.get(name, SKIN) for name in region], np.int32)
        # A face on a border belongs to the outer of its parts, so that lips reach into the mouth.
        material = vertex_material[faces].min(1).astype(np.int32)
        eye_side = np.where(rest[:, 0] > 0, 0, 1)
        eyes = np.stack([_sphere(rest[(vertex_material == EYE) & (eye_side == side)]) for side in (0, 1)])

        masks = np.zeros((len(rest), len(MASKS)), np.float32)
        column = {name: index for index, name in enumerate(MASKS)}
        masks[:, column["lip"]] = lip_distance(rest, marks, region)
        masks[:, column["blush"]] = _blush(rest, marks)
        masks[:, column["brow"]] = brow_distance(rest, marks)
        masks[:, column["lash"]] = lash_distance(rest, marks)
        masks[:, column["hair"]] = hair = hair_distance(rest, region)
        masks[:, column["shirt"]] = shirt = shirt_distance(rest)
        masks[:, column["depth"]] = rest[:, 2] - marks[60:68, 2].mean()

        normals = vertex_normals(rest, faces)
        lumps = np.array([noise(*point) for point in (35.0 * rest).astype(np.float64)], np.float32)
        stand = HAIR_M * _step(-0.002, 0.030, hair) * (0.75 + 0.5 * lumps) * _step(-0.03, -0.10, rest[:, 1], 0.35)
        stand[(region == "ears") | (vertex_material != SKIN)] = 0.0
        stand += SHIRT_M * _step(-0.001, 0.006, shirt) * (0.8 + 0.4 * lumps)
        offset = normals * stand[:, None]
        dressed = rest + offset
        ajar = torch.zeros(model.n_expressions)
        ajar[ARKIT_INDEX["jawOpen"]] = 0.5
        open_mouth = _array(model.vertices(identity, ajar)) + offset
        inside = np.isin(vertex_material, (TEETH, TONGUE, INNER))
        masks[:, column["occlusion"]] = np.where(inside, occlusion(open_mouth, faces), occlusion(dressed, faces))
        fine = Refinement(faces, len(rest))
        return cls(
            model=model,
            identity=identity,
            neutral=torch.from_numpy(dressed),
            coarse_faces=faces,
            refinement=fine,
            material=np.tile(material, 4),
            rest=fine.values(rest),
            masks=fine.values(masks),
            nearness=fine.values(np.where(vertex_material == INNER, 0.996, 1.0).astype(np.float32)),
            eyes=eyes,
        )

    @property
    def faces(self) -> Ints:
        """(F, 3) faces of the drawn mesh."""
        return self.refinement.faces

    def pose(
        self, expression: torch.Tensor, head_pose: torch.Tensor, torso_pose: torch.Tensor
    ) -> tuple[Floats, Floats]:
        """Vertices and normals (V, 3) in camera coordinates.

        Args:
            expression: (52,). head_pose, torso_pose: (6,).
        """
        moved = expression.nonzero()[:, 0]
        # Hair and shirt keep their distance while the skin moves, so offsets of expression add to them.
        vertices = self.neutral + torch.einsum("e,evc->vc", expression[moved], self.model.exp_basis[moved])
        in_head = _transform(head_to_camera(head_pose), vertices)
        in_torso = _transform(head_to_camera(torso_pose), vertices)
        share = self.model.neck_weight[:, None]
        coarse = _array(share * in_head + (1 - share) * in_torso)
        camera = self.refinement.positions(coarse, vertex_normals(coarse, self.coarse_faces))
        return camera, vertex_normals(camera, self.faces)


def lip_distance(rest: Floats, marks: Floats, region: NDArray[np.str_]) -> Floats:
    """Metres into the lips, seen from the front; negative outside."""
    curve = _curve(marks[48:60, :2], closed=True)
    distance = _distance(rest[:, :2], curve) * np.where(_inside(rest[:, :2], curve), 1, -1)
    front = rest[:, 2] < marks[[48, 54], 2].max() + 0.012
    return np.where(front & ~np.isin(region, ("neck", "torso")), distance, -0.05).astype(np.float32)


def brow_distance(rest: Floats, marks: Floats) -> Floats:
    """Metres into the brows, which run below MediaPipe's upper brow line and taper outwards."""
    result = np.full(len(rest), -0.05)
    for first in (17, 22):
        curve = _curve(marks[first : first + 5], closed=False)
        if first == 17:
            curve = curve[::-1]
        curve = curve + np.array([0.0, 0.0022, 0.0])
        gap = np.linalg.norm(rest[:, None, :] - curve[None], axis=2)
        along = gap.argmin(1) / (len(curve) - 1)
        half = np.interp(along, [0.0, 0.15, 0.6, 1.0], [0.0034, 0.0048, 0.0038, 0.0012])
        result = np.maximum(result, half - gap.min(1))
    return np.where(rest[:, 2] < 0, result, -0.05).astype(np.float32)


def lash_distance(rest: Floats, marks: Floats) -> Floats:
    """Metres into the dark margin of the lids: broad on the upper lid, thin on the lower one."""
    result = np.full(len(rest), -0.05)
    for first in (36, 42):
        upper = _curve(marks[first : first + 4], closed=False)
        lower = _curve(marks[[first + 3, first + 4, first + 5, first]], closed=False)
        for curve, half in ((upper, 0.0017), (lower, 0.0003)):
            result = np.maximum(result, half - _distance(rest, curve))
    return result.astype(np.float32)


def hair_distance(rest: Floats, region: NDArray[np.str_]) -> Floats:
    """Metres behind the hairline: over the forehead, down before the ears, round the nape."""
    x, y, z = rest.astype(np.float64).T
    front_to_back = [-0.10, -0.075, -0.050, -0.022, -0.010, 0.02, 0.05]
    line = np.interp(z, front_to_back, [-0.122, -0.110, -0.088, -0.054, -0.014, 0.03, 0.05])
    # A peak on the forehead, and a ragged edge.
    line = line + 0.004 * np.exp(-((x / 0.02) ** 2)) * (z < 0)
    ragged = np.array([noise(45.0 * a, 45.0 * b, 0.0) for a, b in zip(x, z, strict=True)])
    line = line + 0.012 * (ragged - 0.5) * (z < -0.03)
    distance = 0.8 * (line - y)
    return np.where(np.isin(region, ("ears", "torso")), np.minimum(distance, -0.006), distance).astype(np.float32)


def shirt_distance(rest: Floats) -> Floats:
    """Metres below a round collar, which lies lower in front."""
    x, y, z = rest.astype(np.float64).T
    radius = np.hypot(x, 0.9 * (z - 0.02))
    collar = np.interp(radius, [0.045, 0.070, 0.085, 0.12], [0.160, 0.138, 0.112, 0.085])
    collar = collar - 0.12 * z * np.interp(radius, [0.0, 0.06], [0.0, 1.0])
    return (y - collar).astype(np.float32)


def _blush(rest: Floats, marks: Floats) -> Floats:
    """Redness in [0, 1] of cheeks, nose and chin."""
    nose = marks[33]
    tip, chin = nose + np.array([0.0, -0.012, -0.004]), marks[8] + np.array([0.0, -0.018, 0.0])
    spots = [(tip, 0.014, 0.55), (chin, 0.016, 0.25)]
    for side in (-1, 1):
        spots.append((np.array([nose[0] + side * 0.038, nose[1] - 0.006, nose[2] + 0.025]), 0.020, 0.8))
        spots.append((np.array([side * 0.078, -0.005, 0.0]), 0.025, 0.8))
    total = sum(power * np.exp(-0.5 * ((rest - centre) / size) ** 2).prod(1) for centre, size, power in spots)
    return np.asarray(total, np.float32)


def _array(tensor: torch.Tensor) -> Floats:
    return np.ascontiguousarray(tensor.detach().float().numpy())


def _transform(matrix: torch.Tensor, vertices: torch.Tensor) -> torch.Tensor:
    return vertices @ matrix[:, :3].T + matrix[:, 3]


def _step(low: float, high: float, value: Floats, floor: float = 0.0) -> Floats:
    """Smoothstep from ``floor`` at ``low`` to 1 at ``high``."""
    t = np.clip((value - low) / (high - low), 0.0, 1.0)
    return (floor + (1 - floor) * t * t * (3 - 2 * t)).astype(np.float32)


def _sphere(points: Floats) -> Floats:
    """Centre and radius (4,) of the sphere nearest to points."""
    design = np.column_stack([2 * points, np.ones(len(points))]).astype(np.float64)
    solution, *_ = np.linalg.lstsq(design, (points.astype(np.float64) ** 2).sum(1), rcond=None)
    return np.append(solution[:3], np.sqrt(solution[3] + (solution[:3] ** 2).sum())).astype(np.float32)


def _curve(points: Floats, closed: bool, steps: int = 12) -> NDArray[np.float64]:
    """A Catmull-Rom spline through points (N, D): (M, D)."""
    p = points.astype(np.float64)
    padded = (
        np.concatenate([p[-1:], p, p[:2]]) if closed else np.concatenate([2 * p[:1] - p[1:2], p, 2 * p[-1:] - p[-2:-1]])
    )
    a, b, c, d = padded[:-3, None], padded[1:-2, None], padded[2:-1, None], padded[3:, None]
    t = (np.arange(steps) / steps)[None, :, None]
    segments = 0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
    spline = segments.reshape(-1, p.shape[1])
    return spline if closed else np.concatenate([spline, p[-1:]])


def _distance(points: NDArray, curve: NDArray[np.float64]) -> NDArray[np.float64]:
    """Distance (N,) of points to the nearest point of a finely sampled curve."""
    return np.array([np.sqrt(((curve - point) ** 2).sum(1).min()) for point in points])


def _inside(points: NDArray, polygon: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which points (N, 2) lie in a polygon (even-odd rule)."""
    x, y = points[:, 0, None], points[:, 1, None]
    ax, ay = polygon.T
    bx, by = np.roll(polygon, -1, 0).T
    crosses = (ay > y) != (by > y)
    at = ax + (y - ay) * (bx - ax) / np.where(by == ay, 1e-12, by - ay)
    return (crosses & (x < at)).sum(1) % 2 == 1
