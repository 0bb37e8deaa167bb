"""How somebody moves, in a few numbers that can be set beside those of somebody else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from dfanerf_rt.evaluate.blinks import blink_statistics, eye_openness
from dfanerf_rt.evaluate.liveliness import motion_energy, stress_correlation
from dfanerf_rt.evaluate.motion import ROTATION, TRANSLATION, noise_floor, spectrum_slope
from dfanerf_rt.motion.track import MotionTrack


class MotionStatistics(NamedTuple):
    """NaN where the track does not tell: without eyes, without a voice, without two blinks."""

    duration_s: float
    pitch_deg: float
    yaw_deg: float
    roll_deg: float
    """Standard deviation of each component of the rotation vector: about x, y and z."""
    pitch_deg_s: float
    yaw_deg_s: float
    roll_deg_s: float
    """Standard deviation of their velocities, from frame to frame."""
    x_mm: float
    y_mm: float
    z_mm: float
    x_mm_s: float
    y_mm_s: float
    z_mm_s: float
    """The same of the translation."""
    slope_rotation: float
    slope_translation: float
    """Exponent of the power spectrum from 0.3 to 3 Hz, mean of three channels."""
    floor_deg: float
    floor_mm: float
    """White noise of the tracker, :func:`dfanerf_rt.evaluate.motion.noise_floor`, mean of three channels."""
    stress_correlation: float
    """Of motion energy with stress in the voice, at the best lag."""
    stress_lag_s: float
    blinks_per_min: float
    blink_ms: float
    """Median duration."""
    blink_interval_s: float
    """Median, from start to start."""
    blink_interval_spread: float
    """Standard deviation of the logarithm of the intervals."""
    blink_human_share: float
    """Share of the durations within 100 to 400 ms."""


def statistics_of(track: MotionTrack, stress: np.ndarray | None = None) -> MotionStatistics:
    """Statistics of a track of a few seconds or more.

    Args:
        stress: (T,) of the voice that was heard, see :func:`dfanerf_rt.audio.stress.stress_track`.

    Raises:
        ShapeError: the track is too short for its spectrum, or ``stress`` is of another length.
    """
    pose = track.head_pose.double().numpy() * ([180.0 / np.pi] * 3 + [1000.0] * 3)
    velocity = np.diff(pose, axis=0) * track.fps
    slope, floor = spectrum_slope(pose, track.fps), noise_floor(pose, track.fps)
    follows, lag_s = np.nan, np.nan
    if stress is not None:
        found = stress_correlation(motion_energy(track.head_pose.numpy(), track.fps), stress, track.fps)
        follows, lag_s = found.value, found.lag_s
    values = (
        track.duration_s,
        *pose[:, ROTATION].std(axis=0),
        *velocity[:, ROTATION].std(axis=0),
        *pose[:, TRANSLATION].std(axis=0),
        *velocity[:, TRANSLATION].std(axis=0),
        slope[ROTATION].mean(),
        slope[TRANSLATION].mean(),
        floor[ROTATION].mean(),
        floor[TRANSLATION].mean(),
        follows,
        lag_s,
        *_blinks(track),
    )
    return MotionStatistics(*(float(value) for value in values))


def mean_statistics(each: Sequence[MotionStatistics]) -> MotionStatistics:
    """Mean of each number over several tracks, of those that tell it; durations are added."""
    values = np.array(each, float)
    told = np.isfinite(values)
    mean = np.where(told, values, 0.0).sum(axis=0) / np.where(told.any(axis=0), told.sum(axis=0), np.nan)
    return MotionStatistics(*mean.tolist())._replace(duration_s=float(values[:, 0].sum()))


def _blinks(track: MotionTrack) -> tuple[float, float, float, float, float]:
    if track.eye_code is None:
        return (np.nan,) * 5
    found = blink_statistics(eye_openness(track.eye_code), track.fps)
    duration_ms = float(np.median(found.durations_ms)) if len(found.durations_ms) else np.nan
    interval_s = float(np.median(found.intervals_s)) if len(found.intervals_s) else np.nan
    spread = float(np.log(found.intervals_s).std()) if len(found.intervals_s) > 1 else np.nan
    return 60.0 * found.per_s, duration_ms, interval_s, spread, found.human_share
