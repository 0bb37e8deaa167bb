from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from dfanerf_rt.attributes.model import AttributeModel
from dfanerf_rt.avatar import Avatar
from dfanerf_rt.clip.format import Clip
from dfanerf_rt.errors import AvatarError
from dfanerf_rt.evaluate.drive import drive_rows, mediapipe_detector
from dfanerf_rt.render.session import RenderSession
from dfanerf_rt.sync.model import LIVE_LOOKAHEAD_MS, AudioEncoder, SyncConfig, encode_audio
from tests.evaluate.untrained import untrained_avatar


@pytest.fixture(scope="module")
def avatar(tiny_clip: Clip) -> Avatar:
    return untrained_avatar(tiny_clip)


def test_recorded_takes_the_tracked_mouth_and_sound_the_clips_own(tiny_clip: Clip, avatar: Avatar) -> None:
    rows, absent = drive_rows(avatar, tiny_clip)
    assert list(rows) == ["recorded", "sound"] and not absent
    index = tiny_clip.meta.test_frames[2]
    mouth, eyes = AttributeModel.from_tensors(avatar.section("attributes")).encode(tiny_clip.track.landmarks)
    encoder = AudioEncoder.from_tensors(avatar.section("sync"), SyncConfig()).with_lookahead(LIVE_LOOKAHEAD_MS)
    sound = tiny_clip.audio()
    assert sound is not None
    session = RenderSession(avatar)
    pictures = []
    for name, codes in {"recorded": mouth, "sound": encode_audio(encoder, sound, tiny_clip.meta.n_frames)}.items():
        session.fold(torch.cat([codes[index], eyes[index]]), tiny_clip.track.head_pose[index])
        pictures.append(session.render().numpy().copy())
        assert np.array_equal(rows[name](index), pictures[-1])
    assert not np.array_equal(*pictures)


def test_a_picture_stays_what_it_was(tiny_clip: Clip, avatar: Avatar) -> None:
    render = drive_rows(avatar, tiny_clip)[0]["recorded"]
    first, second = 10, 40
    picture = render(first)
    kept = picture.copy()
    assert not np.array_equal(render(second), kept)
    assert np.array_equal(picture, kept) and np.array_equal(render(first), kept)


def test_rows_that_cannot_be_had_have_a_reason(tiny_clip: Clip, avatar: Avatar, tmp_path: Path) -> None:
    silent = Path(shutil.copytree(tiny_clip.root, tmp_path / "silent"))
    (silent / "audio.wav").unlink()
    rows, absent = drive_rows(avatar, Clip(silent))
    assert list(rows) == ["recorded"] and absent == {"sound": "the clip has no sound"}
    deaf = Avatar(avatar.meta, {name: t for name, t in avatar.tensors.items() if not name.startswith("sync.")})
    assert "without sound" in drive_rows(deaf, tiny_clip)[1]["sound"]


def test_an_avatar_of_another_size_is_rendered_at_the_clips(tiny_clip: Clip, avatar: Avatar) -> None:
    meta = avatar.meta
    twice = {name: 2 * getattr(meta, name) for name in ("width", "height", "focal_px", "cx", "cy")}
    rows, _ = drive_rows(Avatar(replace(meta, **twice), avatar.tensors), tiny_clip)
    picture = rows["recorded"](tiny_clip.meta.test_frames[0])
    assert picture.shape == (tiny_clip.meta.height, tiny_clip.meta.width, 3)
    own = drive_rows(avatar, tiny_clip)[0]["recorded"](tiny_clip.meta.test_frames[0])
    assert np.abs(picture.astype(int) - own).mean() < 2


def test_a_camera_that_is_not_the_clips_is_refused(tiny_clip: Clip, avatar: Avatar) -> None:
    wide = Avatar(replace(avatar.meta, width=2 * avatar.meta.width), avatar.tensors)
    with pytest.raises(AvatarError, match="aspect ratio"):
        drive_rows(wide, tiny_clip)
    long = Avatar(replace(avatar.meta, focal_px=1.5 * avatar.meta.focal_px), avatar.tensors)
    with pytest.raises(AvatarError, match="focal length"):
        drive_rows(long, tiny_clip)


def test_a_missing_tensor_is_named(tiny_clip: Clip, avatar: Avatar) -> None:
    tensors = {name: tensor for name, tensor in avatar.tensors.items() if name != "attributes.scale_m"}
    with pytest.raises(AvatarError, match="'scale_m' is missing"):
        drive_rows(Avatar(avatar.meta, tensors), tiny_clip)


def test_mediapipe_finds_the_truth_where_the_clip_says_it_is(tiny_clip: Clip) -> None:
    pytest.importorskip("mediapipe")
    index = tiny_clip.meta.test_frames[0]
    with mediapipe_detector() as detect:
        points = detect(tiny_clip.frame(index))
        assert detect(np.zeros((96, 96, 3), np.uint8)) is None
    assert points is not None and points.shape == (68, 2)
    stated = tiny_clip.track.landmarks_px[index].numpy()
    assert np.median(np.linalg.norm(points - stated, axis=1)) < 0.03 * tiny_clip.meta.width
