"""A clip of what an avatar shows: training can be tried with it where there is neither video nor voice nor numba.

The mouth opens and closes and the eyes blink by a plain pattern, the head moves as it was recorded. It is no test of
how good a picture gets, since a field made it.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch

from dfanerf_rt.attributes.model import AttributeModel
from dfanerf_rt.avatar import Avatar
from dfanerf_rt.clip.format import Clip, ClipMeta, ClipWriter, Track
from dfanerf_rt.face.arkit import ARKIT_INDEX
from dfanerf_rt.face.model import FaceModel
from dfanerf_rt.face.rotation import points_to_camera
from dfanerf_rt.render.session import RenderSession, session_background

HELD_OUT = 11
BLINK_EVERY_FRAMES = 60
_BLINK = (0.3, 0.8, 1.0, 0.8, 0.4, 0.1)


def render_clip(out: Path, avatar: Avatar, n_frames: int, size: int, device: str = "cpu") -> Clip:
    """Render an avatar with recorded motion into a silent clip.

    Args:
        out: a folder that does not exist yet, or is empty.
        avatar: with recorded motion.
        n_frames: length; recorded motion is repeated where it is shorter.
        size: width of the square pictures, pixels.
        device: where to render.

    Raises:
        ClipError: ``out`` holds something already.
        AvatarError: the avatar lacks a part.
        BackendUnavailable: the device is not there.
    """
    session = RenderSession(avatar, device, size)
    camera, motion = session.camera, avatar.section("motion")["recorded_pose"]
    head_pose = motion[torch.arange(n_frames) % len(motion)]
    expression = _expression(n_frames)
    identity = avatar.section("face")["identity"]
    landmarks = FaceModel.bundled().landmarks(identity, expression).float()
    mouth_code, eye_code = AttributeModel.from_tensors(avatar.section("attributes")).encode(landmarks)
    placed = points_to_camera(head_pose, landmarks)
    centre = torch.tensor([camera.cx, camera.cy])
    closure = expression[:, [ARKIT_INDEX["eyeBlinkLeft"], ARKIT_INDEX["eyeBlinkRight"]]]
    track = Track(
        identity=identity,
        expression=expression,
        head_pose=head_pose,
        landmarks=landmarks,
        landmarks_px=placed[..., :2] / placed[..., 2:] * camera.focal_px + centre,
        eye_closure=closure,
        confidence=torch.ones(n_frames),
    )
    with ClipWriter(Path(out)) as writer:
        for index in range(n_frames):
            session.fold(torch.cat([mouth_code[index], eye_code[index]]), head_pose[index])
            frame = session.render().cpu().numpy()
            alpha = (session.alpha.cpu().clamp(0.0, 1.0) * 255).round().byte().numpy()
            writer.write_frame(index, np.ascontiguousarray(frame), alpha)
        writer.write_background(session_background(avatar, camera).cpu().numpy())
        meta = ClipMeta(
            n_frames=n_frames,
            width=camera.width,
            height=camera.height,
            focal_px=camera.focal_px,
            cx=camera.cx,
            cy=camera.cy,
            fps=avatar.meta.fps,
            n_test_frames=n_frames // HELD_OUT,
            source=f"rendered avatar {avatar.meta.name}",
            consent=avatar.meta.consent,
            licence=avatar.meta.licence,
        )
        return writer.finish(meta, track)


def _expression(n_frames: int) -> torch.Tensor:
    """(T, 52): a jaw that moves about as fast as in speech, and a blink every few seconds."""
    expression = torch.zeros(n_frames, len(ARKIT_INDEX))
    time = torch.arange(n_frames, dtype=torch.float32)
    opening = 0.25 * (1 + torch.sin(2 * math.pi * time / 7.3)) * (0.5 + 0.5 * torch.sin(2 * math.pi * time / 41.0))
    expression[:, ARKIT_INDEX["jawOpen"]] = opening
    expression[:, ARKIT_INDEX["mouthPucker"]] = 0.3 * (1 + torch.sin(2 * math.pi * time / 19.0))
    for start in range(BLINK_EVERY_FRAMES // 3, n_frames - len(_BLINK), BLINK_EVERY_FRAMES):
        for name in ("eyeBlinkLeft", "eyeBlinkRight"):
            expression[start : start + len(_BLINK), ARKIT_INDEX[name]] = torch.tensor(_BLINK)
    return expression
