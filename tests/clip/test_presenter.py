"""The synthetic presenter: the raster against closed forms, the clip against what it claims to show."""

# ruff: noqa: RUF001 - these are phonetic symbols, not look-alikes by mistake

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from dfanerf_rt.clip.format import Clip
from dfanerf_rt.clip.presenter import generate_presenter, tiny_config
from dfanerf_rt.clip.presenter.occlusion import occlusion
from dfanerf_rt.clip.presenter.people import PEOPLE
from dfanerf_rt.clip.presenter.performance import PerformanceConfig, perform
from dfanerf_rt.clip.presenter.raster import BACKGROUND, Buffers, Refinement, vertex_normals
from dfanerf_rt.errors import ClipError
from dfanerf_rt.face.arkit import ARKIT_INDEX
from dfanerf_rt.face.model import FaceModel
from dfanerf_rt.face.rotation import rotation_matrix
from tests.clip.shapes import sphere


def _points(vertices: np.ndarray, size: int, focal: float) -> np.ndarray:
    xy = vertices[:, :2] / vertices[:, 2:] * focal + size / 2
    return np.column_stack([xy, 1 / vertices[:, 2]]).astype(np.float32)


def test_a_sphere_is_drawn_where_rays_meet_it() -> None:
    vertices, faces = sphere()
    assert ((vertex_normals(vertices, faces) * vertices).sum(1) > 0.9).mean() > 0.98
    size, focal, distance = 200, 250.0, 4.0
    buffers = Buffers(size, size)
    buffers.draw(_points(vertices + np.array([0, 0, distance], np.float32), size, focal), faces)
    row, column = np.mgrid[0:size, 0:size] + 0.5
    ray = np.stack([(column - size / 2) / focal, (row - size / 2) / focal, np.ones((size, size))], -1)
    along = distance / (ray**2).sum(-1)
    gap = (along**2 - (distance**2 - 1) / (ray**2).sum(-1)).clip(min=0)
    hit = along**2 * (ray**2).sum(-1) > distance**2 - 1
    drawn = buffers.face_id != BACKGROUND
    assert (drawn != hit).mean() < 0.005
    depth = along - np.sqrt(gap)
    inner = hit & drawn & (gap > 0.05)
    assert np.abs(1 / buffers.inverse_depth[inner] - depth[inner]).max() < 0.01


def test_only_front_faces_are_drawn_and_the_nearer_wins() -> None:
    near = np.array([[-1, -1, 2], [1, -1, 2], [0, 1, 2]], np.float32)
    vertices = np.concatenate([near, near + np.array([0, 0, 1], np.float32)])
    towards, away = [0, 2, 1], [0, 1, 2]
    buffers = Buffers(32, 32)
    for faces, expected in (
        ([[3, 5, 4], towards], {0, 1, BACKGROUND}),
        ([towards, [3, 5, 4]], {0, 1, BACKGROUND}),
        ([away], {BACKGROUND}),
    ):
        buffers.draw(_points(vertices, 32, 20.0), np.array(faces, np.int32))
        assert set(np.unique(buffers.face_id)) <= expected
        if len(faces) == 2:
            assert buffers.face_id[16, 16] == faces.index(towards)
        else:
            assert (buffers.face_id == BACKGROUND).all()


def test_triangles_that_share_edges_leave_no_holes() -> None:
    rng = np.random.default_rng(0)
    n = 20
    grid = np.stack(np.meshgrid(np.linspace(-1.2, 1.2, n), np.linspace(-1.2, 1.2, n)), -1).reshape(-1, 2)
    grid = grid + rng.uniform(-0.04, 0.04, grid.shape)
    vertices = np.column_stack([grid, np.full(len(grid), 2.0)]).astype(np.float32)
    index = np.arange(n * n, dtype=np.int32).reshape(n, n)
    a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, :-1], index[1:, 1:]
    faces = np.concatenate([np.stack([a, c, b], -1).reshape(-1, 3), np.stack([b, c, d], -1).reshape(-1, 3)])
    buffers = Buffers(301, 301)
    buffers.draw(_points(vertices, 301, 200.0), faces)
    assert (buffers.face_id[40:-40, 40:-40] != BACKGROUND).all()


def test_refinement_keeps_vertices_and_rounds_asphere() -> None:
    vertices, faces = sphere(16)
    fine = Refinement(faces, len(vertices))
    assert len(fine.faces) == 4 * len(faces)
    flat = fine.values(vertices)
    # At the poles and the seam of this sphere triangles are degenerate; normals of the true sphere are used.
    curved = fine.positions(vertices, vertices)
    assert np.array_equal(curved[: len(vertices)], vertices)
    error = [np.abs(np.linalg.norm(points, axis=1) - 1).max() for points in (flat, curved)]
    assert error[1] < 0.5 * error[0]


def test_occlusion_is_none_on_a_ball_and_much_in_a_cup() -> None:
    vertices, faces = sphere(40)
    ball, _ = occlusion(0.1 * vertices, faces)
    assert np.median(ball) > 0.97
    # Inside: the same sphere turned inside out, open where y < -0.6.
    cup = faces[(vertices[faces][:, :, 1] > -0.6).all(1)]
    both = np.concatenate([cup, cup[:, ::-1] + len(vertices)]).astype(np.int32)
    shells = np.concatenate([0.1 * vertices, 0.097 * vertices]).astype(np.float32)
    inside = occlusion(shells, both)[0][len(vertices) :]
    assert np.median(inside[vertices[:, 1] > 0.5]) < 0.35


def test_a_performance_is_natural_and_repeats() -> None:
    config = PerformanceConfig(duration_s=40.0)
    made = perform(config, (0.0, 0.0, 0.8))
    n_frames = 1000
    assert made.expression.shape == (n_frames, 52)
    assert made.samples.size == n_frames * 640
    assert made.expression.min() >= 0 and made.expression.max() <= 1
    angles = np.rad2deg(made.head_pose[:, :3])
    for axis, limit in enumerate((6.0, 12.0, 4.0)):
        assert 0.3 * limit < np.abs(angles[:, axis]).max() <= limit
    assert np.abs(np.diff(angles, axis=0)).max() < 2.0, "the head jumps"
    # The head turns about the neck: its pivot moves with the torso by millimetres only.
    matrices = rotation_matrix(torch.from_numpy(made.head_pose[:, :3])).numpy()
    pivot = matrices @ np.array(config.neck_pivot) + made.head_pose[:, 3:]
    assert np.ptp(pivot, axis=0).max() < 0.025
    closed = made.expression[:, ARKIT_INDEX["eyeBlinkLeft"]] > 0.5
    starts = np.flatnonzero(closed[1:] & ~closed[:-1]) + 1
    assert 0.15 < len(starts) / 40 < 0.5
    for start in starts:
        assert 2 <= np.argmin(closed[start : start + 10]) <= 6
    again = perform(config, (0.0, 0.0, 0.8))
    # espeak-ng's timing wanders by a few samples within one process; the motion does not.
    assert np.abs(again.head_pose - made.head_pose).mean() < 0.02


def test_eyes_stay_on_the_camera_while_the_head_turns() -> None:
    made = perform(PerformanceConfig(duration_s=30.0), (0.0, 0.0, 0.8))
    right = made.expression[:, ARKIT_INDEX["eyeLookOutLeft"]] - made.expression[:, ARKIT_INDEX["eyeLookInLeft"]]
    # A positive turn about y (down) carries the nose to the image's left, so eyes go right.
    assert np.corrcoef(right, made.head_pose[:, 1])[0, 1] > 0.8


def test_the_clip_is_complete(tiny_clip: Clip) -> None:
    meta, track = tiny_clip.meta, tiny_clip.track
    assert (meta.n_frames, meta.width, meta.height, meta.n_test_frames) == (75, 96, 96, 6)
    assert (meta.licence, meta.consent) == ("CC0-1.0", "synthetic person")
    audio = tiny_clip.audio()
    assert audio is not None and audio.size == 75 * 640 and np.abs(audio).max() > 0.1
    names = [name for name, _, _ in meta.extra["phonemes"]]
    assert {"m", "b", "p"} <= set(names)
    assert (track.confidence == 1).all()
    assert torch.equal(track.eye_closure[:, 0], track.expression[:, ARKIT_INDEX["eyeBlinkLeft"]])
    expected = FaceModel.bundled().landmarks(track.identity, track.expression)
    assert torch.allclose(track.landmarks, expected)


def test_the_matte_is_where_the_person_is(tiny_clip: Clip) -> None:
    background = tiny_clip.background().astype(int)
    for index in (0, 37, 74):
        frame, alpha = tiny_clip.frame(index).astype(int), tiny_clip.alpha(index)
        outside = alpha == 0
        assert 0.3 < outside.mean() < 0.8
        assert np.abs(frame - background)[outside].max() < 24, "JPEG's error, and no person"
        assert ((alpha > 0) & (alpha < 255)).mean() < 0.10
        landmarks = tiny_clip.track.landmarks_px[index].round().long().clamp(0, 95)
        assert (alpha[landmarks[17:, 1], landmarks[17:, 0]] == 255).all()


def test_landmarks_lie_on_what_is_drawn() -> None:
    """The pupils are dark, the lids' skin is not: the eye landmarks surround the darkest spot."""
    from dfanerf_rt.clip.presenter.render import PresenterRenderer, View
    from dfanerf_rt.clip.presenter.scene import scene_of

    model = FaceModel.bundled()
    scene, person = scene_of("presenter"), PEOPLE["presenter"]
    view = View(256, 1.75 * 256, 2)
    renderer = PresenterRenderer(scene, view, person.look)
    pose = torch.tensor([0.0, 0.1, 0.0, 0.0, 0.0, 0.8])
    picture, alpha = renderer.render(torch.zeros(52), pose, pose)
    assert alpha[255, 128] == 255 and alpha[0, 0] == 0
    matrix = rotation_matrix(pose[:3])
    seen = model.landmarks(scene.identity, torch.zeros(52)) @ matrix.T + pose[3:]
    pixels = (seen[:, :2] / seen[:, 2:] * view.focal_px + 128).numpy()
    for first in (36, 42):
        eye = pixels[first : first + 6]
        (left, top), (right, bottom) = eye.min(0), eye.max(0)
        patch = picture[int(top) : int(bottom) + 1, int(left) + 2 : int(right) - 1].astype(float).mean(2)
        darkest = np.argwhere(patch < np.percentile(patch, 12)).mean(0)[1]
        assert abs(darkest / patch.shape[1] - 0.5) < 0.25


def test_lips_meet_at_bilabials_and_part_at_open_vowels(tiny_clip: Clip) -> None:
    """In the truth of the clip the inner lips are closed at every m, b and p, and open at the open vowels."""
    track = tiny_clip.track
    inner = track.landmarks[:, 60:68]
    gap = (inner[:, 5:8, 1] - inner[:, [3, 2, 1], 1]).mean(1)
    closed = float(gap.min())
    opened = []
    for name, start, end in tiny_clip.meta.extra["phonemes"]:
        frame = min(round((start + end) / 2 / 640), len(gap) - 1)
        if name in ("m", "b", "p"):
            assert gap[frame] - closed < 0.0025, f"{name} at frame {frame}: {1000 * (gap[frame] - closed):.1f} mm"
        if name[0] in "aɑɒæ":
            opened.append(float(gap[frame]) - closed)
    assert max(opened) > 0.005


def test_the_mouth_is_open_while_it_speaks_and_closed_before(tiny_clip: Clip) -> None:
    inner = tiny_clip.track.landmarks[:, 60:68]
    gap = (inner[:, 6, 1] - inner[:, 2, 1]).numpy()
    audio = tiny_clip.audio()
    assert audio is not None
    loudness = np.sqrt((audio.reshape(-1, 640) ** 2).mean(1))
    first = int(np.argmax(loudness > 0.02))
    assert first > 5
    assert gap[: first - 3].max() < np.percentile(gap[loudness > 0.05], 80) / 2


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"size": 4}, "16 px"),
        ({"duration_s": 0.1}, "1 s"),
        ({"person": "nobody"}, "expected one of presenter, narrator"),
    ],
)
def test_a_clip_that_cannot_be_is_refused(tmp_path: Path, change: dict, says: str) -> None:
    with pytest.raises(ClipError, match=says):
        generate_presenter(tmp_path / "clip", replace(tiny_config(), **change))


def test_a_failure_leaves_nothing_behind(tmp_path: Path) -> None:
    def stop(share: float, what: str) -> None:
        if what == "drawing":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        generate_presenter(tmp_path / "clip", tiny_config(1.0, 32), stop)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_face_tracker_finds_the_presenter(tmp_path: Path) -> None:
    """MediaPipe's face mesh, trained on photographs, sees a face in nearly every frame, and blinks where they are."""
    pytest.importorskip("mediapipe")
    from dfanerf_rt.face.landmarks import LandmarkTracker, landmarks_68

    clip = generate_presenter(tmp_path / "clip", replace(tiny_config(6.0, 256), samples=2))
    found, errors = 0, []
    with LandmarkTracker() as tracker:
        for index in range(clip.meta.n_frames):
            faces = tracker.detect(clip.frame(index))
            if len(faces) == 1:
                found += 1
                seen = landmarks_68(faces[0])[:, :2]
                errors.append(np.linalg.norm(seen - clip.track.landmarks_px[index].numpy(), axis=1)[17:])
    assert found / clip.meta.n_frames >= 0.98
    assert np.median(errors) < 4.0


@pytest.mark.slow
def test_the_builder_draws_both_sizes_and_leaves_the_package_alone(tmp_path: Path) -> None:
    script = Path(__file__).resolve().parents[2] / "tools" / "build_presenter.py"
    options = ["--person", "narrator", "--duration", "1", "--only", "clip", "--work", tmp_path / "work"]
    subprocess.run([sys.executable, script, *options, "--out", tmp_path / "out"], check=True, capture_output=True)
    truth, small = (Clip(tmp_path / "work" / f"narrator{size}") for size in (512, 256))
    assert (truth.meta.width, small.meta.width) == (512, 256)
    assert truth.meta.n_frames == small.meta.n_frames == 25
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["demo_sentence.wav"]
