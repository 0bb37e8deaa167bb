"""Labels the head's vertices by region and weighs them by how far they follow the head."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dfanerf_rt.face.regions import REGION_INDEX
from head.cut import IRIS_DEGREES, PARTS, PUPIL_DEGREES, Cut, eyeball
from head.makehuman import FloatArray, IntArray, MakeHuman

# Share of the head's motion that each bone below the skull takes part in.
NECK_SHARE = {"neck03": 0.8, "neck02": 0.5, "neck01": 0.15}


def neck_weights(data: MakeHuman, cut: Cut) -> FloatArray:
    """Weights (V,): 1 on the head, falling through the neck to 0 on the shoulders."""
    count = len(data.mesh.vertices)
    weight, total = np.zeros(count), np.zeros(count)
    for bone, pairs in data.bone_weights().items():
        torso = bone.startswith(
            (
                "spine",
                "root",
                "pelvis",
                "breast",
                "clavicle",
                "shoulder",
                "upper",
                "lower",
                "wrist",
                "meta",
                "finger",
                "foot",
                "toe",
            )
        )
        share = NECK_SHARE.get(bone, 0.0 if torso else 1.0)
        for vertex, value in pairs:
            weight[vertex] += share * value
            total[vertex] += value
    body = weight[cut.source] / np.maximum(total[cut.source], 1e-9)
    inner = np.unique(cut.faces[(cut.part > 0)])
    result = np.ones(cut.uv.shape[0])
    result[: len(body)] = body
    result[inner] = 1.0
    return _smooth(result, cut.faces, 3)


def _smooth(values: FloatArray, faces: IntArray, rounds: int) -> FloatArray:
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    degree = np.bincount(edges.ravel(), minlength=len(values))
    for _ in range(rounds):
        total = np.bincount(edges[:, 0], values[edges[:, 1]], len(values))
        total += np.bincount(edges[:, 1], values[edges[:, 0]], len(values))
        values = 0.5 * values + 0.5 * total / np.maximum(degree, 1)
    return values


def regions(data: MakeHuman, cut: Cut, mean: FloatArray, eyes: tuple[FloatArray, FloatArray]) -> NDArray[np.uint8]:
    """Region labels (V,) of the mean head, given in head coordinates with the two eyeball centres."""
    label = np.full(len(mean), REGION_INDEX["skin"], dtype=np.uint8)
    x, y, z = mean.T
    body = np.zeros(len(mean), dtype=bool)
    body[np.unique(cut.faces[cut.part == 0])] = True

    # Scalp: above a hairline that runs over the forehead, down before the ears and round the nape.
    hairline = np.interp(z, [-0.085, -0.055, -0.022, -0.012, 0.02, 0.05], [-0.102, -0.082, -0.050, -0.015, 0.03, 0.045])
    label[body & (y < hairline)] = REGION_INDEX["scalp"]

    below_jaw = y > np.interp(z, [-0.11, -0.075, -0.03, 0.02, 0.05], [0.118, 0.112, 0.075, 0.04, 0.045])
    label[body & below_jaw] = REGION_INDEX["neck"]
    collar = np.interp(np.hypot(x, 0.9 * (z - 0.01)), [0.05, 0.07, 0.085, 0.1], [0.165, 0.138, 0.112, 0.09])
    label[body & (y > collar)] = REGION_INDEX["torso"]

    for side, centre in enumerate(eyes):
        outward = (x - centre[0]) * (1 if side == 0 else -1)
        arc = centre[1] - np.interp(outward, [-0.017, -0.008, 0.008, 0.026], [0.0195, 0.0215, 0.0245, 0.0180])
        thick = np.interp(outward, [-0.017, -0.008, 0.026], [0.0040, 0.0044, 0.0032])
        brow = (np.abs(y - arc) < thick) & (outward > -0.018) & (outward < 0.027) & (z < -0.03)
        label[body & brow] = REGION_INDEX["brows"]

    for region, mask in (("ears", "ears"), ("eyelids", "eyelids"), ("mouth_inner", "inside-mouth"), ("lips", "lips")):
        label[body & (_sample(data.uv_mask(mask), cut.uv) > 0.5)] = REGION_INDEX[region]

    _close_gaps(label, cut.faces, REGION_INDEX["lips"], REGION_INDEX["skin"])
    for name in PARTS[1:4]:
        label[np.unique(cut.faces[cut.part == PARTS.index(name)])] = REGION_INDEX[name]
    _, _, polar = eyeball()
    eye = np.full(len(polar), REGION_INDEX["sclera"], dtype=np.uint8)
    eye[polar < IRIS_DEGREES] = REGION_INDEX["iris"]
    eye[polar < PUPIL_DEGREES] = REGION_INDEX["pupil"]
    label[-2 * len(polar) :] = np.concatenate([eye, eye])
    return label


def _close_gaps(label: NDArray[np.uint8], faces: IntArray, region: int, among: int) -> None:
    """Give ``region`` to the vertices labelled ``among`` that it surrounds."""
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    same = (label == region).astype(np.float64)
    near = np.bincount(edges[:, 0], same[edges[:, 1]], len(label)) / np.maximum(
        np.bincount(edges[:, 0], minlength=len(label)), 1
    )
    label[(label == among) & (near >= 0.45)] = region


def _sample(mask: FloatArray, uv: FloatArray) -> FloatArray:
    height, width = mask.shape
    row = np.clip(((1 - uv[:, 1]) * height).astype(np.int64), 0, height - 1)
    column = np.clip((uv[:, 0] * width).astype(np.int64), 0, width - 1)
    return mask[row, column]
