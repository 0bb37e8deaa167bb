"""The photometric stage against pictures of a painted head whose poses are known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.interpolate import griddata

from dfanerf_rt.face.fit import FitConfig, FitResult, fit_track
from dfanerf_rt.face.fit_normal import Unknowns, View
from dfanerf_rt.face.fit_photometric import PhotometricConfig, PoseByPictures
from dfanerf_rt.face.model import FaceModel
from dfanerf_rt.face.rotation import points_to_camera

SIDE, FOCAL_PX, N_FRAMES = 128, 270.0, 40
VIEW = View(SIDE / 2, SIDE / 2, float(SIDE))
PRICE = torch.tensor([0.0015**-2] * 3 + [3e-4**-2, 3e-4**-2, 4e-4**-2], dtype=torch.float64)


@pytest.fixture(scope="module")
def model() -> FaceModel:
    return FaceModel.bundled()


def true_pose() -> torch.Tensor:
    time = torch.arange(N_FRAMES) / 25
    turn = [0.04 * torch.sin(2 * time), 0.10 * torch.sin(1.3 * time), 0.03 * torch.cos(time)]
    move = [0.01 * torch.sin(time), 0.02 + 0.005 * torch.cos(time), 0.6 + 0.01 * torch.sin(time)]
    return torch.stack([*turn, *move], dim=1)


def pictures(model: FaceModel, pose: torch.Tensor) -> list[np.ndarray]:
    """A head with stripes and spots all over, in light that comes and goes."""
    forward = torch.tensor([name in ("skin", "brows", "lips") for name in model.region_names])
    points = model.mean[forward[model.region.long()] & (model.mean[:, 2] < -0.03)].float()
    x, y, z = (points / 0.01).unbind(-1)
    paint = (
        0.5 + 0.15 * torch.sin(x) * torch.cos(0.8 * y) + 0.1 * torch.sin(1.7 * y + z) + 0.08 * torch.cos(2.1 * x + y)
    )
    rows, columns = np.mgrid[0:SIDE, 0:SIDE] + 0.5
    seen = []
    for number, camera in enumerate(points_to_camera(pose, points.expand(len(pose), -1, -1))):
        pixel = FOCAL_PX * camera[:, :2] / camera[:, 2:] + SIDE / 2
        grey = griddata(pixel.numpy(), paint.numpy(), (columns, rows), fill_value=0.3)
        light = 1.0 + 0.15 * np.sin(number)
        seen.append(np.repeat((grey * light * 255).clip(0, 255).astype(np.uint8)[..., None], 3, axis=2))
    return seen


def landmarks(model: FaceModel, pose: torch.Tensor) -> np.ndarray:
    """Landmarks of a head at rest that err by a pixel or so, all of a frame together."""
    points = model.mediapipe_points(torch.zeros(model.n_identity), torch.zeros(52)).float()
    camera = points_to_camera(pose, points.expand(len(pose), -1, -1))
    generator = torch.Generator().manual_seed(0)
    pixel = FOCAL_PX * camera[..., :2] / camera[..., 2:] + SIDE / 2
    shift = torch.randn(len(pose), 1, 2, generator=generator) * 0.6
    growth = 1 + 0.01 * torch.randn(len(pose), 1, 1, generator=generator)
    found = np.zeros((len(pose), 478, 3), np.float32)
    found[:, model.mediapipe_index.numpy(), :2] = ((pixel - SIDE / 2) * growth + SIDE / 2 + shift).numpy()
    return found


def unknowns(pose: torch.Tensor, model: FaceModel) -> Unknowns:
    return Unknowns(
        identity=torch.zeros(model.n_identity),
        offset=torch.zeros(len(model.mediapipe_index), 3),
        log_focal=torch.tensor(FOCAL_PX).log(),
        pose=pose,
        expression=torch.zeros(len(pose), 52),
    )


def wander_px(found: torch.Tensor, model: FaceModel) -> float:
    """Root mean square error of where the rigid head is drawn, but for a constant one, pixels."""
    points = model.landmarks(torch.zeros(model.n_identity), torch.zeros(52))[17:48].float()
    drawn = []
    for pose in (found, true_pose()):
        camera = points_to_camera(pose, points.expand(N_FRAMES, -1, -1))
        drawn.append(FOCAL_PX * camera[..., :2] / camera[..., 2:])
    error = drawn[0] - drawn[1]
    return float((error - error.mean(0)).square().sum(-1).mean().sqrt())


@pytest.fixture(scope="module")
def painted(model: FaceModel) -> list[np.ndarray]:
    return pictures(model, true_pose())


@pytest.fixture(scope="module")
def fits(model: FaceModel, painted: list[np.ndarray]) -> tuple[FitResult, FitResult]:
    seen = landmarks(model, true_pose())
    said: list[float] = []

    def fit(config: FitConfig) -> FitResult:
        return fit_track(model, seen, VIEW, None, config, lambda share, word: said.append(share), lambda: iter(painted))

    both = fit(FitConfig(shared_frames=20, photometric=None)), fit(FitConfig(shared_frames=20))
    assert min(said) >= 0.0 and max(said) <= 1.0
    return both


def test_pictures_correct_what_the_landmarks_err_in(fits: tuple[FitResult, FitResult], model: FaceModel) -> None:
    by_landmarks, by_pictures = (wander_px(result.track.head_pose, model) for result in fits)
    assert by_landmarks > 0.2
    assert by_pictures < 0.5 * by_landmarks


def test_expressions_stay_those_of_a_face_at_rest(fits: tuple[FitResult, FitResult]) -> None:
    opening = fits[1].track.landmarks[:, 66, 1] - fits[1].track.landmarks[:, 62, 1]
    assert float(opening.std()) < 1e-3
    assert fits[1].median_error_px < 4.0


def far_off(model: FaceModel, trusted: torch.Tensor, **changes: int) -> PoseByPictures:
    generator = torch.Generator().manual_seed(1)
    noise = torch.randn(N_FRAMES, 6, generator=generator) * torch.tensor([4e-3, 4e-3, 4e-3, 5e-4, 5e-4, 2e-3])
    start = unknowns(true_pose() + noise, model)
    return PoseByPictures(model, start, trusted, VIEW, PRICE, replace(PhotometricConfig(n_points=1500), **changes))


def test_stretches_of_a_long_clip_join(model: FaceModel, painted: list[np.ndarray]) -> None:
    seen = torch.ones(N_FRAMES, dtype=torch.bool)
    whole = far_off(model, seen).refine(lambda: painted)
    parts = far_off(model, seen, chunk_frames=15, overlap_frames=5).refine(lambda: painted)
    assert wander_px(whole, model) < 0.1
    assert float((whole - parts).abs().max()) < 2e-3


def test_large_pictures_are_compared_at_a_smaller_size(model: FaceModel, painted: list[np.ndarray]) -> None:
    by_pictures = far_off(model, torch.ones(N_FRAMES, dtype=torch.bool), width_px=SIDE // 2)
    found = by_pictures.refine(lambda: painted)
    assert wander_px(found, model) < 0.5 * wander_px(by_pictures.unknowns.pose, model)


def test_frames_without_a_face_follow_their_neighbours(model: FaceModel, painted: list[np.ndarray]) -> None:
    seen = torch.ones(N_FRAMES, dtype=torch.bool)
    seen[20:23] = False
    damaged = [np.zeros_like(frame) if 20 <= number < 23 else frame for number, frame in enumerate(painted)]
    found = far_off(model, seen).refine(lambda: damaged)
    assert bool(found.isfinite().all())
    assert wander_px(found, model) < 0.3


def test_pictures_that_show_nothing_leave_the_poses_near_the_landmarks(model: FaceModel) -> None:
    by_pictures = far_off(model, torch.ones(N_FRAMES, dtype=torch.bool))
    found = by_pictures.refine(lambda: [np.full((SIDE, SIDE, 3), 90, np.uint8)] * N_FRAMES)
    away = (found - by_pictures.unknowns.pose).abs().amax(0)
    assert bool((away < torch.tensor([0.012] * 3 + [1.5e-3, 1.5e-3, 6e-3])).all())
