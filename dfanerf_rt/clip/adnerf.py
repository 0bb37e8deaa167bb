"""AD-NeRF's ``transforms_*.json``: head poses as camera-to-world matrices, read and written.

Convention of AD-NeRF (Guo et al. 2021, data_util/process_data.py and run_nerf_helpers.get_rays): the head stands still
in a world whose axes are those of OpenGL (x right, y up, z out of the face towards the camera), metres; the camera
looks along -z; the ray of pixel column i is ((i - cx) / f, -(j - cy) / f, -1), so pixel centres are at whole numbers.
Here the camera stands still, axes are OpenCV's and pixel centres are at +0.5. The world's origin is that of the
Basel face model, not the midpoint between the ears; it is kept as it is.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dfanerf_rt.clip.format import Clip
from dfanerf_rt.errors import ClipError
from dfanerf_rt.face.rotation import rotation_matrix, rotation_vector
from dfanerf_rt.files import write_json

_FLIP = torch.diag(torch.tensor([1.0, -1.0, -1.0], dtype=torch.float64))


@dataclass(frozen=True)
class AdnerfTransforms:
    """One transforms file in this package's conventions."""

    focal_px: float
    cx: float
    cy: float
    """Principal point with pixel centres at +0.5."""
    image_ids: tuple[int, ...]
    audio_ids: tuple[int, ...]
    head_pose: torch.Tensor
    """(T, 6) float64: rotation vector in radians, translation in metres, head to camera."""
    face_rects: tuple[tuple[int, int, int, int], ...] | None = None
    """x, y, width, height of the face in pixels, or None where the file has none."""


def camera_to_world(head_pose: torch.Tensor) -> torch.Tensor:
    """AD-NeRF's matrices (..., 4, 4) of head poses (..., 6), float64."""
    pose = head_pose.to(torch.float64)
    rotation = _FLIP @ rotation_matrix(pose[..., :3]) @ _FLIP
    inverse = rotation.transpose(-1, -2)
    origin = -(inverse @ (_FLIP @ pose[..., 3:, None]))
    bottom = torch.tensor([0.0, 0.0, 0.0, 1.0], dtype=torch.float64).expand(*pose.shape[:-1], 1, 4)
    return torch.cat([torch.cat([inverse, origin], dim=-1), bottom], dim=-2)


def head_pose_from_camera(matrix: torch.Tensor) -> torch.Tensor:
    """Head poses (..., 6), float64, of AD-NeRF's matrices (..., 4, 4); inverse of :func:`camera_to_world`."""
    matrix = matrix.to(torch.float64)
    inverse = matrix[..., :3, :3].transpose(-1, -2)
    translation = -(_FLIP @ inverse @ matrix[..., :3, 3:])[..., 0]
    return torch.cat([rotation_vector(_FLIP @ inverse @ _FLIP), translation], dim=-1)


def read_adnerf(path: Path) -> AdnerfTransforms:
    """Read a transforms file.

    Raises:
        ClipError: missing, damaged, or of another layout; names the first frame that is wrong.
    """
    path = Path(path)
    if not path.is_file():
        raise ClipError(f"{path}: no such file")
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as fault:
        raise ClipError(f"{path}: damaged JSON ({fault})") from fault
    missing = [key for key in ("focal_len", "cx", "cy", "frames") if not isinstance(stored, dict) or key not in stored]
    if missing:
        raise ClipError(f"{path}: no {missing[0]!r}; not an AD-NeRF transforms file")
    frames = stored["frames"]
    if not isinstance(frames, list) or not frames:
        raise ClipError(f"{path}: 'frames' is empty or not a list")
    matrices, image_ids, audio_ids, rects = [], [], [], []
    for index, frame in enumerate(frames):
        matrices.append(_matrix(path, index, frame))
        try:
            image_ids.append(int(frame["img_id"]))
            audio_ids.append(int(frame.get("aud_id", frame["img_id"])))
        except (KeyError, TypeError, ValueError) as fault:
            raise ClipError(f"{path}: frame {index} has no whole number 'img_id'") from fault
        rect = frame.get("face_rect")
        if isinstance(rect, list) and len(rect) == 4:
            rects.append((int(rect[0]), int(rect[1]), int(rect[2]), int(rect[3])))
    head_pose = head_pose_from_camera(torch.from_numpy(np.stack(matrices)))
    try:
        focal_px, cx, cy = (float(stored[key]) for key in ("focal_len", "cx", "cy"))
    except (TypeError, ValueError) as fault:
        raise ClipError(f"{path}: focal_len, cx and cy have to be numbers") from fault
    if not (math.isfinite(focal_px) and focal_px > 0):
        raise ClipError(f"{path}: focal_len is {focal_px}, expected a positive number")
    face_rects = tuple(rects) if len(rects) == len(frames) else None
    return AdnerfTransforms(focal_px, cx + 0.5, cy + 0.5, tuple(image_ids), tuple(audio_ids), head_pose, face_rects)


def write_adnerf(path: Path, transforms: AdnerfTransforms) -> None:
    """Write a transforms file, atomically."""
    frames: list[dict[str, Any]] = []
    for index, matrix in enumerate(camera_to_world(transforms.head_pose).tolist()):
        frame: dict[str, Any] = {
            "img_id": transforms.image_ids[index],
            "aud_id": transforms.audio_ids[index],
            "transform_matrix": matrix,
        }
        if transforms.face_rects is not None:
            frame["face_rect"] = list(transforms.face_rects[index])
        frames.append(frame)
    head = {"focal_len": transforms.focal_px, "cx": transforms.cx - 0.5, "cy": transforms.cy - 0.5}
    write_json(path, {**head, "frames": frames})


def transforms_of_clip(clip: Clip, frames: range) -> AdnerfTransforms:
    """The transforms of some frames of a clip, with the face rectangle as AD-NeRF computes it from 68 landmarks."""
    meta, chosen = clip.meta, list(frames)
    rects = []
    for points in clip.track.landmarks_px[chosen].numpy():
        left, right = points[:, 0].min(), points[:, 0].max()
        centre_x, centre_y = int((left + right) / 2), int(points[27, 1])
        half_width, half_height = int((right - centre_x) * 1.5), int((points[8, 1] - centre_y) * 1.15)
        x, y = max(0, centre_x - half_width), max(0, centre_y - half_height)
        rects.append((x, y, min(meta.width - 1 - x, 2 * half_width), min(meta.height - 1 - y, 2 * half_height)))
    pose = clip.track.head_pose[chosen].to(torch.float64)
    ids = tuple(chosen)
    return AdnerfTransforms(meta.focal_px, meta.cx, meta.cy, ids, ids, pose, tuple(rects))


def export_adnerf(clip: Clip, folder: Path) -> tuple[Path, Path]:
    """Write ``transforms_train.json`` and ``transforms_val.json`` of a clip's split into ``folder``."""
    paths = (folder / "transforms_train.json", folder / "transforms_val.json")
    for path, frames in zip(paths, (clip.meta.train_frames, clip.meta.test_frames), strict=True):
        write_adnerf(path, transforms_of_clip(clip, frames))
    return paths


def _matrix(path: Path, index: int, frame: Any) -> np.ndarray:
    stored = frame.get("transform_matrix") if isinstance(frame, dict) else None
    try:
        matrix = np.asarray(stored, np.float64)
    except (TypeError, ValueError):
        matrix = np.zeros(0)
    if matrix.shape != (4, 4):
        raise ClipError(f"{path}: frame {index} has a transform_matrix of shape {matrix.shape}, expected (4, 4)")
    rotation = matrix[:3, :3]
    if (
        not np.isfinite(matrix).all()
        or np.abs(rotation @ rotation.T - np.eye(3)).max() > 1e-3
        or np.linalg.det(rotation) < 0
    ):
        raise ClipError(f"{path}: frame {index} has a transform_matrix that is not a rotation and a translation")
    return matrix
