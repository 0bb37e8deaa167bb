"""The bundled head: sizes, axes, and that each face unit does what its name says."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dfanerf_rt.face.arkit import ARKIT_INDEX, ARKIT_NAMES
from dfanerf_rt.face.ibug import MEDIAPIPE_TO_IBUG
from dfanerf_rt.face.model import BUNDLED_PATH, FaceModel

HEAD = FaceModel.bundled()
NEUTRAL = torch.zeros(HEAD.n_identity)


def expression(**units: float) -> Tensor:
    values = torch.zeros(52)
    for name, value in units.items():
        values[ARKIT_INDEX[name]] = value
    return values


def landmarks(**units: float) -> Tensor:
    return HEAD.landmarks(NEUTRAL, expression(**units))


def eye_opening(points: Tensor, first: int) -> float:
    lids = points[first + 4] + points[first + 5] - points[first + 1] - points[first + 2]
    return float(lids[1] / 2)


def test_it_is_small_and_public_domain() -> None:
    assert BUNDLED_PATH.stat().st_size < 5e6
    assert HEAD.licence.startswith("CC0-1.0")
    assert HEAD.expression_names == ARKIT_NAMES and len(ARKIT_NAMES) == 52
    assert "CC0 1.0" in (BUNDLED_PATH.parent / "LICENSE.md").read_text()


def test_axes_and_size_are_those_of_a_human_head() -> None:
    points = landmarks()
    chin, nose_tip, brow = points[8], points[30], points[[19, 24]].mean(0)
    assert chin[1] > nose_tip[1] > brow[1], "y points down"
    assert nose_tip[2] < points[0][2], "the face looks towards -z"
    right_eye, left_eye = points[36:42].mean(0), points[42:48].mean(0)
    assert right_eye[0] < 0 < left_eye[0], "image-left is the subject's right"
    assert 0.055 < float((left_eye - right_eye).norm()) < 0.072
    ears = HEAD.mean[HEAD.region == HEAD.region_names.index("ears")]
    assert ears[:, 0].abs().min() > 0.05
    assert torch.allclose(ears.mean(0), torch.tensor([0.0, 0.0, 0.0]), atol=0.02), "the origin lies between the ears"


def test_the_mean_head_is_nearly_symmetric() -> None:
    points = landmarks()
    pairs = torch.tensor([[0, 16], [4, 12], [17, 26], [21, 22], [36, 45], [39, 42], [31, 35], [48, 54], [60, 64]])
    mirrored = points[pairs[:, 1]] * torch.tensor([-1.0, 1.0, 1.0])
    assert float((points[pairs[:, 0]] - mirrored).norm(dim=-1).max()) < 0.004


def test_blinks_close_one_eye_each() -> None:
    open_eyes, left, both = landmarks(), landmarks(eyeBlinkLeft=1), landmarks(eyeBlinkLeft=1, eyeBlinkRight=1)
    assert eye_opening(open_eyes, 42) > 0.006
    assert eye_opening(left, 42) < 0.1 * eye_opening(open_eyes, 42), "the subject's left is image-right"
    assert eye_opening(left, 36) > 0.95 * eye_opening(open_eyes, 36)
    assert -0.0015 < eye_opening(both, 36) < 0.0005, "the lids meet and do not slide far over each other"


def test_closed_lids_cover_the_eyeballs() -> None:
    """Seen from the front, every point of the iris lies behind some triangle of skin."""
    for seed in range(3):
        identity = 0.8 * torch.randn(HEAD.n_identity, generator=torch.Generator().manual_seed(seed))
        vertices = HEAD.vertices(identity, expression(eyeBlinkLeft=1, eyeBlinkRight=1))
        eyes = torch.tensor([HEAD.region_names.index(name) for name in ("iris", "pupil")])
        seen = vertices[torch.isin(HEAD.region.long(), eyes)]
        skin_names = [HEAD.region_names.index(name) for name in ("skin", "eyelids")]
        skin = HEAD.faces[torch.isin(HEAD.region.long()[HEAD.faces], torch.tensor(skin_names)).all(1)]
        assert float(covered(seen, vertices[skin]).float().mean()) > 0.98


def covered(points: Tensor, triangles: Tensor) -> Tensor:
    """Which points (N, 3) lie behind a triangle (F, 3, 3), looking along +z."""
    a, b, c = triangles[:, 0], triangles[:, 1], triangles[:, 2]
    area = (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0])
    keep = area.abs() > 1e-12
    a, b, c, area = a[keep], b[keep], c[keep], area[keep]
    x, y = points[:, None, 0], points[:, None, 1]
    v = ((x - a[:, 0]) * (c[:, 1] - a[:, 1]) - (y - a[:, 1]) * (c[:, 0] - a[:, 0])) / area
    w = ((b[:, 0] - a[:, 0]) * (y - a[:, 1]) - (b[:, 1] - a[:, 1]) * (x - a[:, 0])) / area
    depth = (1 - v - w) * a[:, 2] + v * b[:, 2] + w * c[:, 2]
    return ((v >= 0) & (w >= 0) & (v + w <= 1) & (depth <= points[:, None, 2])).any(1)


def test_the_jaw_opens_and_mouth_close_closes_it_again() -> None:
    def gap(points: Tensor) -> float:
        return float(points[66, 1] - points[62, 1])

    closed, opened = landmarks(), landmarks(jawOpen=1)
    assert abs(gap(closed)) < 0.003
    assert gap(opened) > 0.02
    assert float(opened[8, 1] - closed[8, 1]) > 0.015, "the chin drops"
    assert abs(float(opened[51, 1] - closed[51, 1])) < 0.006, "the upper lip stays"
    assert abs(gap(landmarks(jawOpen=1, mouthClose=1))) < 0.006


@pytest.mark.parametrize(
    ("unit", "point", "axis", "sign"),
    [
        ("mouthSmileLeft", 54, 0, 1),
        ("mouthSmileRight", 48, 0, -1),
        ("mouthSmileLeft", 54, 1, -1),
        ("mouthFrownRight", 48, 1, 1),
        ("mouthPucker", 54, 0, -1),
        ("mouthPucker", 57, 2, -1),
        ("mouthUpperUpLeft", 52, 1, -1),
        ("mouthLowerDownRight", 58, 1, 1),
        ("mouthLeft", 57, 0, 1),
        ("jawRight", 8, 0, -1),
        ("jawForward", 8, 2, -1),
        ("browInnerUp", 21, 1, -1),
        ("browOuterUpRight", 18, 1, -1),
        ("browDownLeft", 24, 1, 1),
        ("eyeWideLeft", 43, 1, -1),
    ],
)
def test_units_move_landmarks_the_way_they_are_named(unit: str, point: int, axis: int, sign: int) -> None:
    moved = landmarks(**{unit: 1.0})[point, axis] - landmarks()[point, axis]
    assert sign * float(moved) > 0.0008


@pytest.mark.parametrize(
    ("unit", "side", "axis", "sign"),
    [
        ("eyeLookUpLeft", 1, 1, -1),
        ("eyeLookDownRight", -1, 1, 1),
        ("eyeLookInLeft", 1, 0, -1),
        ("eyeLookOutRight", -1, 0, -1),
    ],
)
def test_gaze_units_turn_the_iris(unit: str, side: int, axis: int, sign: int) -> None:
    iris = (HEAD.region == HEAD.region_names.index("pupil")) & (HEAD.mean[:, 0] * side > 0)
    moved = HEAD.exp_basis[ARKIT_INDEX[unit], iris].mean(0)
    assert sign * float(moved[axis]) > 0.002


def test_teeth_follow_skull_and_jaw() -> None:
    jaw = HEAD.exp_basis[ARKIT_INDEX["jawOpen"]]
    upper = HEAD.region == HEAD.region_names.index("teeth_upper")
    lower = HEAD.region == HEAD.region_names.index("teeth_lower")
    assert float(jaw[upper].abs().max()) < 1e-6
    assert float(jaw[lower, 1].min()) > 0.01
    assert (
        float(HEAD.exp_basis[ARKIT_INDEX["tongueOut"], HEAD.region == HEAD.region_names.index("tongue"), 2].min())
        < -0.015
    )


def test_neck_weight_runs_from_head_to_shoulders() -> None:
    names = HEAD.region_names
    weight = HEAD.neck_weight
    for name in ("lips", "iris", "teeth_lower", "brows"):
        assert float(weight[HEAD.region == names.index(name)].min()) > 0.97
    assert float(weight[HEAD.mean[:, 1] > 0.22].max()) < 0.05
    assert float(weight.min()) >= 0.0 and float(weight.max()) <= 1.0
    edges = HEAD.faces[:, [0, 1]]
    assert float((weight[edges[:, 0]] - weight[edges[:, 1]]).abs().max()) < 0.35, "no step tears the neck"


def test_identity_keeps_the_head_in_place() -> None:
    """The skull's position is pose, not identity: coefficients hardly move its centre."""
    skull = (HEAD.neck_weight > 0.97) & (HEAD.mean[:, 1] < 0.05)
    assert float(HEAD.id_basis[:, skull].mean(1).norm(dim=-1).max()) < 0.004
    assert float(HEAD.id_basis.abs().max()) > 0.002


def test_landmarks_lie_on_the_surface_they_are_named_for() -> None:
    weights = HEAD.mediapipe_barycentric
    torch.testing.assert_close(weights.sum(1), torch.ones(len(weights)), atol=1e-5, rtol=0)
    assert float(weights.min()) > -1e-5
    assert len(HEAD.mediapipe_index) >= 470
    assert float(HEAD.mediapipe_spread.median()) < 0.003
    known = {int(index): row for row, index in enumerate(HEAD.mediapipe_index)}
    rows = torch.tensor([known[index] for index in MEDIAPIPE_TO_IBUG])
    torch.testing.assert_close(HEAD.mediapipe_points(NEUTRAL, torch.zeros(52))[rows], landmarks())
    lips = HEAD.region_names.index("lips")
    assert (HEAD.region[HEAD.landmark_triangles[[62, 66]]] == lips).sum() >= 4


def test_landmarks_agree_with_the_whole_mesh_and_carry_gradients() -> None:
    generator = torch.Generator().manual_seed(0)
    identity = torch.randn(HEAD.n_identity, generator=generator).requires_grad_()
    strengths = torch.rand(3, 52, generator=generator).requires_grad_()
    points = HEAD.landmarks(identity, strengths)
    corners = HEAD.vertices(identity, strengths)[:, HEAD.landmark_triangles]
    torch.testing.assert_close(points, (corners * HEAD.landmark_barycentric[..., None]).sum(-2), atol=1e-6, rtol=0)
    points.square().sum().backward()
    assert identity.grad is not None and float(identity.grad.abs().max()) > 0
    assert strengths.grad is not None and float(strengths.grad.abs().max()) > 0
