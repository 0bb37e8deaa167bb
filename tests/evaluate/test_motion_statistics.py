from __future__ import annotations

import numpy as np
import pytest
import torch

from dfanerf_rt.clip.motion import eye_codes
from dfanerf_rt.evaluate.motion_statistics import MotionStatistics, mean_statistics, statistics_of
from dfanerf_rt.motion.track import MotionTrack


def test_statistics_of_a_swing_with_two_blinks() -> None:
    times = np.arange(1000) / 25.0
    pose = np.zeros((1000, 6))
    pose[:, 1] = np.deg2rad(10.0) * np.sin(2 * np.pi * 0.5 * times)
    pose[:, 3] = 0.02 * np.sin(2 * np.pi * 0.25 * times)
    expression = torch.zeros(1000, 52)
    for start in (300, 400):
        expression[start : start + 4, 8:10] = 1.0
    found = statistics_of(MotionTrack(torch.from_numpy(pose).float(), eye_codes(expression)))
    assert found.duration_s == 40.0
    assert (found.pitch_deg, found.yaw_deg) == pytest.approx((0.0, 10 / 2**0.5), rel=1e-3)
    assert found.yaw_deg_s == pytest.approx(10 / 2**0.5 * np.pi, rel=0.01)
    assert (found.x_mm, found.x_mm_s) == pytest.approx((20 / 2**0.5, 20 / 2**0.5 * np.pi / 2), rel=0.01)
    assert found.blinks_per_min == pytest.approx(3.0) and found.blink_interval_s == pytest.approx(4.0)
    assert 150 < found.blink_ms < 220 and found.blink_human_share == 1.0
    assert np.isnan(found.stress_correlation) and np.isnan(found.blink_interval_spread)


def test_a_mean_is_of_those_that_tell() -> None:
    one = MotionStatistics(*np.arange(1.0, 25.0))
    two = one._replace(duration_s=5.0, pitch_deg=np.nan, yaw_deg=7.0)
    mean = mean_statistics([one, two])
    assert (mean.duration_s, mean.pitch_deg, mean.yaw_deg) == (6.0, one.pitch_deg, 5.0)
    assert np.isnan(mean_statistics([one._replace(roll_deg=np.nan)]).roll_deg)
