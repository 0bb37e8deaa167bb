"""The synthetic presenter: what of the head model is lip, brow or scalp, what is worn, where it is in a frame."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from dfanerf_rt.clip.presenter.dress import Sheet, sew
from dfanerf_rt.clip.presenter.hair import grow_brows, grow_hair, grow_lashes
from dfanerf_rt.clip.presenter.occlusion import occlusion
from dfanerf_rt.clip.presenter.people import PEOPLE, Person
from dfanerf_rt.clip.presenter.raster import Floats, Ints, Refinement, vertex_normals
from dfanerf_rt.clip.presenter.shade import EYE, INNER, MASKS, SKIN, TEETH, TONGUE, noise
from dfanerf_rt.clip.presenter.strands import HAIR, LASH, Strands, join
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
STRAND_POINTS = 16


@dataclass(frozen=True)
class Posed:
    """Everything in camera coordinates, in one frame."""

    vertices: Floats
    """(V, 3) metres."""
    normals: Floats
    strands: Floats
    """(S, P, 3) metres."""
    skull: Floats
    """(3,) the middle of the skull."""


@dataclass(frozen=True)
class Scene:
    """The presenter at rest, and what the shader knows of every vertex, face and strand.

    The head model's U vertices become the first V' of V drawn ones; cloth follows them.
    """

    model: FaceModel
    identity: torch.Tensor
    """(K,) identity coefficients."""
    neutral: torch.Tensor
    """(U, 3) metres, head coordinates: the neutral face."""
    coarse_faces: Ints
    """The head model's own faces."""
    refinement: Refinement
    """Makes the drawn head from the head model's mesh."""
    cloth: Floats
    """(V - V', 3) metres, torso coordinates."""
    faces: Ints
    """(F, 3) of all that is drawn; skin that cloth covers is not."""
    material: Ints
    """(F,) of the materials in :mod:`dfanerf_rt.clip.presenter.shade`."""
    rest: Floats
    """(V, 3) vertices of the neutral face and of cloth."""
    masks: Floats
    """(V, 8), see :data:`dfanerf_rt.clip.presenter.shade.MASKS`."""
    nearness: Floats
    """(V,) factor on 1 / depth: the sheet inside the mouth gives way to the teeth that it touches."""
    eyes: Floats
    """(2, 4) centre and radius of the left and the right eyeball, head coordinates."""
    strands: Strands
    """All hair at rest, head coordinates."""
    crown: Floats
    """(3,) the middle of the skull, head coordinates."""

    @classmethod
    def build(cls, model: FaceModel, identity: torch.Tensor, person: Person) -> Scene:
        """Work out masks, hair and clothes for one identity of the head model."""
        random = np.random.default_rng(person.seed)
        neutral = model.vertices(identity, torch.zeros(model.n_expressions))
        rest = _array(neutral)
        marks = _array(model.landmarks(identity, torch.zeros(model.n_expressions)))
        coarse = np.ascontiguousarray(model.faces.numpy().astype(np.int32))
        region = np.array(model.region_names)[model.region.numpy()]
        vertex_material = np.array([_MATERIAL.get(name, SKIN) for name in region], np.int32)
        eye_side = np.where(rest[:, 0] > 0, 0, 1)
        eyes = np.stack([_sphere(rest[(vertex_material == EYE) & (eye_side == side)]) for side in (0, 1)])
        normals = vertex_normals(rest, coarse)

        masks = np.zeros((len(rest), len(MASKS)), np.float32)
        column = {name: index for index, name in enumerate(MASKS)}
        masks[:, column["lip"]] = lip_distance(rest, marks, region)
        masks[:, column["blush"]] = _blush(rest, marks)
        masks[:, column["brow"]] = brow = brow_distance(rest, marks)
        masks[:, column["lash"]] = lash_distance(rest, marks)
        masks[:, column["hair"]] = hair = hair_distance(rest, region)
        masks[:, column["beard"]] = beard_density(rest, marks, region)
        masks[:, column["depth"]] = rest[:, 2] - marks[60:68, 2].mean()

        scalp = (vertex_material == SKIN) & (region != "ears")
        crown = rest[region == "scalp"].mean(0) + np.array([0.0, 0.035, 0.0], np.float32)
        strands = join(
            [
                grow_hair(person.hair, rest, normals, coarse, np.where(scalp, hair, -1.0), crown, random),
                grow_brows(person.hair, rest, normals, coarse, np.where(scalp, brow, -1.0), random),
                grow_lashes(person.hair, rest, np.flatnonzero(scalp), marks, eyes, random),
            ],
            STRAND_POINTS,
        )
        body = np.isin(region, ("neck", "torso")) | ((region == "skin") & (rest[:, 1] > 0.085))
        sheets = sew(person.dress, rest, coarse, body)

        fine = Refinement(coarse, len(rest))
        # A face on a border belongs to the outer of its parts, so that lips reach into the mouth.
        material = np.tile(vertex_material[coarse].min(1).astype(np.int32), 4)
        drawn = fine.positions(rest, normals)
        bare = ~_covered(drawn, sheets)[fine.faces].all(1)
        cloth, cloth_faces, cloth_material, cloth_masks = _together(sheets, len(drawn))
        faces = np.concatenate([fine.faces[bare], cloth_faces]).astype(np.int32)
        fine_masks = np.concatenate([fine.values(masks), cloth_masks])

        ajar = torch.zeros(model.n_expressions)
        ajar[ARKIT_INDEX["jawOpen"]] = 0.5
        open_mouth = np.concatenate([fine.values(_array(model.vertices(identity, ajar))), cloth])
        everything = np.concatenate([fine.values(rest), cloth])
        sky, hair_light = occlusion(everything, faces, strands.points[strands.kind == HAIR])
        inside = np.isin(fine.values(vertex_material[:, None].astype(np.float32))[:, 0], (TEETH, TONGUE, INNER))
        sky[: len(inside)][inside] = occlusion(open_mouth, faces, n_directions=40)[0][: len(inside)][inside]
        fine_masks[:, column["occlusion"]] = sky
        light = strands.light.copy()
        light[strands.kind == HAIR] = hair_light
        pressed = np.where(vertex_material == INNER, 0.996, 1.0).astype(np.float32)
        return cls(
            model=model,
            identity=identity,
            neutral=neutral,
            coarse_faces=coarse,
            refinement=fine,
            cloth=cloth,
            faces=faces,
            material=np.concatenate([material[bare], cloth_material]).astype(np.int32),
            rest=everything,
            masks=fine_masks,
            nearness=np.concatenate([fine.values(pressed), np.ones(len(cloth), np.float32)]),
            eyes=eyes,
            strands=strands.lit(light),
            crown=crown,
        )

    def pose(self, expression: torch.Tensor, head_pose: torch.Tensor, torso_pose: torch.Tensor) -> Posed:
        """Where everything is.

        Args:
            expression: (52,). head_pose, torso_pose: (6,).
        """
        moved = expression.nonzero()[:, 0]
        vertices = self.neutral + torch.einsum("e,evc->vc", expression[moved], self.model.exp_basis[moved])
        head, torso = head_to_camera(head_pose), head_to_camera(torso_pose)
        share = self.model.neck_weight[:, None]
        coarse = _array(share * _transform(head, vertices) + (1 - share) * _transform(torso, vertices))
        skin = self.refinement.positions(coarse, vertex_normals(coarse, self.coarse_faces))
        cloth = _array(_transform(torso, torch.from_numpy(self.cloth)))
        camera = np.concatenate([skin, cloth])
        strands = self.strands.points.copy()
        # Brows and lashes go with the skin that they grow from.
        facial = self.strands.kind != HAIR
        root = self.strands.root[facial]
        strands[facial] += _array(vertices - self.neutral)[root][:, None]
        self._fold_lashes(strands, expression)
        return Posed(
            camera,
            vertex_normals(camera, self.faces),
            _array(_transform(head, torch.from_numpy(strands).reshape(-1, 3))).reshape(strands.shape),
            _array(_transform(head, torch.from_numpy(self.crown)[None]))[0],
        )

    def _fold_lashes(self, strands: Floats, expression: torch.Tensor) -> None:
        """Turn lashes about their roots as the lid under them turns about the eyeball."""
        lash = np.flatnonzero(self.strands.kind == LASH)
        before, now = self.strands.points[lash, 0], strands[lash, 0]
        for side in (0, 1):
            mine = (before[:, 0] > 0) == (side == 0)
            centre = self.eyes[side, :3]
            angles = [np.arctan2(point[:, 1] - centre[1], -(point[:, 2] - centre[2])) for point in (before, now)]
            turn = (angles[1] - angles[0])[mine]
            rows = lash[mine]
            offset = strands[rows] - strands[rows][:, :1]
            c, s = np.cos(turn)[:, None], np.sin(turn)[:, None]
            y, z = offset[..., 1].copy(), offset[..., 2].copy()
            offset[..., 1], offset[..., 2] = c * y - s * z, s * y + c * z
            strands[rows] = strands[rows][:, :1] + offset


@cache
def scene_of(name: str) -> Scene:
    """The scene of one of :data:`~dfanerf_rt.clip.presenter.people.PEOPLE`, built once a process; seconds."""
    model, person = FaceModel.bundled(), PEOPLE[name]
    return Scene.build(model, person.identity(model), person)


def _together(sheets: list[Sheet], first: int) -> tuple[Floats, Ints, Ints, Floats]:
    """Vertices, faces (numbered from ``first``), materials and masks of all cloth."""
    vertices, faces, materials, masks = [], [], [], []
    for sheet in sheets:
        faces.append(sheet.faces + first)
        first += len(sheet.vertices)
        vertices.append(sheet.vertices)
        materials.append(np.full(len(sheet.faces), sheet.material, np.int32))
        mask = np.zeros((len(sheet.vertices), len(MASKS)), np.float32)
        mask[:, MASKS.index("lip")] = sheet.edge_m
        masks.append(mask)
    return np.concatenate(vertices), np.concatenate(faces), np.concatenate(materials), np.concatenate(masks)


def _covered(vertices: Floats, sheets: list[Sheet]) -> NDArray[np.bool_]:
    """Which vertices (V,) lie well under cloth."""
    deep = np.concatenate([sheet.vertices[sheet.edge_m > 0.020] for sheet in sheets if sheet.hides])
    return np.asarray((cKDTree(deep).query(vertices)[0] < 0.013) & (vertices[:, 1] > 0.11))


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
        half = np.interp(along, [0.0, 0.15, 0.6, 1.0], [0.0026, 0.0038, 0.0030, 0.0010])
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
    line = np.interp(z, front_to_back, [-0.122, -0.110, -0.088, -0.054, -0.016, 0.02, 0.032])
    # A peak on the forehead, and a ragged edge.
    line = line + 0.004 * np.exp(-((x / 0.02) ** 2)) * (z < 0)
    ragged = np.array([noise(45.0 * a, 45.0 * b, 0.0) for a, b in zip(x, z, strict=True)])
    line = line + 0.012 * (ragged - 0.5) * (z < -0.03)
    distance = 0.8 * (line - y)
    return np.where(np.isin(region, ("ears", "torso")), np.minimum(distance, -0.006), distance).astype(np.float32)


def beard_density(rest: Floats, marks: Floats, region: NDArray[np.str_]) -> Floats:
    """How thick a beard would grow, in [0, 1]: upper lip, chin, jaw and under it."""
    x, y, z = rest.astype(np.float64).T
    nose, corner, chin = marks[33], marks[[48, 54]].mean(0), marks[8]
    # The line from the ear past the corner of the mouth to the nose bounds the cheek.
    cheek = np.interp(np.abs(x), [0.0, 0.022, 0.040, 0.072], [nose[1] + 0.005, nose[1] + 0.008, corner[1], -0.012])
    thick = _step(-0.006, 0.010, (y - cheek).astype(np.float32)) * _step(0.05, 0.035, (y - chin[1]).astype(np.float32))
    thick *= _step(0.035, 0.015, z.astype(np.float32))
    return np.where(np.isin(region, ("ears", "torso", "scalp")), 0.0, thick).astype(np.float32)


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
    """Smoothstep from ``floor`` at ``low`` to 1 at ``high``, either of which may be the larger."""
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
