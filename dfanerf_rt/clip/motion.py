"""Head pose and eyes of a prepared clip, as the motion models take them."""

from __future__ import annotations

import torch
from torch import Tensor

from dfanerf_rt.attributes.model import AttributeModel
from dfanerf_rt.clip.format import Clip
from dfanerf_rt.errors import ClipError
from dfanerf_rt.face.model import FaceModel
from dfanerf_rt.motion.track import MotionTrack


def motion_of_clip(clip: Clip) -> MotionTrack:
    """How the person in a clip moved head and eyes.

    Raises:
        ClipError: the clip was tracked with another head model than the bundled one, so that its expression means
            nothing to the bundled autoencoder.
    """
    if clip.meta.face_model != "bundled":
        raise ClipError(f"{clip.root}: tracked with the head model {clip.meta.face_model!r}, expected 'bundled'")
    return MotionTrack(clip.track.head_pose, eye_codes(clip.track.expression), clip.meta.fps)


@torch.no_grad()
def eye_codes(expression: Tensor) -> Tensor:
    """Eye codes of the mean face with an expression; since codes hold no identity, they are those of every other face.

    Args:
        expression: (T, 52) in [0, 1], ARKit names and order.

    Returns:
        (T, 16) f_e of the bundled autoencoder.

    Raises:
        ShapeError: another shape.
    """
    face_model = FaceModel.bundled()
    landmarks = face_model.landmarks(torch.zeros(face_model.n_identity), expression)
    return AttributeModel.bundled().encode(landmarks)[1].clone()
