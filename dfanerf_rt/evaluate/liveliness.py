"""Whether generated motion stays alive and sound for hours: it neither freezes nor drifts, jumps nowhere, is not always
the same, and moves when the voice does. All motions are (T, D), one row a frame."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np

from dfanerf_rt.errors import ShapeError
from dfanerf_rt.evaluate.lips import correlation

MARGIN = 0.2
"""Of the width of the training range, beyond each of its ends."""
MINUTE_S = 60.0
ENERGY_WINDOW_S = 0.4
"""About the length of a nod, in whose middle the head stands still for a moment."""
LONGEST_LAG_S = 0.6


def spread_by_minute(motion: np.ndarray, fps: float, truth: np.ndarray) -> np.ndarray:
    """How much motion each minute holds, as a share of the truth's.

    Args:
        motion: (T, D), a minute or more.
        truth: (S, D); the mean of the standard deviations of its whole minutes counts, or its standard deviation where
            it is shorter than a minute.

    Returns:
        (M, D) for each whole minute the standard deviation of each channel over the truth's; 1 is as lively as the
        truth, 0 frozen. What is left after the last whole minute is not looked at.

    Raises:
        ShapeError: less than a minute, another D, or a true channel that does not move.
    """
    n_frames = round(MINUTE_S * fps)
    found, expected = _minutes(motion, n_frames), _minutes(truth, min(n_frames, len(truth)))
    usual = expected.std(axis=1).mean(axis=0)
    if not len(found) or found.shape[2] != expected.shape[2] or not (usual > 0).all():
        raise ShapeError(
            f"motions of shapes {motion.shape} and {truth.shape}, expected ({n_frames} or more, D) and (S, D), moving"
        )
    spread: np.ndarray = found.std(axis=1) / usual
    return spread


@dataclass(frozen=True)
class Drift:
    """How far motion leaves the range of the truth."""

    outside_share: float
    """Share of all values that lie more than ``MARGIN`` of the range's width beyond one of its ends."""
    largest_excess: float
    """The furthest value beyond an end, in widths of the range; 0 where all lie inside."""


def drift(motion: np.ndarray, truth: np.ndarray, margin: float = MARGIN) -> Drift:
    """Whether motion (T, D) stays in the range of the truth (S, D), channel by channel.

    Raises:
        ShapeError: another D, or a true channel that does not move.
    """
    low, high = truth.min(axis=0), truth.max(axis=0)
    width = high - low
    if motion.ndim != 2 or motion.shape[1:] != truth.shape[1:] or not (width > 0).all():
        raise ShapeError(f"motions of shapes {motion.shape} and {truth.shape}, expected (T, D) and (S, D) that moves")
    excess = np.maximum(low - motion, motion - high) / width
    return Drift(float((excess > margin).mean()), max(float(excess.max()), 0.0))


def diversity(motions: np.ndarray, truth: np.ndarray) -> float:
    """How much motions of several seeds differ; 0 is a replay, about 1 what chance would give.

    The root mean square difference of two motions, mean over all pairs and channels, over sqrt(2) times the truth's
    standard deviation: two independent stretches of motion as wide as the truth are 1 apart.

    Args:
        motions: (N, T, D), N seeds.
        truth: (S, D).

    Raises:
        ShapeError: fewer than two seeds, another D, or a true channel that does not move.
    """
    spread = truth.std(axis=0)
    if motions.ndim != 3 or len(motions) < 2 or motions.shape[2:] != truth.shape[1:] or not (spread > 0).all():
        raise ShapeError(
            f"motions of shapes {motions.shape} and {truth.shape}, expected (2 or more, T, D) and (S, D) that moves"
        )
    apart = [np.sqrt(np.square(a - b).mean(axis=0)) / (np.sqrt(2.0) * spread) for a, b in combinations(motions, 2)]
    return float(np.mean(apart))


@dataclass(frozen=True)
class JoinJumps:
    """Changes of velocity where blocks join and inside blocks, in units of their standard deviation inside."""

    largest_at_joins: float
    inside_percentile: float
    """The 99.9th percentile of those inside blocks."""

    @property
    def ratio(self) -> float:
        """At most 1 where joins cannot be told from what happens inside blocks."""
        return self.largest_at_joins / self.inside_percentile


def join_jumps(motion: np.ndarray, joins: np.ndarray, percentile: float = 99.9) -> JoinJumps:
    """Whether velocity jumps where blocks of frames join.

    A jump at frame k is |x[k+1] - 2 x[k] + x[k-1]|, each channel in units of its standard deviation inside blocks, root
    mean square over channels. The jumps at the frames on both sides of a join reach over it and count as its own.

    Args:
        motion: (T, D).
        joins: the frames with which blocks begin, each in 1 to T - 1.

    Raises:
        ShapeError: no join, a join outside, or nothing inside blocks to compare with.
    """
    n_frames, joins = len(motion), np.asarray(joins, int)
    if motion.ndim != 2 or not len(joins) or joins.min() < 1 or joins.max() >= n_frames:
        raise ShapeError(f"joins of a motion of shape {motion.shape}: expected (T, D) and frames 1 to T - 1")
    change = np.diff(np.asarray(motion, np.float64), 2, axis=0)
    at_join = np.zeros(n_frames, bool)
    at_join[joins] = at_join[joins - 1] = True
    at_join = at_join[1:-1]  # change[i] is that of frame i + 1
    if at_join.all() or not at_join.any():
        raise ShapeError(f"{len(joins)} joins in {n_frames} frames leave nothing to compare")
    jump = np.sqrt(np.square(change / np.maximum(change[~at_join].std(axis=0), 1e-12)).mean(axis=1))
    return JoinJumps(float(jump[at_join].max()), float(np.percentile(jump[~at_join], percentile)))


def motion_energy(head_pose: np.ndarray, fps: float, window_s: float = ENERGY_WINDOW_S) -> np.ndarray:
    """How fast the head turns around each frame: the root mean square of its angular speed over a short window.

    Args:
        head_pose: (T, 6) or (T, 3), rotation vector first, radians; the rate of a rotation vector is the angular
            velocity to within a few percent at the angles of a speaking head.

    Returns:
        (T,) degrees per second.
    """
    rotation = np.rad2deg(np.asarray(head_pose, np.float64)[:, :3])
    squared = np.square(np.gradient(rotation, axis=0) * fps).sum(axis=1)
    n_window = max(round(window_s * fps), 1) | 1
    padded = np.pad(squared, n_window // 2, mode="edge")
    energy: np.ndarray = np.sqrt(np.convolve(padded, np.full(n_window, 1.0 / n_window), "valid"))
    return energy


@dataclass(frozen=True)
class StressCorrelation:
    """How motion goes with stress in the voice."""

    value: float
    """Pearson's correlation at the best lag."""
    lag_s: float
    """By how much motion follows the voice there."""


def stress_correlation(
    energy: np.ndarray, stress: np.ndarray, fps: float, longest_lag_s: float = LONGEST_LAG_S
) -> StressCorrelation:
    """Correlation of motion energy (T,) with stress (T,), at the lag from 0 to ``longest_lag_s`` where it is largest.

    The largest of several chances is above 0 also for motion that knows nothing of the voice: compare with that of
    motion generated without sound.

    Raises:
        ShapeError: lengths differ, or are too short for the lag.
    """
    n_lags = round(longest_lag_s * fps) + 1
    if energy.shape != stress.shape or energy.ndim != 1 or len(energy) < 2 * n_lags:
        raise ShapeError(f"energy {energy.shape} and stress {stress.shape}: expected ({2 * n_lags} or more,) both")
    values = [correlation(energy[lag:], stress[: len(stress) - lag]) for lag in range(n_lags)]
    best = int(np.argmax(values))
    return StressCorrelation(values[best], best / fps)


def _minutes(motion: np.ndarray, n_frames: int) -> np.ndarray:
    """(T, D) as whole stretches (M, n_frames, D)."""
    n = len(motion) // max(n_frames, 1)
    return np.asarray(motion[: n * n_frames], np.float64).reshape(n, n_frames, motion.shape[1])
