"""What the presenters are made of: strands of hair, cloth, shadows; and the pictures that they make together."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from dfanerf_rt.clip.format import Clip
from dfanerf_rt.clip.presenter.dress import Dress, sew
from dfanerf_rt.clip.presenter.light import CENTRE, LIGHTS, RADIUS_M, SIDE, ShadowMap, key_light
from dfanerf_rt.clip.presenter.occlusion import occlusion
from dfanerf_rt.clip.presenter.people import PEOPLE
from dfanerf_rt.clip.presenter.raster import BACKGROUND, Buffers
from dfanerf_rt.clip.presenter.render import PresenterRenderer, View
from dfanerf_rt.clip.presenter.scene import Scene, scene_of
from dfanerf_rt.clip.presenter.strands import HAIR, LASH, draw_strands
from dfanerf_rt.clip.scale import scale_clip
from dfanerf_rt.errors import ClipError
from dfanerf_rt.face.arkit import ARKIT_INDEX
from dfanerf_rt.face.model import FaceModel
from tests.clip.shapes import sphere

POSE = torch.tensor([0.0, 0.0, 0.0, 0.0, -0.015, 0.8])


def _drawn(points: list[list[list[float]]], width: float, first_id: int = 100) -> Buffers:
    buffers = Buffers(32, 48)
    buffers.face_id[:] = BACKGROUND
    buffers.inverse_depth[:] = 0.0
    strands = np.array(points, np.float32)
    draw_strands(
        strands,
        np.full(len(strands), width, np.float32),
        first_id,
        buffers.face_id,
        buffers.weights,
        buffers.inverse_depth,
    )
    return buffers


def test_a_strand_covers_the_samples_that_it_crosses() -> None:
    buffers = _drawn([[[4.0, 10.5, 1.0], [40.0, 10.5, 1.0]]], 0.0)
    row, columns = np.nonzero(buffers.face_id == 100)
    assert set(row) == {10} and list(columns) == list(range(4, 40))
    share = buffers.weights[10, 4:40, 0]
    assert np.allclose(share, (np.arange(36) + 0.5) / 36, atol=1e-5)


def test_a_thin_strand_covers_its_share_and_a_broad_one_more() -> None:
    level = [[[0.5, row + 0.5, 1.0], [47.5, row + 0.5, 1.0]] for row in range(2, 32, 4)]
    thin = (_drawn(level, 0.4).face_id >= 0).sum() / (8 * 47)
    broad = (_drawn(level, 3.0).face_id >= 0).sum() / (8 * 47)
    assert abs(thin - 0.4) < 0.12
    assert abs(broad - 3.0) < 0.3
    again = _drawn(level, 0.4).face_id
    assert np.array_equal(again, _drawn(level, 0.4).face_id), "always the same parts of it"


def test_the_nearer_strand_hides_the_farther_and_none_is_drawn_behind_a_surface() -> None:
    near, far = [[10.5, 2.5, 2.0], [10.5, 29.5, 2.0]], [[2.5, 12.5, 1.0], [40.5, 12.5, 1.0]]
    for order in ([near, far], [far, near]):
        buffers = _drawn(order, 0.0)
        assert buffers.face_id[12, 10] == 100 + order.index(near)
    assert (_drawn([[[1.0, 1.0, -1.0], [20.0, 1.0, 1.0]]], 0.0).face_id == BACKGROUND).all(), "behind the camera"


def test_a_ball_casts_its_shadow_away_from_the_key_light() -> None:
    ball, faces = sphere(40, 0.03)
    centre = CENTRE.astype(np.float32)
    shadow = ShadowMap()
    surface, hair = shadow.draw((ball + centre).astype(np.float32), faces, np.zeros((0, 2, 3), np.float32))
    towards = LIGHTS[0] / np.linalg.norm(LIGHTS[0])
    behind, before = centre - 0.1 * towards, centre + 0.1 * towards
    beside = behind + 0.06 * np.cross(towards, [0.0, 1.0, 0.0])
    lit = [key_light(*point, shadow.matrix, surface, hair, 0.3, 0.002)[0] for point in (behind, before, beside)]
    assert lit == [0.0, 1.0, 1.0]
    # At the shadow's edge the light is half there.
    edge = behind + 0.03 * np.cross(towards, [0.0, 1.0, 0.0]) / np.linalg.norm(np.cross(towards, [0.0, 1.0, 0.0]))
    assert 0.1 < key_light(*edge, shadow.matrix, surface, hair, 0.3, 0.002)[0] < 0.9
    assert 2 * RADIUS_M / SIDE < 0.0015, "a sample of the map is finer than hair's shadow needs"


def test_hair_dims_what_lies_under_it() -> None:
    ball, faces = sphere(40, 0.08)
    tuft = np.random.default_rng(0).normal(0, 1, (20_000, 3))
    tuft = tuft / np.linalg.norm(tuft, axis=1, keepdims=True)
    tuft = tuft[tuft[:, 1] < -0.3]
    strands = (tuft[:, None] * np.linspace(0.08, 0.11, 6)[None, :, None]).astype(np.float32)
    sky, light = occlusion(ball, faces, strands, n_directions=48)
    top, bottom = ball[:, 1] < -0.05, ball[:, 1] > 0.05
    assert np.median(sky[top]) < 0.5 < 0.95 < np.median(sky[bottom])
    assert light[:, 0].mean() < 0.5 * light[:, -1].mean(), "roots are darker than tips"


@pytest.mark.parametrize("name", PEOPLE)
def test_a_presenter_is_made_of_finite_parts_in_their_places(name: str) -> None:
    scene = scene_of(name)
    assert np.isfinite(scene.strands.points).all() and np.isfinite(scene.masks).all() and np.isfinite(scene.rest).all()
    assert scene.faces.max() < len(scene.rest) and scene.material.shape == (len(scene.faces),)
    hair = scene.strands.points[scene.strands.kind == HAIR]
    assert len(hair) > 5000
    # Hair stays off the face: nothing of it in front of the eyes or the mouth.
    marks = scene.model.landmarks(scene.identity, torch.zeros(52)).numpy()
    face = (np.abs(hair[..., 0]) < 0.035) & (hair[..., 2] < marks[27, 2] + 0.03) & (hair[..., 1] > marks[19, 1])
    assert not face.any()
    lash = scene.strands.points[scene.strands.kind == LASH]
    near = np.linalg.norm(lash[:, 0, None] - marks[None, 36:48], axis=2).min(1)
    assert near.max() < 0.008


@pytest.mark.parametrize("top", ["collar", "round"])
def test_cloth_stands_off_the_skin(top: str) -> None:
    model = FaceModel.bundled()
    rest = model.mean.numpy()
    region = np.array(model.region_names)[model.region.numpy()]
    body = np.isin(region, ("neck", "torso"))
    sheets = sew(Dress(top=top), rest, model.faces.numpy().astype(np.int32), body)
    assert len(sheets) == (4 if top == "collar" else 3)
    for sheet in sheets:
        assert sheet.faces.max() < len(sheet.vertices) and np.isfinite(sheet.vertices).all()
        assert (sheet.edge_m > -1e-6).all()
        assert np.abs(sheet.vertices[:, 0]).max() > 0.03
        assert sheet.vertices[:, 1].min() > 0.03, "below the chin"


def test_lashes_go_down_with_the_lid() -> None:
    scene = scene_of("presenter")
    shut = torch.zeros(52)
    for side in ("Left", "Right"):
        shut[ARKIT_INDEX[f"eyeBlink{side}"]] = 1.0
    still = torch.tensor([0.0, 0.0, 0.0, 0.0, 0.0, 0.8])
    lash = scene.strands.kind == LASH
    upper = scene.strands.points[lash][:, -1, 1] < scene.strands.points[lash][:, 0, 1]
    before, now = (scene.pose(value, still, still).strands[lash][upper] for value in (torch.zeros(52), shut))
    assert (now[:, 0, 1] - before[:, 0, 1]).mean() > 0.004, "roots go down by millimetres"
    tips = (now[:, -1] - now[:, 0])[:, 1], (before[:, -1] - before[:, 0])[:, 1]
    assert tips[0].mean() > tips[1].mean() + 0.002, "and tips turn with them"


def test_pictures_of_both_presenters_differ_and_repeat() -> None:
    pictures = []
    for name, person in PEOPLE.items():
        renderer = PresenterRenderer(scene_of(name), View(96, 1.95 * 96, 3), person.look)
        picture, alpha = renderer.render(torch.zeros(52), POSE, POSE)
        assert np.array_equal(picture, renderer.render(torch.zeros(52), POSE, POSE)[0])
        assert 0.3 < (alpha > 0).mean() < 0.8
        pictures.append(picture.astype(float))
        face = picture[40:60, 40:56].mean((0, 1))
        assert face[0] > face[1] > face[2], "skin is warm"
    assert np.abs(pictures[0] - pictures[1]).mean() > 15


def test_the_same_person_is_built_alike() -> None:
    model = FaceModel.bundled()
    person = replace(PEOPLE["presenter"], hair=replace(PEOPLE["presenter"].hair, n_strands=300))
    one, two = (Scene.build(model, person.identity(model), person) for _ in range(2))
    assert np.array_equal(one.strands.points, two.strands.points)
    assert np.array_equal(one.masks, two.masks)


def test_a_clip_is_scaled_with_its_camera(tiny_clip: Clip, tmp_path: Path) -> None:
    small = scale_clip(tiny_clip, tmp_path / "small", 48)
    assert (small.meta.width, small.meta.height, small.meta.n_frames) == (48, 48, tiny_clip.meta.n_frames)
    assert small.meta.focal_px == pytest.approx(tiny_clip.meta.focal_px / 2)
    assert torch.allclose(small.track.landmarks_px * 2, tiny_clip.track.landmarks_px)
    # A pixel is the mean of the four that it covers, but for JPEG's error.
    full = tiny_clip.frame(7).astype(float).reshape(48, 2, 48, 2, 3).mean((1, 3))
    assert np.abs(small.frame(7) - full).mean() < 2.0
    assert np.abs(small.alpha(7) - tiny_clip.alpha(7).astype(float).reshape(48, 2, 48, 2).mean((1, 3))).max() <= 1
    with pytest.raises(ClipError, match="expected 16 to 48"):
        scale_clip(small, tmp_path / "larger", 96)
