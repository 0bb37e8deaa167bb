"""How well the lips of pictures fit the sound, as heard and seen by the bundled encoders (eq. 2 and 3)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from dfanerf_rt.attributes.model import AttributeModel
from dfanerf_rt.clip.format import Clip
from dfanerf_rt.evaluate.report import Evaluation
from dfanerf_rt.face.rotation import rotation_matrix
from dfanerf_rt.sync.model import CODES_PER_SECOND, AudioEncoder, encode_audio
from dfanerf_rt.sync.offset import best_offset, similarity_matrix


def add_sync_confidence(evaluation: Evaluation, clip: Clip, attributes: AttributeModel) -> None:
    """Write ``sync_confidence`` and ``sync_offset_frames`` into every row of the report, and ``*_truth`` beside them.

    The paper takes both from SyncNet, whose weights only a user can supply. Ours compare the bundled audio encoder's
    codes of the clip's sound with the mouth codes of the pictures: an encoder that was not trained on the person judges
    an avatar whose own was. Without sound, or at another frame rate than 25, they are None.

    Args:
        evaluation: of the clip's held-out frames, all rows with the tracked head pose.
        attributes: of the clip's person.
    """
    sound, frames, truth = clip.audio(), evaluation.frames, evaluation.truth
    seen = np.isfinite(truth).all(axis=(1, 2)).any()
    judge, audio_code = AudioEncoder.bundled(), None
    if sound is not None and clip.meta.fps == CODES_PER_SECOND and seen:
        audio_code = judge.comparable(encode_audio(judge, sound, clip.meta.n_frames)[frames.start : frames.stop])

    def figures(found_px: np.ndarray) -> tuple[float | None, int | None]:
        if audio_code is None:
            return None, None
        code = picture_mouth_code(found_px, truth, clip, frames, attributes)
        offset = best_offset(similarity_matrix(audio_code, judge.comparable(code)))
        return offset.confidence, offset.frames

    of_truth = figures(truth)
    for name, row in evaluation.report["rows"].items():
        row["sync_confidence"], row["sync_offset_frames"] = figures(evaluation.series[name].landmarks)
        row["sync_confidence_truth"], row["sync_offset_frames_truth"] = of_truth


@torch.no_grad()
def picture_mouth_code(
    found_px: np.ndarray, truth_px: np.ndarray, clip: Clip, frames: range, attributes: AttributeModel
) -> Tensor:
    """Mouth codes of the lips found in pictures whose head pose is the tracked one.

    The tracked landmarks are moved by what the found points differ from those of the true picture, at their depth.

    Args:
        found_px, truth_px: (T, 68, 2) landmarks in the pictures and in the clip's, by the same tracker; NaN where no
            face was found.
        frames: of the clip.

    Returns:
        (T, mouth_dim); a frame without a face in either has the mean code, which agrees with nothing.
    """
    chosen = slice(frames.start, frames.stop)
    landmarks, head_pose = clip.track.landmarks[chosen], clip.track.head_pose[chosen]
    rotation = rotation_matrix(head_pose[:, :3])
    depth = (landmarks @ rotation.transpose(1, 2) + head_pose[:, None, 3:])[..., 2:]
    moved_px = torch.from_numpy(found_px - truth_px).to(landmarks.dtype)
    seen = torch.isfinite(moved_px).all(dim=2).all(dim=1)
    moved = torch.cat([moved_px.nan_to_num() * depth / clip.meta.focal_px, torch.zeros_like(depth)], dim=2)
    code, _ = attributes.encode(landmarks + moved @ rotation)
    if not seen.any():
        return torch.zeros_like(code)
    return torch.where(seen[:, None], code, code[seen].mean(dim=0))
