from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from dfanerf_rt.clip.adnerf import camera_to_world, read_adnerf
from dfanerf_rt.errors import ClipError, ShapeError
from dfanerf_rt.motion.track import MotionTrack, load_track, pose_of_parameters


def _file(path: Path, **changes: object) -> Path:
    whole = {"euler": torch.zeros(20, 3), "trans": torch.tensor([[0.1, 0.2, -8.0]]).repeat(20, 1)}
    torch.save({key: value for key, value in {**whole, **changes}.items() if value is not None}, path)
    return path


def test_axes_by_hand() -> None:
    euler = torch.tensor([[0.3, 0.0, 0.0], [0.0, 0.3, 0.0], [0.0, 0.0, 0.3]])
    pose = pose_of_parameters(euler, torch.tensor([[1.0, 2.0, -8.0]]).repeat(3, 1))
    # From y up to y down an x turn stays and a y turn changes its sign; the file's z turn is a negative one already.
    expected = torch.tensor([[0.3, 0.0, 0.0], [0.0, -0.3, 0.0], [0.0, 0.0, 0.3]], dtype=torch.float64)
    assert torch.allclose(pose[:, :3], expected, atol=1e-7)
    assert torch.allclose(pose[0, 3:], torch.tensor([0.1, -0.2, 0.8], dtype=torch.float64), atol=1e-7)


def test_angles_of_one_pose_give_one_pose() -> None:
    euler = torch.tensor([0.06, -0.2, 0.1], dtype=torch.float64)
    other = torch.tensor([euler[0] + torch.pi, torch.pi - euler[1], euler[2] - torch.pi], dtype=torch.float64)
    turned = euler + torch.tensor([2 * torch.pi, 0.0, -2 * torch.pi])
    poses = pose_of_parameters(torch.stack([euler, other, turned]), torch.tensor([[0.0, 0.0, -8.0]]).repeat(3, 1))
    assert torch.allclose(poses, poses[:1].expand(3, -1), atol=1e-12)


def test_a_file_is_read(tmp_path: Path) -> None:
    track = load_track(_file(tmp_path / "a.pt"), fps=30.0)
    assert len(track) == 20 and track.fps == 30.0 and track.duration_s == pytest.approx(20 / 30)
    assert track.eye_code is None and track.head_pose.dtype == torch.float32
    assert torch.allclose(track.head_pose[0], torch.tensor([0.0, 0.0, 0.0, 0.01, -0.02, 0.8]))


def test_the_last_eleventh_is_held_out() -> None:
    track = MotionTrack(torch.arange(110 * 6).reshape(110, 6).float(), torch.zeros(110, 16))
    train, held_out = track.split()
    assert (len(train), len(held_out)) == (100, 10)
    assert torch.equal(torch.cat([train.head_pose, held_out.head_pose]), track.head_pose)
    assert held_out.eye_code is not None and held_out.eye_code.shape == (10, 16)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"euler": None}, "no tensor 'euler'"),
        ({"trans": torch.zeros(20, 3, dtype=torch.int64)}, "no tensor 'trans' of real numbers"),
        ({"euler": torch.zeros(20, 4)}, r"'euler' has shape \(20, 4\), expected \(T, 3\)"),
        ({"euler": torch.zeros(0, 3)}, r"expected \(T, 3\)"),
        ({"euler": torch.full((20, 3), torch.nan)}, "NaN"),
        ({"euler": torch.full((20, 3), 170.0)}, "reaches 170, expected angles in radians"),
        ({"trans": torch.zeros(19, 3) - 8.0}, "20 frames in 'euler' and 19 in 'trans'"),
        ({"trans": torch.zeros(20, 3) + 8.0}, "behind the camera"),
    ],
)
def test_a_foreign_file_is_refused_in_one_line(tmp_path: Path, changes: dict, says: str) -> None:
    with pytest.raises(ClipError, match=says) as refused:
        load_track(_file(tmp_path / "foreign.pt", **changes))
    assert "\n" not in str(refused.value)


def test_a_damaged_file_is_refused_in_one_line(tmp_path: Path) -> None:
    good = _file(tmp_path / "good.pt").read_bytes()
    random = np.random.default_rng(0)
    damaged = [b"", b"text", b"\x80\x02}q\x00.", *(good[: len(good) * part // 8] for part in range(1, 8))]
    for _ in range(40):
        flipped = bytearray(good)
        flipped[int(random.integers(len(flipped)))] ^= int(random.integers(1, 256))
        damaged.append(bytes(flipped))
    refused = 0
    for content in damaged:
        path = tmp_path / "damaged.pt"
        path.write_bytes(content)
        try:
            load_track(path)
        except ClipError as error:
            refused += 1
            assert "\n" not in str(error)
    assert refused >= 10
    torch.save(torch.zeros(3), path)
    for wrong, says in ((path, "no tensor 'euler'"), (tmp_path, "is a folder"), (tmp_path / "none", "no such file")):
        with pytest.raises(ClipError, match=says):
            load_track(wrong)


@pytest.mark.parametrize(
    ("head_pose", "eye_code"),
    [
        (torch.zeros(5, 7), None),
        (torch.zeros(0, 6), None),
        (torch.zeros(5, 6), torch.zeros(4, 16)),
        (torch.full((5, 6), torch.inf), None),
    ],
)
def test_a_track_that_cannot_be_is_refused(head_pose: torch.Tensor, eye_code: torch.Tensor | None) -> None:
    with pytest.raises(ShapeError):
        MotionTrack(head_pose, eye_code)


def test_the_convention_is_that_of_the_published_matrices(shared_data: Path) -> None:
    """The last eleventh of the real track is what AD-NeRF published as camera matrices."""
    held_out = load_track(shared_data / "track" / "speaker_320s_track_params.pt").split()[1]
    transforms = read_adnerf(shared_data / "track" / "adnerf_transforms_val.json")
    assert len(held_out) == len(transforms.head_pose) == 728
    difference = camera_to_world(held_out.head_pose) - camera_to_world(transforms.head_pose)
    assert float(difference.abs().max()) < 2e-6


def test_the_real_track_moves_as_a_head_does(shared_data: Path) -> None:
    track = load_track(shared_data / "track" / "speaker_320s_track_params.pt")
    assert len(track) == 8000
    degrees = np.rad2deg(track.head_pose[:, :3].numpy())
    assert np.abs(degrees).max() < 30 and np.abs(np.diff(degrees, axis=0)).max() < 3.5
    assert 0.8 < float(track.head_pose[:, 5].mean()) < 0.9
