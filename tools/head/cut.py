"""Cuts head, neck and shoulders out of MakeHuman's mesh, as a linear map of the full mesh's vertices.

Linear, so that the same map takes positions, identity targets and expression targets. It lowers the arms
from MakeHuman's A pose, keeps what lies above the chest, and puts finer eyeballs in place of the helpers'.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from head.makehuman import FloatArray, IntArray, MakeHuman

CUT_BELOW_EARS_M = 0.37  # the bust ends this far below the ear canals
ARM_DROP_DEGREES = 38.0
EYE_RINGS_DEGREES = (0.0, 5.0, 9.0, 10.5, 16.0, 21.5, 24.0, 26.0, 33.0, 42.0, 53.0, 66.0, 80.0, 95.0)
PUPIL_DEGREES, IRIS_DEGREES = 9.5, 25.0
EYE_SEGMENTS = 28


@dataclass(frozen=True)
class Cut:
    """A linear map from MakeHuman's vertices to the head's, with the head's topology.

    Attributes:
        source: (B,) MakeHuman vertex of each of the first B head vertices (all but the eyeballs).
        arm_weight: (B, 2) how much each follows the left and the right upper arm.
        shoulder_cubes: vertex ids of the two shoulder joint cubes.
        eye_source: per eye the ids of MakeHuman's helper vertices.
        eye_weight: per eye (E, n) weights on them for each vertex of the new eyeball.
        faces: (F, 3) triangles; part: (F,) index into PARTS; uv: (B + 2E, 2).
    """

    source: IntArray
    arm_weight: FloatArray
    shoulder_cubes: tuple[IntArray, IntArray]
    eye_source: tuple[IntArray, IntArray]
    eye_weight: tuple[FloatArray, FloatArray]
    faces: IntArray
    part: IntArray
    uv: FloatArray

    def apply(self, field: FloatArray) -> FloatArray:
        """Map positions or offsets (..., V_makehuman, 3) to the head's vertices (..., V, 3)."""
        body = lower_arms(field, self.source, self.arm_weight, self.shoulder_cubes)
        eyes = [weight @ field[ids] for ids, weight in zip(self.eye_source, self.eye_weight, strict=True)]
        return np.concatenate([body, *eyes])


PARTS = ("body", "teeth_upper", "teeth_lower", "tongue", "eye_left", "eye_right")
_GROUPS = {"body": 0, "helper-upper-teeth": 1, "helper-lower-teeth": 2, "helper-tongue": 3}


def lower_arms(
    field: FloatArray, source: IntArray, arm_weight: FloatArray, cubes: tuple[IntArray, IntArray]
) -> FloatArray:
    """Turn the upper arms about their shoulder joints, blended by the skinning weights."""
    moved = field[source]
    result = moved.copy()
    for side, cube in enumerate(cubes):
        angle = np.deg2rad(ARM_DROP_DEGREES) * (1 if side == 0 else -1)
        cosine, sine = np.cos(angle), np.sin(angle)
        turn = np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]])
        joint = field[cube].mean(0)
        result += arm_weight[:, side, None] * ((moved - joint) @ turn.T + joint - moved)
    return result


def eyeball() -> tuple[FloatArray, IntArray, FloatArray]:
    """Unit sphere open at the back, pole at -z: vertices (E, 3), triangles, polar angle (E,) in degrees."""
    turn = 2 * np.pi * np.arange(EYE_SEGMENTS) / EYE_SEGMENTS
    points, angles = [np.array([[0.0, 0.0, -1.0]])], [np.zeros(1)]
    for degrees in EYE_RINGS_DEGREES[1:]:
        polar = np.deg2rad(degrees)
        ring = [np.sin(polar) * np.cos(turn), np.sin(polar) * np.sin(turn), np.full(EYE_SEGMENTS, -np.cos(polar))]
        points.append(np.stack(ring, 1))
        angles.append(np.full(EYE_SEGMENTS, degrees))
    here = np.arange(EYE_SEGMENTS)
    after = (here + 1) % EYE_SEGMENTS
    faces = [np.stack([np.zeros_like(here), 1 + after, 1 + here], 1)]
    for ring_index in range(len(EYE_RINGS_DEGREES) - 2):
        inner, outer = 1 + ring_index * EYE_SEGMENTS, 1 + (ring_index + 1) * EYE_SEGMENTS
        faces.append(np.stack([inner + here, inner + after, outer + here], 1))
        faces.append(np.stack([inner + after, outer + after, outer + here], 1))
    return np.concatenate(points), np.concatenate(faces), np.concatenate(angles)


def _arm_weights(data: MakeHuman, count: int) -> FloatArray:
    weights = np.zeros((count, 2))
    total = np.zeros(count)
    bones = data.bone_weights()
    arm = ("upperarm", "lowerarm", "wrist", "metacarpal", "finger")
    for bone, pairs in bones.items():
        for vertex, weight in pairs:
            total[vertex] += weight
            if bone.startswith(arm):
                weights[vertex, 0 if bone.endswith(".L") else 1] += weight
            elif bone.startswith("shoulder01"):
                weights[vertex, 0 if bone.endswith(".L") else 1] += 0.35 * weight
    return weights / np.maximum(total, 1e-9)[:, None]


def make_cut(data: MakeHuman, ear_height: float) -> Cut:
    """Build the cut for MakeHuman's base mesh; ``ear_height`` is the y of the ear canals there."""
    mesh = data.mesh
    groups: dict[str, set[int]] = {}
    for polygon, group in zip(mesh.polygons, mesh.polygon_group, strict=True):
        groups.setdefault(group, set()).update(polygon)
    ids = {name: np.array(sorted(members)) for name, members in groups.items()}
    count = len(mesh.vertices)
    arm_weight = _arm_weights(data, count)
    cubes = (ids["joint-l-shoulder"], ids["joint-r-shoulder"])
    lowered = lower_arms(mesh.vertices, np.arange(count), arm_weight, cubes)

    triangles, parts, uv = [], [], np.zeros((count, 2))
    for polygon, corners, group in zip(mesh.polygons, mesh.polygon_uv, mesh.polygon_group, strict=True):
        if group not in _GROUPS or lowered[list(polygon), 1].max() > ear_height + CUT_BELOW_EARS_M:
            continue
        uv[list(polygon)] = mesh.uv[list(corners)]
        for k in range(1, len(polygon) - 1):
            triangles.append((polygon[0], polygon[k], polygon[k + 1]))
            parts.append(_GROUPS[group])
    used, faces = np.unique(np.array(triangles), return_inverse=True)
    faces = faces.reshape(-1, 3)
    all_faces, all_parts = [faces], [np.array(parts)]

    sphere, sphere_faces, _ = eyeball()
    eye_source, eye_weight, offset = [], [], len(used)
    for side, name in enumerate(("helper-l-eye", "helper-r-eye")):
        helper = mesh.vertices[ids[name]]
        centre, radius = fit_sphere(helper)
        affine = np.linalg.pinv(np.column_stack([helper, np.ones(len(helper))]))
        points = centre + radius * sphere
        eye_source.append(ids[name])
        eye_weight.append(np.column_stack([points, np.ones(len(points))]) @ affine)
        all_faces.append(sphere_faces + offset)
        all_parts.append(np.full(len(sphere_faces), 4 + side))
        offset += len(sphere)
    eye_uv = np.full((2 * len(sphere), 2), 0.0)
    return Cut(
        source=used,
        arm_weight=arm_weight[used],
        shoulder_cubes=cubes,
        eye_source=(eye_source[0], eye_source[1]),
        eye_weight=(eye_weight[0], eye_weight[1]),
        faces=np.concatenate(all_faces),
        part=np.concatenate(all_parts),
        uv=np.concatenate([uv[used], eye_uv]),
    )


def fit_sphere(points: FloatArray) -> tuple[FloatArray, float]:
    """Centre and radius of the sphere nearest to points (algebraic least squares)."""
    design = np.column_stack([2 * points, np.ones(len(points))])
    solution, *_ = np.linalg.lstsq(design, (points**2).sum(1), rcond=None)
    return solution[:3], float(np.sqrt(solution[3] + (solution[:3] ** 2).sum()))
