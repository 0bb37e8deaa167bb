"""First guesses of the head's pose, and how far the eyes are closed, straight from the landmarks."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from dfanerf_rt.face.fit_normal import View
from dfanerf_rt.face.fit_points import FitPoints
from dfanerf_rt.face.landmarks import eye_aspect_ratio


def pose_by_points(
    points: FitPoints, shape: Tensor, seen: Tensor, trusted: Tensor, focal_px: float, view: View
) -> Tensor:
    """Poses (T, 6) of a rigid head from the landmarks over bone; frames without a face take those around them.

    Args:
        shape: (M, 3) neutral landmarks in the head frame, metres.
        seen: (T, M, 2) pixels.
        trusted: (T,) bool, where a face was found (at least once).
    """
    import cv2

    camera = np.array([[focal_px, 0, view.cx], [0, focal_px, view.cy], [0, 0, 1]], np.float64)
    rigid = shape[points.static].double().numpy()
    image = seen[:, points.static].double().numpy()
    found = np.zeros((len(seen), 6))
    frames = np.flatnonzero(trusted.numpy())
    for frame in frames:
        depth = focal_px * np.ptp(rigid[:, 1]) / max(np.ptp(image[frame][:, 1]), 1.0)
        centre = image[frame].mean(0)
        away = np.array([(centre[0] - view.cx) / focal_px * depth, (centre[1] - view.cy) / focal_px * depth, depth])
        start = (away - rigid.mean(0)).reshape(3, 1)
        _, rotation, translation = cv2.solvePnP(
            rigid, image[frame], camera, np.zeros(4), np.zeros((3, 1)), start, True, cv2.SOLVEPNP_ITERATIVE
        )
        found[frame] = np.concatenate([rotation[:, 0], translation[:, 0]])
    every = np.arange(len(seen))
    filled = np.stack([np.interp(every, frames, found[frames, i]) for i in range(6)], axis=1)
    return torch.from_numpy(filled).float()


def eye_closure(landmarks: np.ndarray, trusted: np.ndarray) -> Tensor:
    """(T, 2) how far each eye is closed, the subject's left one first, from lid opening over eye width.

    Open is the opening this person usually shows; closed the least seen, unless the clip has no blink.

    Args:
        landmarks: (T, 478, 3) pixels.
        trusted: (T,) bool.
    """
    ratio = eye_aspect_ratio(landmarks)
    every, frames = np.arange(len(ratio)), np.flatnonzero(trusted)
    closure = np.zeros_like(ratio)
    for eye in range(2):
        values = ratio[frames, eye]
        opened = float(np.quantile(values, 0.7))
        closed = min(float(np.quantile(values, 0.005)), 0.4 * opened)
        filled = np.interp(every, frames, values)
        closure[:, eye] = np.clip((opened - filled) / max(opened - closed, 1e-6), 0.0, 1.0)
    return torch.from_numpy(closure).float()
