from __future__ import annotations

import numpy as np
import pytest
import torch

from dfanerf_rt.errors import ShapeError
from dfanerf_rt.face.arkit import ARKIT_INDEX
from dfanerf_rt.face.fit import FitConfig, FitResult, fit_track
from dfanerf_rt.face.fit_normal import (
    Observation,
    Unknowns,
    View,
    data_cost,
    left_jacobian,
    normal_equations,
    residuals,
)
from dfanerf_rt.face.fit_points import FitPoints
from dfanerf_rt.face.fit_pose import eye_closure
from dfanerf_rt.face.fit_solve import solve_in_time
from dfanerf_rt.face.landmarks import EYE_RINGS
from dfanerf_rt.face.model import FaceModel
from dfanerf_rt.face.rotation import head_to_camera, rotation_matrix

VIEW = View(256.0, 256.0, 512.0)
N_FRAMES = 50


@pytest.fixture(scope="module")
def model() -> FaceModel:
    return FaceModel.bundled()


def spoken(n_frames: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Expressions of a mouth that opens twice a second and one blink of three frames, and a slowly moving head."""
    time = torch.arange(n_frames) / 25
    expression = torch.zeros(n_frames, 52)
    expression[:, ARKIT_INDEX["jawOpen"]] = 0.25 - 0.25 * torch.cos(2 * torch.pi * 2 * time)
    expression[:, ARKIT_INDEX["mouthFunnel"]] = 0.2 - 0.2 * torch.cos(2 * torch.pi * 0.7 * time)
    for name in ("eyeBlinkLeft", "eyeBlinkRight"):
        expression[20:23, ARKIT_INDEX[name]] = torch.tensor([0.7, 1.0, 0.6])
    pose = torch.stack(
        [
            0.05 * torch.sin(2 * time),
            0.15 * torch.sin(1.3 * time),
            0.03 * torch.cos(time),
            0.01 * torch.sin(time),
            0.01 * torch.cos(time) + 0.02,
            0.75 + 0.01 * torch.sin(time),
        ],
        dim=1,
    )
    return expression, pose


def seen_landmarks(model: FaceModel, expression: torch.Tensor, pose: torch.Tensor, focal_px: float) -> np.ndarray:
    identity = torch.zeros(model.n_identity)
    identity[1:4] = torch.tensor([0.8, -0.6, 0.5])
    points = model.mediapipe_points(identity, expression).float()
    matrix = head_to_camera(pose)
    camera = torch.einsum("tij,tmj->tmi", matrix[..., :3], points) + matrix[:, None, :, 3]
    noise = 0.4 * torch.randn(*camera.shape[:2], 2, generator=torch.Generator().manual_seed(0))
    pixels = focal_px * camera[..., :2] / camera[..., 2:] + 256.0 + noise
    landmarks = np.zeros((len(pose), 478, 3), np.float32)
    landmarks[:, model.mediapipe_index.numpy(), :2] = pixels.numpy()
    return landmarks


@pytest.fixture(scope="module")
def fitted(model: FaceModel) -> FitResult:
    expression, pose = spoken(N_FRAMES)
    landmarks = seen_landmarks(model, expression, pose, 1050.0)
    landmarks[35:38] = np.nan  # not found for three frames
    return fit_track(model, landmarks, VIEW, config=FitConfig(shared_frames=40))


def test_the_landmarks_are_explained(fitted: FitResult) -> None:
    assert fitted.median_error_px < 1.0
    assert fitted.error_px[35:38].isnan().all()
    assert fitted.track.confidence.sum() == N_FRAMES - 3


def test_mouth_and_blink_are_recovered(fitted: FitResult, model: FaceModel) -> None:
    expression, _ = spoken(N_FRAMES)
    found = fitted.track.expression
    truth = model.landmarks(torch.zeros(model.n_identity), expression)
    for upper, lower in ((62, 66), (51, 57)):
        gap = fitted.track.landmarks[:, lower, 1] - fitted.track.landmarks[:, upper, 1]
        true_gap = truth[:, lower, 1] - truth[:, upper, 1]
        assert np.corrcoef(gap.numpy(), true_gap.numpy())[0, 1] > 0.98
        assert float(((gap - gap.mean()) - (true_gap - true_gap.mean())).abs().max()) < 2.5e-3
    blink = found[:, ARKIT_INDEX["eyeBlinkLeft"]]
    assert float(blink[21]) > 0.8 and float(blink[[10, 15, 28, 45]].max()) < 0.3
    assert float(fitted.track.eye_closure[21].min()) > 0.9


def test_the_pose_follows_also_where_no_face_was_found(fitted: FitResult) -> None:
    _, pose = spoken(N_FRAMES)
    turn = fitted.track.head_pose[:, :3] - pose[:, :3]
    assert float((turn - turn.mean(0)).abs().max()) < 0.02  # one degree
    shift = fitted.track.head_pose[:, 3:5] - pose[:, 3:5]
    assert float((shift - shift.mean(0)).abs().max()) < 1.5e-3


def test_expressions_stay_in_the_box(fitted: FitResult) -> None:
    assert float(fitted.track.expression.min()) >= 0.0
    assert float(fitted.track.expression.max()) <= 1.0


def test_normal_equations_agree_with_automatic_derivatives(model: FaceModel) -> None:
    points = FitPoints.of(model)
    expression, pose = (values[:2] for values in spoken(25))
    n_identity = len(points.id_basis)
    seen = Observation(torch.full((2, len(points.mean), 2), 250.0), torch.ones(2))

    def cost(flat: torch.Tensor) -> torch.Tensor:
        now = Unknowns(
            flat[:n_identity],
            torch.zeros_like(points.mean),
            flat[n_identity],
            flat[n_identity + 1 :].reshape(2, 58)[:, :6],
            flat[n_identity + 1 :].reshape(2, 58)[:, 6:],
        )
        return data_cost(points, residuals(points, now, seen, VIEW), seen, 30.0, 1.0).sum()

    identity, log_focal = 0.1 * torch.ones(n_identity), torch.tensor(7.0)
    frames = torch.cat([pose, expression + 0.1], dim=1)
    flat = torch.cat([identity, log_focal[None], frames.flatten()])
    expected = torch.func.grad(cost)(flat)
    now = Unknowns(identity, torch.zeros_like(points.mean), log_focal, frames[:, :6], frames[:, 6:])
    system = normal_equations(points, now, seen, VIEW, 30.0, 1.0, True)
    assert system.shared_gradient is not None
    scale = expected.abs().max()
    found = torch.cat([system.shared_gradient, system.frame_gradient.flatten()])
    assert float((found - expected).abs().max() / scale) < 1e-3


def test_left_jacobian_is_the_derivative_of_the_rotation() -> None:
    rotation = torch.tensor([0.3, -0.5, 0.2], dtype=torch.float64)
    change = 1e-6 * torch.tensor([1.0, 2.0, -1.0], dtype=torch.float64)
    moved = rotation_matrix(rotation + change)
    expected = rotation_matrix(left_jacobian(rotation) @ change) @ rotation_matrix(rotation)
    assert torch.allclose(moved, expected, atol=1e-10)


def test_solve_in_time_agrees_with_a_dense_solve() -> None:
    generator = torch.Generator().manual_seed(2)
    n_frames, n = 7, 58
    root = torch.randn(n_frames, n, n, generator=generator, dtype=torch.float64)
    hessian = root @ root.transpose(1, 2) + torch.eye(n, dtype=torch.float64)
    gradient = torch.randn(n_frames, n, generator=generator, dtype=torch.float64)
    free = torch.rand(n_frames, n, generator=generator) > 0.3
    pose_weight, expression_weight = torch.full((6,), 5.0).double(), torch.linspace(1, 9, 52).double()
    dense = torch.block_diag(*hessian)
    second = torch.zeros(n_frames - 2, n_frames, dtype=torch.float64)
    first = torch.zeros(n_frames - 1, n_frames, dtype=torch.float64)
    for row in range(n_frames - 1):
        first[row, row : row + 2] = torch.tensor([-1.0, 1.0]).double()
        if row < n_frames - 2:
            second[row, row : row + 3] = torch.tensor([1.0, -2.0, 1.0]).double()
    zeros = torch.zeros
    dense = dense + torch.kron(second.T @ second, torch.diag(torch.cat([pose_weight, zeros(52).double()])))
    dense = dense + torch.kron(first.T @ first, torch.diag(torch.cat([zeros(6).double(), expression_weight])))
    chosen = free.flatten()
    expected = zeros(n_frames * n, dtype=torch.float64)
    expected[chosen] = -torch.linalg.solve(dense[chosen][:, chosen], gradient.flatten()[chosen])
    step = solve_in_time(hessian, gradient, free, pose_weight, expression_weight)
    assert torch.allclose(step.flatten(), expected, atol=1e-8)


def test_eye_closure_spans_the_clips_own_openings() -> None:
    landmarks = np.zeros((100, 478, 3), np.float32)
    opening = np.full(100, 8.0)
    opening[50:53] = (4.0, 1.0, 5.0)
    for outer, up_outer, up_inner, inner, low_inner, low_outer in EYE_RINGS:
        landmarks[:, outer, 0], landmarks[:, inner, 0] = 0.0, 30.0
        landmarks[:, (up_outer, up_inner), 1] = -opening[:, None] / 2
        landmarks[:, (low_inner, low_outer), 1] = opening[:, None] / 2
    closure = eye_closure(landmarks, np.ones(100, bool)).numpy()
    assert closure[51].min() > 0.95
    assert closure[[0, 40, 60]].max() == 0.0
    assert 0.4 < closure[50].min() < 0.8  # two-frame blinks keep their flanks
    landmarks[50:53] = landmarks[0]
    assert eye_closure(landmarks, np.ones(100, bool)).max() == 0.0  # no blink, nothing closed


def test_landmarks_of_another_shape_are_refused(model: FaceModel) -> None:
    with pytest.raises(ShapeError, match="expected"):
        fit_track(model, np.zeros((5, 68, 2), np.float32), VIEW)
    with pytest.raises(ShapeError, match="no frame"):
        fit_track(model, np.full((5, 478, 3), np.nan, np.float32), VIEW)
