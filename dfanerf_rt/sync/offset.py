"""Offset between sound and lips, found by the similarity of audio and mouth codes (paper eq. 3)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from dfanerf_rt.errors import ShapeError

WINDOW_FRAMES = 3
"""Frames that one cosine similarity compares."""
MAX_OFFSET_FRAMES = 15
MIN_PAIRS = 10
STRETCH_FRAMES = 50
MIN_STRETCHES = 4


@dataclass(frozen=True)
class SyncOffset:
    """Where sound and lips fit best."""

    frames: int
    """Frames by which the sound is late; below 0 where it is early."""
    confidence: float
    """Similarity at the best offset minus the median over all offsets, as SyncNet's confidence; about 0 by chance."""
    similarity: np.ndarray
    """(2 max_offset + 1,) mean cosine similarity by offset, from -max_offset on."""


@dataclass(frozen=True)
class Lateness:
    """By how much the sound of a clip is late, to a fraction of a frame, and how sure that is."""

    frames: float
    """Below 0 where the sound is early."""
    error_frames: float
    """Standard error, by leaving out two seconds of lips at a time (jackknife)."""
    confidence: float
    """That of :class:`SyncOffset`."""


def similarity_matrix(audio_code: Tensor, mouth_code: Tensor, window: int = WINDOW_FRAMES) -> np.ndarray:
    """Cosine similarity of every stretch of lips with every stretch of sound.

    Codes are taken relative to their mean, which is who speaks and how the lips rest, not what is said.

    Args:
        audio_code: (T, C) f_a of consecutive frames, as :meth:`AudioEncoder.comparable` gives it.
        mouth_code: (T, C) f_m of the same frames, likewise.
        window: frames in a stretch.

    Returns:
        (T - window + 1, T - window + 1) float32; rows are lips, columns sound.

    Raises:
        ShapeError: the codes differ in shape, or are fewer than ``window``.
    """
    if audio_code.shape != mouth_code.shape or audio_code.ndim != 2 or len(audio_code) < window:
        raise ShapeError(
            f"codes of shape {tuple(audio_code.shape)} and {tuple(mouth_code.shape)}, "
            f"expected two of the same (T, C), T at least {window}"
        )
    sound, lips = (
        F.normalize((code - code.mean(dim=0)).unfold(0, window, 1).flatten(1), dim=1)
        for code in (audio_code, mouth_code)
    )
    result: np.ndarray = (lips @ sound.T).numpy()
    return result


def best_offset(
    matrix: np.ndarray, rows: slice | np.ndarray = slice(None), late: int = 0, max_offset: int = MAX_OFFSET_FRAMES
) -> SyncOffset:
    """The offset at which lips and sound agree best.

    Args:
        matrix: from :func:`similarity_matrix`.
        rows: the lips to look at, as an index.
        late: frames by which the sound is taken to be late on top of what it is: a test of the search itself.
        max_offset: offsets from -max_offset to max_offset are tried; those with fewer than 10 pairs count as -1.
    """
    lips = np.arange(len(matrix))[rows]
    similarity = np.full(2 * max_offset + 1, -1.0)
    for index in range(len(similarity)):
        sound = lips + index - max_offset - late
        inside = (sound >= 0) & (sound < matrix.shape[1])
        if inside.sum() >= min(MIN_PAIRS, len(lips)):
            similarity[index] = matrix[lips[inside], sound[inside]].mean()
    best = int(similarity.argmax())
    tried = similarity[similarity > -1.0]
    confidence = float(similarity[best] - np.median(tried)) if len(tried) else 0.0
    return SyncOffset(best - max_offset, confidence, similarity)


def offset_errors(
    audio_code: Tensor,
    mouth_code: Tensor,
    seconds: float = 2.0,
    shifts: tuple[int, ...] = (-10, -5, 0, 5, 10),
    step: int = 5,
) -> np.ndarray:
    """How far off the found offset is, in windows of a clip whose sound was shifted.

    Args:
        audio_code, mouth_code: (T, C) at 25 a second.
        seconds: length of a window.
        shifts: frames by which the sound is shifted; 10 is 400 ms.
        step: frames between windows.

    Returns:
        (n,) found minus true offset in frames, one for every window and shift; the whole clip where it is shorter
        than a window.
    """
    with torch.no_grad():
        matrix = similarity_matrix(audio_code, mouth_code)
    n = min(round(seconds * 25) - WINDOW_FRAMES + 1, len(matrix))
    starts = range(0, len(matrix) - n + 1, step)
    return np.array([best_offset(matrix, slice(a, a + n), late).frames - late for a in starts for late in shifts])


def lateness(matrix: np.ndarray, rows: np.ndarray | None = None) -> Lateness | None:
    """By how much the sound is late, over a whole clip.

    The peak of the mean similarity is placed between frames by a parabola.

    Args:
        matrix: from :func:`similarity_matrix`.
        rows: (len(matrix),) bool, lips that count; all by default.

    Returns:
        None where there are less than eight seconds of lips: nothing can be said.
    """
    lips = np.arange(len(matrix))[slice(None) if rows is None else rows]
    n_stretches = len(lips) // STRETCH_FRAMES
    if n_stretches < MIN_STRETCHES:
        return None
    whole = best_offset(matrix, lips)
    stretches = np.array_split(lips, n_stretches)
    without = np.array([_peak(best_offset(matrix, np.setdiff1d(lips, part)).similarity) for part in stretches])
    error = float(np.sqrt((n_stretches - 1) / n_stretches * ((without - without.mean()) ** 2).sum()))
    return Lateness(_peak(whole.similarity), error, whole.confidence)


def _peak(similarity: np.ndarray) -> float:
    """Offset of the largest value, between frames where it has neighbours."""
    best = int(similarity.argmax())
    if not 0 < best < len(similarity) - 1:
        return float(best - MAX_OFFSET_FRAMES)
    before, at, after = similarity[best - 1 : best + 2]
    return best - MAX_OFFSET_FRAMES + float(0.5 * (before - after) / (before - 2 * at + after))
