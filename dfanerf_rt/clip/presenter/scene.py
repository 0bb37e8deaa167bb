"""The synthetic presenter at rest and in a frame: skin, hair and clothes, and where all of it is."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from dfanerf_rt.clip.presenter.dress import Sheet, sew
from dfanerf_rt.clip.presenter.hair import grow_brows, grow_hair, grow_lashes
from dfanerf_rt.clip.presenter.masks import (
    beard_density,
    blush,
    brow_distance,
    hair_distance,
    lash_distance,
    lip_distance,
)
from dfanerf_rt.clip.presenter.occlusion import occlusion
from dfanerf_rt.clip.presenter.people import PEOPLE, Person
from dfanerf_rt.clip.presenter.raster import Floats, Ints, Refinement, vertex_normals
from dfanerf_rt.clip.presenter.shapes import fit_sphere
from dfanerf_rt.clip.presenter.strands import HAIR, LASH, Strands, join
from dfanerf_rt.clip.presenter.surface import EYE, INNER, MASKS, SKIN, TEETH, TONGUE
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
    """(F,) of the materials in :mod:`dfanerf_rt.clip.presenter.surface`."""
    rest: Floats
    """(V, 3) vertices of the neutral face and of cloth."""
    masks: Floats
    """(V, 8), see :data:`dfanerf_rt.clip.presenter.surface.MASKS`."""
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
        eyes = np.stack([fit_sphere(rest[(vertex_material == EYE) & (eye_side == side)]) for side in (0, 1)])
        normals = vertex_normals(rest, coarse)

        masks = np.zeros((len(rest), len(MASKS)), np.float32)
        column = {name: index for index, name in enumerate(MASKS)}
        masks[:, column["lip"]] = lip_distance(rest, marks, region)
        masks[:, column["blush"]] = blush(rest, marks)
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
        self._fold_lashes(strands)
        return Posed(
            camera,
            vertex_normals(camera, self.faces),
            _array(_transform(head, torch.from_numpy(strands).reshape(-1, 3))).reshape(strands.shape),
            _array(_transform(head, torch.from_numpy(self.crown)[None]))[0],
        )

    def _fold_lashes(self, strands: Floats) -> None:
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


def _array(tensor: torch.Tensor) -> Floats:
    return np.ascontiguousarray(tensor.detach().float().numpy())


def _transform(matrix: torch.Tensor, vertices: torch.Tensor) -> torch.Tensor:
    return vertices @ matrix[:, :3].T + matrix[:, 3]
