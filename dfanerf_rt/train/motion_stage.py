"""The stage of a training in which the avatar learns how its person moves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dfanerf_rt.errors import DfanerfError
from dfanerf_rt.files import load_tensors, save_tensors
from dfanerf_rt.motion.person import PersonalMotion
from dfanerf_rt.motion.track import FPS, MotionTrack
from dfanerf_rt.train.loop import Interrupted, Progress, ShouldStop
from dfanerf_rt.train.person_motion import PersonalTraining, adapt_motion


def train_personal_motion(
    head_pose: Tensor,
    eye_code: Tensor,
    fps: float,
    audio_code: Tensor | None,
    work: Path,
    fingerprint: str,
    training: PersonalTraining,
    seed: int,
    on_progress: Progress,
    should_stop: ShouldStop,
) -> tuple[PersonalMotion, dict[str, dict[str, float | None]]]:
    """The bundled models of motion, bent to the person of a clip; kept in ``work`` once done.

    Args:
        head_pose: (N, 6) of the training frames.
        eye_code: (N, 16) of the same.
        fps: their rate.
        audio_code: (N, 32) of the same, None without sound.
        work: folder of the training.
        fingerprint: names clip and settings.
        training: how much is done.

    Returns:
        The personal motion, and for head and eyes the gain in nats a frame on the last part of the training frames,
        ``before`` and ``after`` fine-tuning, None where the clip does not tell.

    Raises:
        ClipError: the clip has too few frames.
        Interrupted: ``should_stop`` said so.
    """
    path = work / "motion.safetensors"
    if path.is_file():
        tensors, metadata = load_tensors(path, DfanerfError)
        if metadata.get("fingerprint") == fingerprint:
            on_progress(1.0, {})
            return PersonalMotion.from_tensors(tensors, metadata["settings"], path), metadata["outcome"]
    track = MotionTrack(_at_25(head_pose, fps), _at_25(eye_code, fps), FPS)
    # Audio codes come at 25 a second.
    heard = audio_code if fps == FPS else None
    personal, outcomes = adapt_motion(
        track, heard, training=training, seed=seed, on_progress=on_progress, should_stop=should_stop
    )
    if should_stop():
        raise Interrupted("stopped while learning how the head moves; the same command begins that stage again")
    outcome = {name: {"before": found.before, "after": found.after} for name, found in outcomes.items()}
    metadata = {"fingerprint": fingerprint, "settings": personal.settings, "outcome": outcome}
    save_tensors(path, personal.state_tensors(), metadata)
    return personal, outcome


def _at_25(values: Tensor, fps: float) -> Tensor:
    """(T, C) at ``fps`` → the same at 25 frames a second, straight between frames."""
    if fps == FPS:
        return values.float()
    times = np.arange(int((len(values) - 1) / fps * FPS) + 1) / FPS
    known = np.arange(len(values)) / fps
    columns = [np.interp(times, known, column) for column in values.double().numpy().T]
    return torch.from_numpy(np.stack(columns, axis=1)).float()
