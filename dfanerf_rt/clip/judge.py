"""Looks at every frame of a clip once, and says which can be learned from.

Nothing here needs more than numpy, Pillow and torch: clips that came without a judgement are judged where they are
trained on.
"""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image, ImageFilter

from dfanerf_rt.clip.background import EvenViews
from dfanerf_rt.clip.format import Clip, ClipMeta
from dfanerf_rt.clip.interruptions import find_interruptions, thumbnail
from dfanerf_rt.clip.judgement import (
    FROZEN,
    GOOD,
    INTERRUPTED,
    MISFIT,
    NO_FACE,
    NO_MATTE,
    Judgement,
    load_judgement,
)
from dfanerf_rt.face.rotation import points_to_camera
from dfanerf_rt.face.track import Track

STILL_SHARE = 0.1
"""A picture that differs from the one before by less than this share of the usual repeats it."""
FROZEN_REPEATS = 3
"""So many more repeats in a row than this video's frame rate explains are a frozen picture."""
MISFIT_PX = 8.0
"""Median distance of the model's landmarks from those seen, at a width of 512 px, that no good fit has."""
MISFIT_RATIO = 3.0
DETAIL_SHARE = 0.3
"""Where the face shows less than this share of its usual detail it is hidden, whatever the tracker holds on to."""
FACE_IN_MATTE = 0.8
"""At least this share of the landmarks lies inside a matte that works."""
MATTE_CHANGE = 0.35
"""A matte that works differs from what is usual around by less than this share of its area."""
MATTE_RATIO = 4.0
"""And by less than so many times what the clip's mattes do."""
MATTE_AROUND_S = 3.0
MOVED_LEVELS = 20.0
"""Mean difference of the channels (0 to 255) from the still background that is no noise of a camera."""
MOVED_SHARE = 0.15
"""Share of the frames that see a pixel of the background, in which it must have moved."""
FEWEST_VIEWS = 4
CLOSED_FROM, OPEN_TO = 0.6, 0.25
FEWEST_CLOSED = 3
_EYES = ((36, 39), (42, 45))
"""Outer and inner corner of each eye, iBUG order."""
_PATCH = (8, 16)


class FrameJudge:
    """Collects what it needs of each frame as they pass by.

    Args:
        meta: size, camera and number of the frames.
        track: the clip's track.
    """

    def __init__(self, meta: ClipMeta, track: Track) -> None:
        self._meta, self._track = meta, track
        n_frames = meta.n_frames
        self.views = EvenViews(n_frames)
        """What the background is seen in."""
        self._thumbnails = np.zeros((n_frames, *thumbnail(np.zeros((1, 1, 3), np.uint8)).shape), np.float32)
        self._mattes = np.zeros(self._thumbnails.shape[:3], np.float32)
        self._change = np.zeros(n_frames)
        self._face_inside = np.ones(n_frames)
        self._detail = np.zeros(n_frames)
        self._eyes = np.zeros((n_frames, len(_EYES) * _PATCH[0] * _PATCH[1]), np.float32)
        self._before: np.ndarray | None = None
        self._faults: np.ndarray | None = None

    def add(self, index: int, frame: np.ndarray, alpha: np.ndarray) -> None:
        """Look at frame ``index``: (H, W, 3) uint8 and its matte (H, W) uint8; frames come in order."""
        points = self._track.landmarks_px[index].numpy()
        self._thumbnails[index] = thumbnail(frame)
        self._mattes[index] = thumbnail(np.repeat(alpha[..., None], 3, 2))[..., 0]
        grey = frame[..., 1].astype(np.float32)
        self._change[index] = 0.0 if self._before is None else float(np.abs(grey - self._before).mean())
        self._before = grey
        column, row = points[:, 0], points[:, 1]
        inside = (column >= 0) & (row >= 0) & (column < self._meta.width) & (row < self._meta.height)
        if inside.any():
            seen = alpha[row[inside].astype(int), column[inside].astype(int)]
            self._face_inside[index] = float((seen > 127).mean())
        self._detail[index] = _detail(grey, points)
        self._eyes[index] = _eye_patches(grey, points)
        self.views.add(index, frame, alpha)

    def faults(self) -> np.ndarray:
        """(T,) uint8: what is wrong with each frame, once all have been seen; see :class:`Judgement`."""
        if self._faults is not None:
            return self._faults
        fault = np.full(self._meta.n_frames, GOOD, np.uint8)
        # What comes later outweighs what came before: a black picture has no face either, and says so first.
        fault[self._misfits()] = MISFIT
        hidden = self._detail < DETAIL_SHARE * np.median(self._detail)
        fault[hidden | (self._track.confidence.numpy() < 0.5)] = NO_FACE
        fault[_frozen(self._change)] = FROZEN
        fault[find_interruptions(self._thumbnails, self._meta.fps)] = INTERRUPTED
        unmatted = self._bad_mattes(fault == GOOD)
        fault[unmatted & (fault == GOOD)] = NO_MATTE
        self._faults = fault
        return fault

    def finish(self, background: np.ndarray) -> Judgement:
        """The judgement, given the still background (H, W, 3) uint8."""
        fault = self.faults()
        good = fault == GOOD
        moving, share = self._moving(background, good)
        return Judgement(fault, moving, share, self._eye_contrast(good))

    def _misfits(self) -> np.ndarray:
        """(T,) bool: the model's landmarks lie elsewhere than those seen."""
        track, meta = self._track, self._meta
        placed = points_to_camera(track.head_pose, track.landmarks)
        centre = torch.tensor([meta.cx, meta.cy])
        projected = placed[..., :2] / placed[..., 2:].clamp_min(1e-3) * meta.focal_px + centre
        # The jaw's ends are left out: they follow the neck.
        error = (projected - track.landmarks_px)[:, 17:].norm(dim=-1).median(dim=1).values.numpy() * 512 / meta.width
        known = error[track.confidence.numpy() >= 0.5]
        usual = float(np.median(known)) if len(known) else 0.0
        flags: np.ndarray = error > max(MISFIT_PX, MISFIT_RATIO * usual)
        return flags

    def _bad_mattes(self, good: np.ndarray) -> np.ndarray:
        """(T,) bool: the face is outside of the matte, or the matte is unlike those around."""
        outside = self._face_inside < FACE_IN_MATTE
        trusted = np.flatnonzero(good & ~outside)
        if not len(trusted):
            return outside
        reach = max(1, round(MATTE_AROUND_S * self._meta.fps))
        area = max(float(np.median(self._mattes[trusted].mean((1, 2)))), 1e-3)
        unlike = np.zeros(len(good))
        for frame in range(len(good)):
            around = trusted[np.abs(trusted - frame) <= reach]
            usual = np.median(self._mattes[around if len(around) else trusted], axis=0)
            unlike[frame] = float(np.abs(self._mattes[frame] - usual).mean()) / area
        limit = max(MATTE_CHANGE, MATTE_RATIO * float(np.median(unlike[trusted])))
        flags: np.ndarray = outside | (unlike > limit)
        return flags

    def _moving(self, background: np.ndarray, good: np.ndarray) -> tuple[np.ndarray, float]:
        """(H, W) bool where the background changes, and the share of what is seen of it that does."""
        margin = 2 * max(2, min(background.shape[:2]) // 64) + 1
        moved = np.zeros(background.shape[:2], np.int32)
        views = np.zeros_like(moved)
        for frame, alpha in self.views.of(good):
            grown = Image.fromarray(alpha).filter(ImageFilter.MaxFilter(margin))
            free = np.asarray(grown) < 8
            difference = np.abs(frame.astype(np.int16) - background).mean(2)
            moved += free & (difference > MOVED_LEVELS)
            views += free
        known = views >= FEWEST_VIEWS
        flags = known & (moved > MOVED_SHARE * views)
        # single pixels are noise and edges that tremble; what moves is an area
        closed = Image.fromarray(flags.astype(np.uint8) * 255).filter(ImageFilter.MedianFilter(3))
        area = np.asarray(closed.filter(ImageFilter.MaxFilter(5))) > 0
        core = np.asarray(closed) > 0
        return area, float(core[known].mean()) if known.any() else 0.0

    def _eye_contrast(self, good: np.ndarray) -> float | None:
        closure = self._track.eye_closure.mean(1).numpy()
        closed, opened = (self._eyes[good & chosen] for chosen in (closure > CLOSED_FROM, closure < OPEN_TO))
        if len(closed) < FEWEST_CLOSED or len(opened) < FEWEST_CLOSED:
            return None
        within = 0.5 * (closed.var(0, ddof=1).sum() + opened.var(0, ddof=1).sum())
        # means of few frames differ by chance: that part is taken off
        chance = closed.var(0, ddof=1).sum() / len(closed) + opened.var(0, ddof=1).sum() / len(opened)
        apart = float(np.square(closed.mean(0) - opened.mean(0)).sum() - chance)
        return max(apart, 0.0) / max(float(within), 1e-9)


def judge_clip(clip: Clip) -> Judgement:
    """Look through all frames of a clip."""
    judge = FrameJudge(clip.meta, clip.track)
    for index in range(clip.meta.n_frames):
        judge.add(index, clip.frame(index), clip.alpha(index))
    return judge.finish(clip.background())


def judgement_of(clip: Clip) -> Judgement:
    """The judgement stored with a clip, or a new one.

    Raises:
        ClipError: the stored one is damaged, or a picture is.
    """
    return load_judgement(clip) or judge_clip(clip)


def _frozen(change: np.ndarray) -> np.ndarray:
    """(T,) bool from the change to the frame before (T,): repeats of a picture, beyond what the frame rate explains."""
    changed = change[change > 0]
    if not len(changed):
        return np.arange(len(change)) > 0
    repeats = change < STILL_SHARE * float(np.median(changed))
    repeats[0] = False
    run = np.zeros(len(change), int)
    for frame in range(1, len(change)):
        run[frame] = run[frame - 1] + 1 if repeats[frame] else 0
    ends = np.flatnonzero(np.append(run[1:] == 0, True))
    usual = int(np.percentile(run[ends], 90, method="lower"))
    frozen = np.zeros(len(change), bool)
    for end in ends[run[ends] >= usual + FROZEN_REPEATS]:
        frozen[end - run[end] + 1 : end + 1] = True
    return frozen


def _detail(grey: np.ndarray, points: np.ndarray) -> float:
    """Mean difference of neighbouring pixels between brows and mouth."""
    height, width = grey.shape
    (left, top), (right, bottom) = points[17:68].min(0), points[17:68].max(0)
    rows = slice(max(int(top), 0), min(int(bottom) + 1, height))
    columns = slice(max(int(left), 0), min(int(right) + 1, width))
    face = grey[rows, columns]
    return float(np.abs(np.diff(face, axis=1)).mean()) if face.shape[0] and face.shape[1] > 1 else 0.0


def _eye_patches(grey: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Both eyes in (8, 16) pixels along the line of their corners, relative to their own brightness, flattened."""
    patches = []
    height, width = grey.shape
    down, across = np.mgrid[-0.3 : 0.3 : _PATCH[0] * 1j, -0.6 : 0.6 : _PATCH[1] * 1j]  # type: ignore[misc]
    for outer, inner in _EYES:
        middle, along = 0.5 * (points[outer] + points[inner]), points[inner] - points[outer]
        x = middle[0] + across * along[0] - down * along[1]
        y = middle[1] + across * along[1] + down * along[0]
        patch = grey[np.clip(y, 0, height - 1).astype(int), np.clip(x, 0, width - 1).astype(int)]
        patches.append(patch / max(float(patch.mean()), 1.0))
    return np.stack(patches).reshape(-1)
