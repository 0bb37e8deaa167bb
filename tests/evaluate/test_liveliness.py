from __future__ import annotations

import numpy as np
import pytest

from dfanerf_rt.errors import ShapeError
from dfanerf_rt.evaluate.liveliness import (
    diversity,
    drift,
    join_jumps,
    motion_energy,
    spread_by_minute,
    stress_correlation,
)

FPS = 25.0
MINUTE = 1500


def test_a_minute_that_freezes_is_seen() -> None:
    random = np.random.default_rng(0)
    truth = random.standard_normal((3 * MINUTE, 2)) * [1.0, 5.0]
    motion = random.standard_normal((3 * MINUTE + 700, 2)) * [1.0, 5.0]
    motion[MINUTE : 2 * MINUTE] *= [0.1, 1.0]
    spread = spread_by_minute(motion, FPS, truth)
    assert spread.shape == (3, 2)
    assert np.allclose(spread, [[1, 1], [0.1, 1], [1, 1]], atol=0.08)
    # A truth of less than a minute counts as it is.
    assert spread_by_minute(truth, FPS, truth[:200])[:, 0].mean() == pytest.approx(1.0, abs=0.1)


def test_drift_by_hand() -> None:
    truth = np.array([[0.0, 0.0], [10.0, 1.0]])
    inside = drift(np.array([[12.0, 0.5], [-2.0, 1.2]]), truth)
    assert inside.outside_share == 0.0 and inside.largest_excess == pytest.approx(0.2)
    outside = drift(np.array([[13.0, 0.5], [5.0, 0.5]]), truth)
    assert outside.outside_share == 0.25 and outside.largest_excess == pytest.approx(0.3)
    assert drift(truth / 2, truth).largest_excess == 0.0


def test_diversity_of_replays_and_of_independent_seeds() -> None:
    random = np.random.default_rng(0)
    truth = 3.0 * random.standard_normal((4000, 2))
    assert diversity(np.stack([truth, truth]), truth) == 0.0
    assert diversity(3.0 * random.standard_normal((4, 4000, 2)), truth) == pytest.approx(1.0, abs=0.03)
    assert diversity(np.stack([0 * truth, 0 * truth + 3.0 * 2**0.5]), truth) == pytest.approx(1.0, abs=0.03)


def test_a_jump_at_a_join_is_seen_and_a_smooth_join_is_not() -> None:
    motion = np.cumsum(np.cumsum(np.random.default_rng(0).standard_normal((3000, 3)), axis=0), axis=0)
    joins = np.arange(50, 3000, 50)
    assert join_jumps(motion, joins).ratio < 1.2
    broken = motion.copy()
    broken[1000:] += 20.0
    found = join_jumps(broken, joins)
    # The step of 20 in every channel at frame 1000 changes velocity by 20 before and -20 after it.
    assert found.largest_at_joins == pytest.approx(20.0, rel=0.15) and found.ratio > 5.0
    assert join_jumps(broken, joins + 3).largest_at_joins < 5.0, "it is not at a join there"


def test_energy_of_a_steady_turn_is_its_speed() -> None:
    pose = np.zeros((100, 6))
    pose[:, 1] = np.deg2rad(10.0) * np.arange(100) / FPS
    assert motion_energy(pose, FPS) == pytest.approx(10.0)
    assert motion_energy(np.ones((50, 6)), FPS) == pytest.approx(0.0)
    swing = np.zeros((500, 3))
    swing[:, 0] = np.deg2rad(2.0) * np.sin(2 * np.pi * 2.5 * np.arange(500) / FPS)
    # Over one period of w = 2 pi 2.5 / s: 2 w / sqrt(2), times sin(w / 25) / (w / 25) for a difference over two frames.
    turn = 2 * np.pi * 2.5 / FPS
    expected = 2 * FPS * np.sin(turn) / 2**0.5
    assert motion_energy(swing, FPS)[20:-20].mean() == pytest.approx(expected, rel=0.03)


def test_motion_that_follows_stress_is_found_with_its_lag() -> None:
    random = np.random.default_rng(0)
    stress = np.maximum(random.standard_normal(5000), 0.0)
    energy = np.roll(stress, 5) + 0.75**0.5 * stress.std() * random.standard_normal(5000)
    found = stress_correlation(energy, stress, FPS)
    assert found.lag_s == pytest.approx(0.2)
    assert found.value == pytest.approx(1 / 1.75**0.5, abs=0.03)
    assert stress_correlation(random.standard_normal(5000), stress, FPS).value < 0.06


def test_what_cannot_be_judged_is_refused() -> None:
    motion, still = np.random.default_rng(0).standard_normal((2000, 6)), np.zeros((2000, 6))
    for call, says in (
        (lambda: spread_by_minute(motion[:1000], FPS, motion), "1500 or more"),
        (lambda: spread_by_minute(motion, FPS, still), "moving"),
        (lambda: drift(motion[:, :3], motion), "expected"),
        (lambda: drift(motion, still), "expected"),
        (lambda: diversity(motion[None], motion), "2 or more"),
        (lambda: join_jumps(motion, np.array([0])), "joins"),
        (lambda: join_jumps(motion[:4], np.array([1, 2, 3])), "leave nothing"),
        (lambda: stress_correlation(motion[:20, 0], motion[:20, 0], FPS), "or more"),
        (lambda: stress_correlation(motion[:, 0], motion[1:, 0], FPS), "both"),
    ):
        with pytest.raises(ShapeError, match=says):
            call()
