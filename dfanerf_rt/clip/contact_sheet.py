"""A picture to judge a prepared clip by: frames with the fitted landmarks drawn in, mattes, and the background."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw

from dfanerf_rt.face.arkit import ARKIT_INDEX
from dfanerf_rt.face.fit import FitResult
from dfanerf_rt.face.model import FaceModel
from dfanerf_rt.face.rotation import rotation_matrix
from dfanerf_rt.face.track import Track

TILE_PX = 320
COLUMNS = 4
_CURVES = (
    (tuple(range(17)), False, (255, 210, 60)),
    (tuple(range(17, 22)), False, (255, 210, 60)),
    (tuple(range(22, 27)), False, (255, 210, 60)),
    (tuple(range(27, 31)), False, (255, 210, 60)),
    (tuple(range(31, 36)), False, (255, 210, 60)),
    (tuple(range(36, 42)), True, (60, 255, 255)),
    (tuple(range(42, 48)), True, (60, 255, 255)),
    (tuple(range(48, 60)), True, (80, 255, 80)),
    (tuple(range(60, 68)), True, (80, 255, 80)),
)


def chosen_frames(track: Track) -> list[int]:
    """Eight frames worth a look: even ones, the widest and the most closed mouth, a blink, the furthest turn."""
    n_frames = len(track.expression)
    even = np.linspace(0, n_frames - 1, 6).round().astype(int)[1:5].tolist()
    jaw = track.expression[:, ARKIT_INDEX["jawOpen"]]
    gap = (track.landmarks[:, 66, 1] - track.landmarks[:, 62, 1]).abs()
    blink = track.eye_closure.mean(1)
    turn = track.head_pose[:, :3].norm(dim=1)
    extremes = [int((jaw + 10 * gap).argmax()), int(gap.argmin()), int(blink.argmax()), int(turn.argmax())]
    return [*even, *extremes]


class SheetBuilder:
    """Collects the chosen frames as they pass by.

    Args:
        frames: which frames to show.
        fitted: the fit to draw.
        model: the face model it was made with.
    """

    def __init__(self, frames: list[int], fitted: FitResult, model: FaceModel) -> None:
        self.frames, self._fitted, self._model = frames, fitted, model
        self._tiles: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        self.background: np.ndarray | None = None

    def add(self, index: int, frame: np.ndarray, alpha: np.ndarray) -> None:
        """Offer a frame (H, W, 3) uint8 and its matte (H, W) uint8."""
        if index in self.frames:
            self._tiles[index] = (frame.copy(), alpha.copy())

    def save(self, path: Path) -> None:
        """Write the sheet: each frame with its landmarks, below it cut out on green; the background last."""
        shown = [index for index in self.frames if index in self._tiles]
        rows = -(-len(shown) // COLUMNS)
        sheet = Image.new("RGB", (COLUMNS * TILE_PX, (2 * rows + 1) * TILE_PX), (32, 32, 32))
        for place, index in enumerate(shown):
            frame, alpha = self._tiles[index]
            x, y = place % COLUMNS * TILE_PX, place // COLUMNS * 2 * TILE_PX
            sheet.paste(self._drawn(index, frame), (x, y))
            share = alpha[..., None].astype(np.float32) / 255.0
            cut_out = share * frame + (1 - share) * np.array([0, 200, 0], np.float32)
            sheet.paste(_tile(cut_out.astype(np.uint8)), (x, y + TILE_PX))
        if self.background is not None:
            sheet.paste(_tile(self.background), (0, 2 * rows * TILE_PX))
        sheet.save(path, quality=90)

    def _drawn(self, index: int, frame: np.ndarray) -> Image.Image:
        """The frame with projected landmarks: curves of the 68, dots of MediaPipe's mesh."""
        track, scale = self._fitted.track, TILE_PX / frame.shape[1]
        picture = _tile(frame)
        draw = ImageDraw.Draw(picture)
        identity, expression = track.identity, track.expression[index]
        for x, y in (self._project(self._model.mediapipe_points(identity, expression).float(), index) * scale).tolist():
            draw.point((x, y), (255, 255, 255))
        curves = (self._project(track.landmarks[index], index) * scale).tolist()
        for members, closed, colour in _CURVES:
            line = [tuple(curves[i]) for i in members] + ([tuple(curves[members[0]])] if closed else [])
            draw.line(line, colour, 1)
        draw.text((4, 4), f"frame {index}", (255, 255, 255))
        return picture

    def _project(self, points: torch.Tensor, index: int) -> torch.Tensor:
        pose, view = self._fitted.track.head_pose[index], self._fitted.view
        camera = points @ rotation_matrix(pose[:3]).T + pose[3:]
        return self._fitted.focal_px * camera[:, :2] / camera[:, 2:] + torch.tensor([view.cx, view.cy])


def _tile(picture: np.ndarray) -> Image.Image:
    return Image.fromarray(picture).resize((TILE_PX, TILE_PX), Image.Resampling.LANCZOS)
