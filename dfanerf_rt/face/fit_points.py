"""What the fit needs of a face model: bases at MediaPipe's landmarks, and how far to trust each."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dfanerf_rt.errors import FaceModelError
from dfanerf_rt.face.arkit import ARKIT_INDEX, ARKIT_NAMES
from dfanerf_rt.face.model import FaceModel

LIPS_OUTER = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185)
LIPS_INNER = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191)
EYE_LEFT = (263, 249, 390, 373, 374, 380, 381, 382, 362, 466, 388, 387, 386, 385, 384, 398)
EYE_RIGHT = (33, 7, 163, 144, 145, 153, 154, 155, 133, 246, 161, 160, 159, 158, 157, 173)
BROWS = (46, 53, 52, 65, 55, 70, 63, 105, 66, 107, 276, 283, 282, 295, 285, 300, 293, 334, 296, 336)
OVAL = (
    *(10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377),
    *(152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109),
)
STATIC = (
    *(168, 6, 197, 195, 5, 4, 1, 9, 8, 151, 98, 327, 2, 129, 358, 122, 351, 193, 417, 33, 133, 362, 263),
    *(114, 343, 217, 437, 198, 420, 131, 360, 115, 344, 48, 278, 116, 345, 117, 346, 111, 340, 143, 372),
)
"""Points over bone and the nose, which hardly move with the expression: they carry the pose."""
LIP_PAIRS = ((13, 14), (82, 87), (312, 317), (81, 178), (311, 402), (80, 88), (310, 318), (191, 95), (415, 324))
LID_PAIRS = (
    *((386, 374), (385, 380), (387, 373), (384, 381), (388, 390)),
    *((159, 145), (158, 153), (160, 144), (157, 154), (161, 163)),
)
"""Upper and lower points that meet when the mouth or the eye is closed: (upper, lower)."""

_WEIGHTS = (
    (OVAL, 0.3),
    (BROWS, 1.5),
    (STATIC, 2.0),
    (LIPS_OUTER, 2.5),
    (LIPS_INNER, 4.0),
    (EYE_LEFT, 3.0),
    (EYE_RIGHT, 3.0),
)
_LIP_PAIR_WEIGHT, _LID_PAIR_WEIGHT = 8.0, 8.0
_SPREAD_M = 2e-3
"""Landmarks that wander this far from their place on the model count half."""


@dataclass(frozen=True)
class FitPoints:
    """Bases of a face model restricted to the M MediaPipe landmarks it knows; metres, float32."""

    mean: Tensor
    """(M, 3)."""
    id_basis: Tensor
    """(K, M, 3)."""
    exp_basis: Tensor
    """(52, M, 3)."""
    index: Tensor
    """(M,) MediaPipe's number of each point."""
    weight: Tensor
    """(M,) trust in each point."""
    static: Tensor
    """(M,) bool: carries the pose."""
    pairs: Tensor
    """(P, 2) rows of points that meet when mouth or eye closes."""
    pair_weight: Tensor
    """(P,)."""
    lip_pairs: Tensor
    """(P,) bool: the pair lies on the lips."""

    @staticmethod
    def of(model: FaceModel) -> FitPoints:
        """Restrict ``model`` to its MediaPipe landmarks.

        Raises:
            FaceModelError: the model knows too few of them to be fitted.
        """
        index = model.mediapipe_index.to(torch.int64)
        if len(index) < 40:
            raise FaceModelError(
                f"the face model knows {len(index)} of MediaPipe's landmarks; at least 40 are expected"
            )
        if tuple(model.expression_names) != ARKIT_NAMES:
            raise FaceModelError(
                f"face model '{model.name}' has {model.n_expressions} expressions of its own; tracking needs ARKit's 52"
            )
        mean, id_basis, exp_basis = model.point_bases(model.mediapipe_triangles, model.mediapipe_barycentric)
        row_of = {int(number): row for row, number in enumerate(index)}
        weight = torch.ones(len(index))
        for group, value in _WEIGHTS:
            for number in group:
                if number in row_of:
                    weight[row_of[number]] = value
        weight[index >= 468] = 0.5  # irises are round, seen through lids, and tell little of the face
        weight = weight / (1.0 + (model.mediapipe_spread.float() / _SPREAD_M) ** 2)
        static = torch.tensor([int(number) in STATIC for number in index])
        if int(static.sum()) < 6:
            raise FaceModelError(
                "the face model knows too few landmarks of nose and eye corners to find the head's pose"
            )
        known = [
            (row_of[a], row_of[b], value, lips)
            for pairs, value, lips in ((LIP_PAIRS, _LIP_PAIR_WEIGHT, True), (LID_PAIRS, _LID_PAIR_WEIGHT, False))
            for a, b in pairs
            if a in row_of and b in row_of
        ]
        return FitPoints(
            mean=mean.float(),
            id_basis=id_basis.float(),
            exp_basis=exp_basis.float(),
            index=index,
            weight=weight,
            static=static,
            pairs=torch.tensor([(a, b) for a, b, _, _ in known], dtype=torch.int64).reshape(-1, 2),
            pair_weight=torch.tensor([value for _, _, value, _ in known]),
            lip_pairs=torch.tensor([lips for _, _, _, lips in known], dtype=torch.bool),
        )


def expression_change_std() -> Tensor:
    """(52,) how much each expression usually changes within one frame at 25 fps; lids are fast, brows slow."""
    std = torch.full((len(ARKIT_NAMES),), 0.05)
    for name, row in ARKIT_INDEX.items():
        if name.startswith(("jaw", "mouth", "tongue")):
            std[row] = 0.12
        if name.startswith("eye"):
            std[row] = 0.15
        if name.startswith("eyeBlink"):
            std[row] = 0.6
    return std


def expression_cost() -> Tensor:
    """(52,) price of each expression: high where landmarks see it badly, so that it stays at rest without need."""
    cost = torch.ones(len(ARKIT_NAMES))
    hard_to_see = (
        "tongueOut",
        "cheekPuff",
        "mouthShrug",
        "mouthRoll",
        "mouthDimple",
        "mouthPress",
        "cheekSquint",
        "jawForward",
    )
    for name, row in ARKIT_INDEX.items():
        if name.startswith(hard_to_see):
            cost[row] = 3.0
        if name in ("jawOpen", "eyeBlinkLeft", "eyeBlinkRight"):
            cost[row] = 0.3
    return cost
