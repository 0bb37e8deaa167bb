from __future__ import annotations

import numpy as np
import torch

from dfanerf_rt.clip.format import Clip
from dfanerf_rt.evaluate.sync_confidence import picture_mouth_code
from dfanerf_rt.face.rotation import rotation_matrix
from dfanerf_rt.train.pipeline import person_attributes


def _project(clip: Clip, landmarks: torch.Tensor) -> np.ndarray:
    pose = clip.track.head_pose
    points = landmarks @ rotation_matrix(pose[:, :3]).transpose(1, 2) + pose[:, None, 3:]
    centre = torch.tensor([clip.meta.cx, clip.meta.cy])
    return (clip.meta.focal_px * points[..., :2] / points[..., 2:] + centre).double().numpy()


def test_lips_that_moved_in_the_picture_have_the_code_of_moved_lips(tiny_clip: Clip) -> None:
    attributes, frames = person_attributes(tiny_clip), range(tiny_clip.meta.n_frames)
    landmarks = tiny_clip.track.landmarks
    truth = _project(tiny_clip, landmarks)
    with torch.no_grad():
        code = attributes.encode(landmarks)[0]
        torch.testing.assert_close(picture_mouth_code(truth, truth, tiny_clip, frames, attributes), code)
        # Lips of another frame, but no deeper and no nearer, since a picture does not show depth.
        other = landmarks.roll(10, dims=0).clone()
        turned = rotation_matrix(tiny_clip.track.head_pose[:, :3])
        depth = ((other - landmarks) @ turned.transpose(1, 2))[..., 2:]
        other -= depth * turned[:, 2][:, None]
        expected = attributes.encode(other)[0]
    found = picture_mouth_code(_project(tiny_clip, other), truth, tiny_clip, frames, attributes)
    assert (found - expected).norm() < 0.02 * (expected - code).norm()


def test_frames_without_a_face_agree_with_nothing(tiny_clip: Clip) -> None:
    attributes, frames = person_attributes(tiny_clip), range(tiny_clip.meta.n_frames)
    truth = _project(tiny_clip, tiny_clip.track.landmarks)
    found = truth.copy()
    found[5] = np.nan
    code = picture_mouth_code(found, truth, tiny_clip, frames, attributes)
    torch.testing.assert_close(code[5], torch.cat([code[:5], code[6:]]).mean(dim=0))
    assert not picture_mouth_code(np.full_like(truth, np.nan), truth, tiny_clip, frames, attributes).any()
