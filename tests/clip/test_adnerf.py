from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from dfanerf_rt.clip.adnerf import (
    AdnerfTransforms,
    camera_to_world,
    head_pose_from_camera,
    read_adnerf,
    write_adnerf,
)
from dfanerf_rt.errors import ClipError


def test_a_frontal_head_is_seen_from_in_front_of_it() -> None:
    matrix = camera_to_world(torch.tensor([0.0, 0.0, 0.0, 0.0, 0.0, 0.8]))
    # the camera is 0.8 m in front of the face (z out of the face), unturned
    expected = torch.eye(4, dtype=torch.float64)
    expected[2, 3] = 0.8
    assert torch.allclose(matrix, expected)


def test_both_conventions_put_a_point_on_the_same_pixel() -> None:
    generator = torch.Generator().manual_seed(1)
    pose = torch.randn(20, 6, generator=generator, dtype=torch.float64) * 0.1
    pose[:, 5] += 0.9
    focal, centre = 1200.0, 225.0
    point = torch.tensor([0.03, 0.05, -0.09], dtype=torch.float64)  # ours: x right, y down, z away from the camera
    from dfanerf_rt.face.rotation import rotation_matrix

    camera = (rotation_matrix(pose[:, :3]) @ point) + pose[:, 3:]
    ours = focal * camera[:, :2] / camera[:, 2:] + (centre + 0.5)  # pixel centres at +0.5
    matrix = camera_to_world(pose)
    flipped = point * torch.tensor([1.0, -1.0, -1.0], dtype=torch.float64)
    seen = (matrix[:, :3, :3].transpose(1, 2) @ (flipped - matrix[:, :3, 3])[..., None])[..., 0]
    theirs = torch.stack([seen[:, 0], -seen[:, 1]], 1) / -seen[:, 2:] * focal + centre  # centres at whole numbers
    assert torch.allclose(ours, theirs + 0.5, atol=1e-9)
    assert torch.allclose(head_pose_from_camera(matrix), pose, atol=1e-12)


def test_write_then_read(tmp_path: Path) -> None:
    pose = torch.tensor([[0.1, -0.2, 0.05, 0.01, 0.02, 0.8], [math.pi - 0.01, 0, 0, 0, 0, 1.0]], dtype=torch.float64)
    given = AdnerfTransforms(1200.0, 225.5, 225.5, (3, 4), (3, 4), pose, ((1, 2, 3, 4), (5, 6, 7, 8)))
    write_adnerf(tmp_path / "transforms_train.json", given)
    found = read_adnerf(tmp_path / "transforms_train.json")
    assert torch.allclose(found.head_pose, pose, atol=1e-9)
    assert (found.cx, found.image_ids, found.face_rects) == (225.5, (3, 4), given.face_rects)


def test_a_real_file_round_trips(shared_data: Path, tmp_path: Path) -> None:
    source = shared_data / "track" / "adnerf_transforms_val.json"
    write_adnerf(tmp_path / "again.json", read_adnerf(source))
    first, again = (json.loads(path.read_text()) for path in (source, tmp_path / "again.json"))
    assert first.keys() == again.keys()
    assert len(first["frames"]) == len(again["frames"]) == 728
    assert (first["focal_len"], first["cx"], first["cy"]) == (again["focal_len"], again["cx"], again["cy"])
    for a, b in zip(first["frames"], again["frames"], strict=True):
        assert (a["img_id"], a["aud_id"], a["face_rect"]) == (b["img_id"], b["aud_id"], b["face_rect"])
        assert np.abs(np.subtract(a["transform_matrix"], b["transform_matrix"])).max() < 1e-6


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "damaged JSON"),
        ("[]", "'focal_len'"),
        ('{"focal_len": 1, "cx": 1, "cy": 1, "frames": []}', "'frames' is empty"),
        ('{"focal_len": 1, "cx": 1, "cy": 1, "frames": [{"img_id": 0, "transform_matrix": [[1]]}]}', "expected .4, 4."),
        (
            '{"focal_len": 1, "cx": 1, "cy": 1, "frames": [{"img_id": 0, "transform_matrix": '
            "[[2,0,0,0],[0,1,0,0],[0,0,1,0],[0,0,0,1]]}]}",
            "not a rotation",
        ),
    ],
)
def test_damaged_files_are_refused(tmp_path: Path, content: str, words: str) -> None:
    path = tmp_path / "transforms.json"
    path.write_text(content)
    with pytest.raises(ClipError, match=words):
        read_adnerf(path)
