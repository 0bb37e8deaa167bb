"""The first look at a video: landmarks of every frame, and whether it is one shot of one face."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dfanerf_rt.clip.interruptions import changes, find_interruptions, runs, thumbnail
from dfanerf_rt.clip.video import VideoInfo, read_video
from dfanerf_rt.errors import ClipError
from dfanerf_rt.face.landmarks import N_MEDIAPIPE, LandmarkTracker, face_width

MIN_DURATION_S = 2.0
MAX_GAP_S = 0.4
"""A face that is half outside the picture for longer than this has left it."""
MIN_SEEN_SHARE = 0.75
"""At least this share of the frames must show the face; the others are left out of what is learned."""
SECOND_FACE_SIZE = 0.5
SECOND_FACE_SHARE = 0.2
OUTSIDE_SHARE = 0.1
"""A frame in which more of the face's landmarks than this lie outside the picture shows no whole face."""


@dataclass(frozen=True)
class Observed:
    """What the first pass over a video of T frames found."""

    info: VideoInfo
    landmarks: np.ndarray
    """(T, 478, 3) float32 pixels of the video as displayed; NaN where no face was found, or the picture
    is not of the shot."""
    second_face: np.ndarray
    """(T,) size of the second largest face relative to the one followed, 0 where there is none."""
    change: np.ndarray
    """(T,) mean absolute change of a thumbnail from the frame of the shot before, 0 to 1."""

    @property
    def tracked(self) -> np.ndarray:
        """(T,) bool: the face was found."""
        return np.isfinite(self.landmarks).all((1, 2))


def observe(path: Path, fps: float, report: Callable[[float], None]) -> Observed:
    """Track faces through a video.

    Raises:
        ClipError: not a video.
    """
    info, frames = read_video(path, fps)
    expected = max(1.0, info.duration_s * fps)
    landmarks: list[np.ndarray] = []
    second: list[float] = []
    thumbnails: list[np.ndarray] = []
    followed: np.ndarray | None = None
    with LandmarkTracker() as tracker:
        for frame in frames:
            report(min(1.0, len(landmarks) / expected))
            faces = tracker.detect(frame)
            if len(faces):
                choice = 0 if followed is None else int(np.argmin([_distance(face, followed) for face in faces]))
                followed = faces[choice]
                landmarks.append(followed)
                others = [face_width(face) for row, face in enumerate(faces) if row != choice]
                second.append(max(others, default=0.0) / face_width(followed))
            else:
                landmarks.append(np.full((N_MEDIAPIPE, 3), np.nan, np.float32))
                second.append(0.0)
            thumbnails.append(thumbnail(frame))
    if not landmarks:
        raise ClipError(f"{path}: no picture in it can be decoded; a playable video is expected")
    pictures, found, sizes = np.stack(thumbnails), np.stack(landmarks), np.array(second)
    lost = find_interruptions(pictures, fps)
    found[lost], sizes[lost] = np.nan, 0.0
    return Observed(info, found, sizes, changes(pictures, lost))


def check_observed(observed: Observed) -> None:
    """Refuse a video that is not one uncut shot of one face.

    Raises:
        ClipError: under two seconds, no face, several faces, a cut, or no whole face in over a quarter of the frames;
            says when.
    """
    path, fps, tracked = observed.info.path, observed.info.fps, observed.tracked
    n_frames = len(tracked)
    if n_frames < MIN_DURATION_S * fps:
        raise ClipError(f"{path}: {n_frames / fps:.1f} s long; at least {MIN_DURATION_S:.0f} s are expected")
    if tracked.mean() < 0.05:
        raise ClipError(f"{path}: no face found; a video of one person who looks towards the camera is expected")
    crowd = observed.second_face > SECOND_FACE_SIZE
    if crowd.mean() > SECOND_FACE_SHARE:
        raise ClipError(f"{path}: several faces, first at {np.argmax(crowd) / fps:.1f} s; crop the video to one person")
    cut = find_cut(observed)
    if cut is not None:
        raise ClipError(f"{path}: a cut at {cut / fps:.2f} s; keep one side of it (one uncut shot is expected)")
    seen = np.isfinite(whole_faces(observed)).all((1, 2))
    if seen.mean() < MIN_SEEN_SHARE or seen.sum() < MIN_DURATION_S * fps:
        gone = max(runs(~seen), key=lambda run: run.stop - run.start)
        raise ClipError(
            f"{path}: the face leaves the picture or cannot be found, longest from {gone.start / fps:.1f} s to "
            f"{gone.stop / fps:.1f} s; it is seen in {100 * seen.mean():.0f} % of the frames, at least "
            f"{100 * MIN_SEEN_SHARE:.0f} % and {MIN_DURATION_S:.0f} s are expected; cut off what does not show it"
        )


def whole_faces(observed: Observed) -> np.ndarray:
    """(T, 478, 3) landmarks as observed, NaN also where the face has left the picture."""
    landmarks = observed.landmarks.copy()
    for run in runs(observed.tracked & ~_inside(observed)):
        if run.stop - run.start > MAX_GAP_S * observed.info.fps:
            landmarks[run] = np.nan
    return landmarks


def find_cut(observed: Observed) -> int | None:
    """First frame after a cut, or None: the whole picture changes at once, or the face jumps while much changes."""
    change, landmarks = observed.change, observed.landmarks
    for frame in range(1, len(change)):
        low, high = max(1, frame - 12), min(len(change), frame + 13)
        around = np.delete(change[low:high], frame - low)
        usual = max(float(np.median(around)) if len(around) else 0.0, 1e-3)
        if change[frame] > max(0.08, 6 * usual):
            return frame
        centre = landmarks[frame - 1 : frame + 1, :, :2].mean(1)
        jump = float(np.linalg.norm(centre[1] - centre[0])) / max(face_width(landmarks[frame - 1]), 1.0)
        if np.isfinite(jump) and jump > 0.3 and change[frame] > max(0.03, 4 * usual):
            return frame
    return None


def _distance(face: np.ndarray, other: np.ndarray) -> float:
    return float(np.linalg.norm(face[:, :2].mean(0) - other[:, :2].mean(0)))


def _inside(observed: Observed) -> np.ndarray:
    x, y = observed.landmarks[..., 0], observed.landmarks[..., 1]
    outside = (x < 0) | (y < 0) | (x > observed.info.width) | (y > observed.info.height)
    return outside.mean(1) <= OUTSIDE_SHARE
