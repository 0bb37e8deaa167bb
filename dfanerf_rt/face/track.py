"""What tracking a face over time gives: the 3DMM coefficients, poses and landmarks of every frame."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

import torch

from dfanerf_rt.errors import ClipError
from dfanerf_rt.files import check_tensors

N_EXPRESSIONS = 52
N_LANDMARKS = 68


@dataclass(frozen=True)
class Track:
    """The 3DMM track of a clip, paper eq. 1. All float32."""

    identity: torch.Tensor
    """(K,) identity coefficients F_id."""
    expression: torch.Tensor
    """(T, 52) expression coefficients F_exp in [0, 1], ARKit names and order."""
    head_pose: torch.Tensor
    """(T, 6) h: rotation vector in radians, translation in metres, head to camera."""
    landmarks: torch.Tensor
    """(T, 68, 3) l: landmarks of (identity, expression) in the head frame, metres, iBUG order."""
    landmarks_px: torch.Tensor
    """(T, 68, 2) landmarks seen in the picture (not the model's projection), pixels."""
    eye_closure: torch.Tensor
    """(T, 2) 0 open, 1 closed; the subject's left eye, then the right one."""
    confidence: torch.Tensor
    """(T,) 1 where the frame was tracked, 0 where it was filled in between neighbours."""

    def validate(self, where: Path, n_frames: int) -> None:
        """Raise :class:`ClipError` where a shape disagrees with ``n_frames`` or a dtype is not float32."""
        t = n_frames
        expected: dict[str, tuple[int | None, ...]] = {
            "identity": (None,),
            "expression": (t, N_EXPRESSIONS),
            "head_pose": (t, 6),
            "landmarks": (t, N_LANDMARKS, 3),
            "landmarks_px": (t, N_LANDMARKS, 2),
            "eye_closure": (t, 2),
            "confidence": (t,),
        }
        check_tensors(where, self.tensors(), expected, ClipError, torch.float32)

    def tensors(self) -> dict[str, torch.Tensor]:
        """All tensors by name."""
        return {entry.name: getattr(self, entry.name) for entry in fields(self)}
