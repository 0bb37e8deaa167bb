"""Blinks: how many, how long, how far apart; from the eye aspect ratio, the lids' closure, or the eye code."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Tensor

from dfanerf_rt.attributes.model import EYE_LANDMARKS, N_LANDMARKS, AttributeModel
from dfanerf_rt.errors import ShapeError
from dfanerf_rt.face.arkit import ARKIT_INDEX
from dfanerf_rt.face.model import FaceModel

EYES = ((36, 37, 38, 39, 40, 41), (42, 43, 44, 45, 46, 47))
CLOSES_BELOW = 0.6
OPENS_ABOVE = 0.8
"""Shares of the open level; between the two an eye stays as it was, so that noise is no blink."""
LEVEL_FRAMES = 75
LOWERED_TO = 0.75
"""Lids follow the gaze: the open level is the median of 75 frames around, between 0.75 and 1 of that of the clip."""
SHORTEST_MS, LONGEST_MS = 100.0, 400.0
"""What a blink of a human takes."""


def eye_aspect_ratio(landmarks: np.ndarray) -> np.ndarray:
    """Height of the eyes over their width, the mean of both eyes (Soukupova and Cech 2016, eq. 1).

    Args:
        landmarks: (T, 68, 2) pixels, iBUG order.

    Returns:
        (T,) about 0.3 for an open eye, under 0.15 for a closed one.
    """
    ratios = []
    for eye in EYES:
        p1, p2, p3, p4, p5, p6 = (landmarks[:, index] for index in eye)
        height = np.linalg.norm(p2 - p6, axis=-1) + np.linalg.norm(p3 - p5, axis=-1)
        ratios.append(height / (2.0 * np.maximum(np.linalg.norm(p1 - p4, axis=-1), 1e-6)))
    mean: np.ndarray = np.mean(ratios, axis=0)
    return mean


@torch.no_grad()
def eye_openness(eye_code: Tensor, attributes: AttributeModel | None = None) -> np.ndarray:
    """How far open the eyes of a code are, by the aspect ratio of the decoded landmarks seen from the front.

    Args:
        eye_code: (T, 16) f_e.
        attributes: the autoencoder about a person's neutral face; the bundled one about the mean face by default.

    Returns:
        (T,) float64: 1 as in the neutral face, 0 as with both ARKit blink units at 1; wide eyes are above 1.

    Raises:
        ShapeError: another shape.
    """
    model = attributes or AttributeModel.bundled()
    if eye_code.ndim != 2 or eye_code.shape[1] != model.config.eye_dim:
        raise ShapeError(f"eye_code has shape {tuple(eye_code.shape)}, expected (T, {model.config.eye_dim})")
    neutral = model.neutral[None]
    shut = neutral + _closing()
    mouth_code, ends = model.encode(torch.cat([neutral, shut]))
    ratio = _decoded_ratio(model, eye_code.to(neutral), mouth_code[:1])
    opened, closed = _decoded_ratio(model, ends, mouth_code[:1])
    openness: np.ndarray = (ratio - closed) / (opened - closed)
    return openness


@dataclass(frozen=True)
class Blink:
    """One blink, in frames; interpolated between frames, for a blink is but five or six of them."""

    start: float
    """Where the eyes fall below ``OPENS_ABOVE`` of the open level on their way down."""
    end: float
    """Where they rise above it again."""
    depth: float
    """The least openness in it as a share of the open level."""
    whole: bool
    """False where the series begins or ends within it, so that its length is not known."""


@dataclass(frozen=True)
class BlinkStatistics:
    """Blinks of a series."""

    count: int
    per_s: float
    durations_ms: np.ndarray
    """(n,) from start to end, of those that are whole."""
    intervals_s: np.ndarray
    """(count - 1,) from start to start."""

    @property
    def human_share(self) -> float:
        """Share of the durations that lie between 100 and 400 ms; NaN without any."""
        inside = (self.durations_ms >= SHORTEST_MS) & (self.durations_ms <= LONGEST_MS)
        return float(inside.mean()) if len(inside) else float("nan")


def find_blinks(openness: np.ndarray, open_level: float | None = None) -> list[Blink]:
    """Where the eyes close and open again.

    A blink begins where openness falls below 0.6 of the open level, and the next can begin only after it has
    risen above 0.8 of it. The level sinks by up to a quarter where the lids are lowered for seconds, as in looking
    down, so that a blink does not seem to last until the eyes look up again. Eyes closed in the first frame count as a
    blink; frames that are not a number (no face found) leave the state as it was.

    Args:
        openness: (T,) :func:`eye_aspect_ratio`, :func:`eye_openness`, or 1 minus a lid's closure.
        open_level: of the open eye; by default the median of the series, since eyes are open most of the time and the
            shape of eyes differs between people.
    """
    frames = np.flatnonzero(np.isfinite(openness))
    if not len(frames):
        return []
    known = np.asarray(openness, np.float64)[frames]
    level = float(np.median(known)) if open_level is None else open_level
    if level <= 0:
        return []  # never open: nothing closes
    share = known / _level(known, level)
    found: list[Blink] = []
    first: int | None = None
    for index, value in enumerate(share):
        if first is None and value < CLOSES_BELOW:
            first = index
        elif first is not None and value > OPENS_ABOVE:
            found.append(_blink(frames, share, first, index))
            first = None
    return found if first is None else [*found, _blink(frames, share, first, None)]


def count_blinks(openness: np.ndarray, open_level: float | None = None) -> int:
    """How many times the eyes close; arguments and rules of :func:`find_blinks`."""
    return len(find_blinks(openness, open_level))


def blink_statistics(openness: np.ndarray, fps: float, open_level: float | None = None) -> BlinkStatistics:
    """Rate, durations and intervals of the blinks in a series (T,); arguments of :func:`find_blinks`."""
    blinks = find_blinks(openness, open_level)
    durations = np.array([1000.0 * (blink.end - blink.start) / fps for blink in blinks if blink.whole])
    intervals = np.diff([blink.start for blink in blinks]) / fps
    return BlinkStatistics(len(blinks), len(blinks) * fps / max(len(openness), 1), durations, intervals)


def _level(known: np.ndarray, level: float) -> np.ndarray:
    """(n,) the open level around each frame."""
    if len(known) <= LEVEL_FRAMES:
        return np.full(len(known), level)
    around = np.lib.stride_tricks.sliding_window_view(np.pad(known, LEVEL_FRAMES // 2, mode="reflect"), LEVEL_FRAMES)
    return np.clip(np.median(around, axis=1), LOWERED_TO * level, level)


def _blink(frames: np.ndarray, share: np.ndarray, first: int, last: int | None) -> Blink:
    """The blink that is below ``CLOSES_BELOW`` at ``first`` and above ``OPENS_ABOVE`` at ``last``, None at the end."""
    above = np.flatnonzero(share[:first] >= OPENS_ABOVE)
    start = _crossing(frames, share, int(above[-1])) if len(above) else float(frames[0])
    end = float(frames[-1]) if last is None else _crossing(frames, share, last - 1)
    return Blink(start, end, float(share[first:last].min()), bool(len(above)) and last is not None)


def _crossing(frames: np.ndarray, share: np.ndarray, index: int) -> float:
    """The time in frames at which ``OPENS_ABOVE`` is passed between known frame ``index`` and the next."""
    part = (OPENS_ABOVE - share[index]) / (share[index + 1] - share[index])
    return float(frames[index] + part * (frames[index + 1] - frames[index]))


@cache
def _closing() -> Tensor:
    """(1, 68, 3) how the landmarks of any face are displaced by both blink units; identity adds to it (eq. 1)."""
    model = FaceModel.bundled()
    expression = torch.zeros(2, model.n_expressions)
    expression[1, [ARKIT_INDEX["eyeBlinkLeft"], ARKIT_INDEX["eyeBlinkRight"]]] = 1.0
    landmarks = model.landmarks(torch.zeros(model.n_identity), expression)
    return landmarks[1:] - landmarks[:1]


def _decoded_ratio(model: AttributeModel, eye_code: Tensor, mouth_code: Tensor) -> np.ndarray:
    """(T,) aspect ratio of the eyes of codes (T, 16), with one mouth."""
    _, eyes = model.decode(mouth_code.expand(len(eye_code), -1), eye_code)
    landmarks = np.zeros((len(eyes), N_LANDMARKS, 2))
    landmarks[:, EYE_LANDMARKS] = eyes[..., :2].numpy()
    return eye_aspect_ratio(landmarks)
