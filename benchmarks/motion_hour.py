"""What is asked of an hour of generated motion; terms as in docs/motion.md."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dfanerf_rt.evaluate.blinks import blink_statistics, eye_openness, find_blinks
from dfanerf_rt.evaluate.liveliness import drift, join_jumps, motion_energy, spread_by_minute, stress_correlation
from dfanerf_rt.evaluate.motion import distribution_distance, log_spectral_distance
from dfanerf_rt.motion.track import MotionTrack

Scores = dict[str, float]
NEAR_END = 0.9
SMOOTH_HZ = 6.0
CONTROLS = 200


@dataclass(frozen=True)
class Wanted:
    """A bound of a measure."""

    text: str

    @staticmethod
    def of_the_hour() -> dict[str, Wanted]:
        """By measure."""
        return {
            "stillest_minute": Wanted(">= 0.7"),
            "outside_share": Wanted("0"),
            "largest_excess": Wanted("<= 0.2"),
            "blink_rate_ratio": Wanted("0.8 to 1.2"),
            "blink_human_share": Wanted("1"),
            "join_literal": Wanted("<= 1"),
            "stress_correlation": Wanted("above no sound"),
        }


def hour_scores(moved: MotionTrack, truth: MotionTrack, shown: MotionTrack) -> Scores:
    """Freeze, drift and blinks.

    Args:
        moved: what is judged.
        truth: all that the person did: its minutes are the measure of a minute, its blinks that of the blinks.
        shown: the part that the models were shown, whose range must not be left.
    """
    pose, eyes = moved.head_pose.numpy(), moved.eye_code
    assert eyes is not None and truth.eye_code is not None
    spread = spread_by_minute(pose, moved.fps, truth.head_pose.numpy())
    left = drift(pose, shown.head_pose.numpy())
    openness = eye_openness(eyes)
    assert shown.eye_code is not None
    blinks = blink_statistics(openness, moved.fps)
    true, seen = (blink_statistics(eye_openness(each), truth.fps) for each in (truth.eye_code, shown.eye_code))
    depths = [blink.depth for blink in find_blinks(openness)]
    return {
        "stillest_minute": float(spread.min()),
        "minutes_below": float((spread < 0.7).mean()),
        "mean_minute": float(spread.mean()),
        "liveliest_minute": float(spread.max()),
        "outside_share": left.outside_share,
        "largest_excess": left.largest_excess,
        "blinks_per_min": 60 * blinks.per_s,
        "blink_rate_ratio": blinks.per_s / true.per_s if true.per_s else float("nan"),
        "blink_rate_ratio_shown": blinks.per_s / seen.per_s if seen.per_s else float("nan"),
        "blink_human_share": blinks.human_share,
        "blink_ms": float(np.median(blinks.durations_ms)) if len(blinks.durations_ms) else float("nan"),
        "blink_interval_spread": float(np.log(blinks.intervals_s).std()) if len(blinks.intervals_s) > 1 else 0.0,
        "blink_least_depth": max(depths, default=float("nan")),
    }


def join_scores(pose: np.ndarray, block_frames: int) -> Scores:
    """Whether joins of blocks can be told: as the criterion says, for joins dealt at random, and by percentile.

    The largest of thousands of jumps lies beyond the 99.9th percentile of others of their kind; joins dealt at random
    among all frames show how far. The percentile at joins over that inside is near 1 where there is no seam.
    """
    joins = np.arange(block_frames, len(pose) - 1, block_frames)
    found = join_jumps(pose, joins)
    random = np.random.default_rng(0)
    jump = _jumps(pose)
    at_join = np.zeros(len(jump), bool)
    at_join[joins - 1] = at_join[np.maximum(joins - 2, 0)] = True
    chance = []
    for _ in range(CONTROLS):
        dealt = random.permutation(at_join)
        chance.append((jump[dealt].max(), np.percentile(jump[dealt], 99.9), np.percentile(jump[~dealt], 99.9)))
    largest, at, inside = np.array(chance).T
    low, high = np.percentile(at / inside, [2.5, 97.5])
    return {
        "join_literal": found.ratio,
        "join_literal_by_chance": float(np.median(largest / inside)),
        "join_percentile_ratio": float(np.percentile(jump[at_join], 99.9) / np.percentile(jump[~at_join], 99.9)),
        "join_percentile_chance_low": float(low),
        "join_percentile_chance_high": float(high),
    }


def _jumps(pose: np.ndarray) -> np.ndarray:
    """(T - 2,) changes of velocity, as :func:`join_jumps` measures them."""
    change = np.diff(np.asarray(pose, np.float64), 2, axis=0)
    size: np.ndarray = np.sqrt(np.square(change / np.maximum(change.std(axis=0), 1e-12)).mean(axis=1))
    return size


def style_scores(moved: MotionTrack, truth: MotionTrack, shown: MotionTrack) -> Scores:
    """Speed and its distribution beside the truth's, and how long motion rests at the ends of the range."""
    pose, true, range_of = (track.head_pose.double().numpy() for track in (moved, truth, shown))
    speed = np.diff(pose, axis=0).std(axis=0) / np.diff(true, axis=0).std(axis=0)
    middle, reach = (range_of.max(axis=0) + range_of.min(axis=0)) / 2, np.ptp(range_of, axis=0) / 2
    near = (np.abs(pose - middle) / reach > NEAR_END).mean(axis=0)
    apart = distribution_distance(pose, true, moved.fps, SMOOTH_HZ)
    return {
        "speed_ratio": float(np.exp(np.log(speed).mean())),
        "speed_ratio_least": float(speed.min()),
        "speed_ratio_most": float(speed.max()),
        "near_end_share": float(near.mean()),
        "near_end_share_most": float(near.max()),
        "frechet_velocity": apart.frechet_velocity,
        "frechet_acceleration": apart.frechet_acceleration,
        "ks_velocity": apart.ks_velocity,
        "ks_acceleration": apart.ks_acceleration,
        "spectrum_db": log_spectral_distance(pose, true, moved.fps),
    }


def stress_scores(moved: MotionTrack, stress: np.ndarray) -> Scores:
    """How motion energy goes with stress in the voice."""
    found = stress_correlation(motion_energy(moved.head_pose.numpy(), moved.fps), stress, moved.fps)
    return {"stress_correlation": found.value, "stress_lag_s": found.lag_s}
