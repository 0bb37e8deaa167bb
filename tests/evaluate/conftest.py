"""A clip of a drawn face, small enough to be made in a second."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from dfanerf_rt.clip.format import Clip, ClipMeta, ClipWriter, Track
from tests.evaluate.drawn_face import draw, landmarks

N_FRAMES, N_TEST, FPS, SIZE = 60, 30, 25.0, 128


def drawn_points(index: int) -> np.ndarray:
    """Landmarks (68, 2) of frame ``index``; in the 30 held-out frames the eyes close twice, for two frames each."""
    return landmarks(6.0 + 5.0 * math.sin(index * 0.7), 1.0 if index % 15 in (7, 8) else 6.0)


@pytest.fixture(scope="session")
def drawn_clip(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    """60 frames of 128x128 at 25 fps with sound, the last 30 held out."""
    points = np.stack([drawn_points(i) for i in range(N_FRAMES)])
    track = Track(
        identity=torch.zeros(4),
        expression=torch.zeros(N_FRAMES, 52),
        head_pose=torch.zeros(N_FRAMES, 6),
        landmarks=torch.zeros(N_FRAMES, 68, 3),
        landmarks_px=torch.from_numpy(points).float(),
        eye_closure=torch.zeros(N_FRAMES, 2),
        confidence=torch.ones(N_FRAMES),
    )
    with ClipWriter(tmp_path_factory.mktemp("evaluate") / "clip") as writer:
        for i in range(N_FRAMES):
            writer.write_frame(i, draw(points[i]), np.full((SIZE, SIZE), 255, np.uint8))
        writer.write_background(np.zeros((SIZE, SIZE, 3), np.uint8))
        writer.write_audio(0.1 * np.sin(np.arange(int(N_FRAMES / FPS * 16000)) * 0.1))
        meta = ClipMeta(N_FRAMES, SIZE, SIZE, 200.0, SIZE / 2, SIZE / 2, FPS, n_test_frames=N_TEST)
        return writer.finish(meta, track)
