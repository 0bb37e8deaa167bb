"""Renders the held-out frames of a clip with an avatar, its mouth driven by tracked codes or by the clip's sound."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from dfanerf_rt.attributes.model import AttributeModel
from dfanerf_rt.avatar import Avatar
from dfanerf_rt.clip.format import Clip
from dfanerf_rt.errors import AvatarError, BackendUnavailable
from dfanerf_rt.evaluate.report import Detect, Evaluation, Progress, RenderFrame, evaluate_rows
from dfanerf_rt.evaluate.sync_confidence import add_sync_confidence
from dfanerf_rt.render.session import RenderSession
from dfanerf_rt.sync.model import CODES_PER_SECOND, AudioEncoder, SyncConfig, encode_audio

MAX_ASPECT_DIFFERENCE = 0.01
MAX_FOCAL_DIFFERENCE = 0.02


def check_fit(avatar: Avatar, clip: Clip) -> None:
    """Check that the clip could have been filmed by the avatar's camera.

    Another size is fine (the avatar is then rendered at the clip's) while the aspect ratio agrees within 1 % and the
    focal length, in picture widths, within 2 %.

    Raises:
        AvatarError: it could not; says what differs.
    """
    a, c = avatar.meta, clip.meta
    if abs(a.width / a.height * c.height / c.width - 1.0) > MAX_ASPECT_DIFFERENCE:
        raise AvatarError(
            f"{avatar.where}: the avatar is {a.width}x{a.height}, but the clip {clip.root} is {c.width}x{c.height}; "
            "evaluate it on the clip it was trained on, or on one of the same aspect ratio"
        )
    if abs(a.focal_px / a.width * c.width / c.focal_px - 1.0) > MAX_FOCAL_DIFFERENCE:
        raise AvatarError(
            f"{avatar.where}: the avatar's focal length is {a.focal_px / a.width:.2f} picture widths, that of the clip "
            f"{clip.root} is {c.focal_px / c.width:.2f}; its poses mean something else; take the avatar's own clip"
        )


def drive_rows(
    avatar: Avatar, clip: Clip, device: str = "cpu", backend: str | None = None
) -> tuple[dict[str, RenderFrame], dict[str, str]]:
    """The rows ``recorded`` and ``sound``: renderers of the clip's frames, both with tracked pose and eyes.

    ``recorded`` takes the mouth code of the tracked landmarks (eq. 2), ``sound`` the audio code of the clip's own
    sound (eq. 3), with the lookahead of a live avatar.

    Returns:
        Row name -> renderer of frame ``index``; and row name -> reason for each row that cannot be had.

    Raises:
        AvatarError: a section is missing or misshapen, or the avatar's camera is not the clip's.
        BackendUnavailable: the backend or the device cannot run here.
    """
    if device != "cpu" and not torch.cuda.is_available():
        raise BackendUnavailable(f"device {device!r}: torch finds no CUDA GPU here; render on 'cpu'")
    check_fit(avatar, clip)
    attributes = AttributeModel.from_tensors(avatar.section("attributes"), where=avatar.where)
    mouth_code, eye_code = attributes.encode(clip.track.landmarks)
    mouths = {"recorded": mouth_code}
    absent: dict[str, str] = {}
    sound = clip.audio()
    if sound is None:
        absent["sound"] = "the clip has no sound"
    elif not avatar.section("sync"):
        absent["sound"] = "the avatar was trained without sound and has no audio encoder"
    elif clip.meta.fps != CODES_PER_SECOND:
        absent["sound"] = f"audio codes come at 25 a second, the clip has {clip.meta.fps:g} frames a second"
    else:
        encoder = AudioEncoder.from_tensors(
            avatar.section("sync"), SyncConfig.from_dict(avatar.meta.sync, avatar.where), avatar.where
        )
        mouths["sound"] = encode_audio(encoder.live(), sound, clip.meta.n_frames)
    same_size = (avatar.meta.width, avatar.meta.height) == (clip.meta.width, clip.meta.height)
    size = None if same_size else (clip.meta.width, clip.meta.height)
    session = RenderSession(avatar, device=device, size=size, backend=backend)

    def renderer(condition: torch.Tensor) -> RenderFrame:
        def render(index: int) -> np.ndarray:
            session.fold(condition[index], clip.track.head_pose[index])
            return np.array(session.render().cpu().numpy())

        return render

    return {name: renderer(torch.cat([code, eye_code], dim=1)) for name, code in mouths.items()}, absent


@contextlib.contextmanager
def mediapipe_detector() -> Iterator[Detect]:
    """Opens MediaPipe's face mesh as a :data:`~dfanerf_rt.evaluate.report.Detector`; takes the largest face."""
    from dfanerf_rt.face.landmarks import LandmarkTracker, landmarks_68

    with LandmarkTracker(max_faces=1) as tracker:

        def detect(picture: np.ndarray) -> np.ndarray | None:
            faces = tracker.detect(picture)
            return landmarks_68(faces[0]).astype(np.float64) if len(faces) else None

        yield detect


def evaluate_avatar(
    avatar: Avatar,
    clip: Clip,
    device: str = "cpu",
    backend: str | None = None,
    progress: Progress = lambda name, done, total: None,
) -> tuple[Evaluation, dict[str, RenderFrame]]:
    """Score an avatar on the held-out frames of a clip; what ``dfanerf evaluate`` does.

    Returns:
        The evaluation, whose report also names avatar and clip and, under ``absent``, the reason for each row that
        could not be had; and the renderers of its rows.

    Raises:
        AvatarError, ClipError: the avatar or the clip cannot be used, or do not fit each other.
    """
    rows, absent = drive_rows(avatar, clip, device, backend)
    evaluation = evaluate_rows(clip, rows, mediapipe_detector, progress)
    add_sync_confidence(evaluation, clip, AttributeModel.from_tensors(avatar.section("attributes"), where=avatar.where))
    evaluation.report.update(avatar=Path(avatar.where).name, clip=clip.root.name, absent=absent)
    return evaluation, rows
