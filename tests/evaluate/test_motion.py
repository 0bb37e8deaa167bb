from __future__ import annotations

import numpy as np
import pytest

from dfanerf_rt.errors import ShapeError
from dfanerf_rt.evaluate.motion import (
    distribution_distance,
    frechet_distance,
    ks_distance,
    log_spectral_distance,
    low_pass,
    noise_floor,
    pose_difference,
    power_spectrum,
    spectrum_slope,
)

FPS = 25.0


def _walk(seed: int, n_frames: int = 2000, width: int = 6) -> np.ndarray:
    """Motion that moves in every channel."""
    return low_pass(np.random.default_rng(seed).standard_normal((n_frames, width)), FPS, 2.0)


def test_pose_difference_by_hand() -> None:
    truth = np.zeros((5, 6))
    truth[4] = [0.1, 0.2, 0.4, 1.0, 2.0, 4.0]
    found = pose_difference(truth + np.array([0.01, 0.0, -0.04, 0.1, 0.2, 0.4]), truth)
    assert found.channels == pytest.approx((10.0, 0.0, 10.0, 10.0, 10.0, 10.0))
    assert found.d_rot == pytest.approx(20 / 3) and found.d_pos == pytest.approx(10.0)
    assert pose_difference(truth, truth).d_rot == 0.0
    twice = pose_difference(truth + 0.1, truth, span=np.full(6, 2.0))
    assert (twice.d_rot, twice.d_pos) == pytest.approx((5.0, 5.0))


def test_the_scale_of_the_translation_cancels() -> None:
    truth, generated = _walk(0), _walk(1)
    scaled = np.array([1, 1, 1, 1000.0, 1000.0, 1000.0])
    assert pose_difference(generated, truth).d_pos == pytest.approx(
        pose_difference(generated * scaled, truth * scaled).d_pos
    )


def test_frechet_distance_of_gaussians() -> None:
    # Of one dimension: (mu_a - mu_b)^2 + (sigma_a - sigma_b)^2; samples of exactly those moments.
    sample = np.array([-1.0, 1.0])[:, None]
    assert frechet_distance(sample, 3.0 + 2.0 * sample) == pytest.approx(9.0 + 1.0)
    # Of covariances that commute: the sum over axes.
    corners = np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    assert frechet_distance(corners, corners * [3.0, 1.0] + [0.0, 2.0]) == pytest.approx(4.0 + 4.0)
    # Of the same axes turned: C_a = diag(4, 1), C_b = diag(1, 4); tr = 10 - 2 * (2 + 2).
    assert frechet_distance(corners * [2.0, 1.0], corners * [1.0, 2.0]) == pytest.approx(2.0)
    assert frechet_distance(corners, corners) == pytest.approx(0.0, abs=1e-12)


def test_ks_distance_by_hand_and_as_scipy_has_it() -> None:
    assert ks_distance(np.array([1.0, 2.0, 3.0, 4.0]), np.array([3.0, 4.0, 5.0, 6.0])) == pytest.approx(0.5)
    assert ks_distance(np.arange(5.0), np.arange(5.0)) == 0.0
    stats = pytest.importorskip("scipy.stats")
    random = np.random.default_rng(0)
    a, b = random.normal(size=300), random.normal(0.2, 1.3, size=200)
    assert ks_distance(a, b) == pytest.approx(stats.ks_2samp(a, b).statistic)


def test_distribution_distance_knows_the_same_and_the_lively() -> None:
    truth = _walk(0, 20_000)
    same = distribution_distance(_walk(1, 20_000), truth, FPS)
    assert max(same.frechet_velocity, same.frechet_acceleration) < 0.02
    assert max(same.ks_velocity, same.ks_acceleration) < 0.03
    # Twice as lively: each of six channels adds (2 - 1)^2; the gap of N(0, 1) and N(0, 4) is 0.1608.
    lively = distribution_distance(2.0 * truth, truth, FPS)
    assert lively.frechet_velocity == pytest.approx(6.0, rel=1e-6)
    assert lively.ks_velocity == pytest.approx(0.161, abs=0.02)


def test_smoothing_takes_the_noise_of_a_tracker_away() -> None:
    clean = _walk(0, 5000)
    noisy = clean + 0.02 * np.random.default_rng(5).standard_normal(clean.shape)
    raw, smooth = (distribution_distance(clean, noisy, FPS, cutoff_hz) for cutoff_hz in (None, 4.0))
    assert smooth.frechet_acceleration < 0.1 * raw.frechet_acceleration


def test_the_spectrum_of_a_sine_and_of_white_noise() -> None:
    times = np.arange(5000) / FPS
    frequency, density = power_spectrum(3.0 * np.sin(2 * np.pi * 1.5 * times)[:, None], FPS)
    assert frequency[density[:, 0].argmax()] == pytest.approx(1.5, abs=0.06)
    assert density[:, 0].sum() * frequency[1] == pytest.approx(4.5, rel=0.01), "half the squared amplitude"
    white = 0.5 * np.random.default_rng(0).standard_normal((100_000, 1))
    frequency, density = power_spectrum(white, FPS)
    assert density[5:-5].mean() == pytest.approx(0.25 / 12.5, rel=0.03)


def test_the_slope_of_a_random_walk_and_the_floor_of_a_tracker() -> None:
    random = np.random.default_rng(0)
    walk = np.cumsum(random.standard_normal((50_000, 2)), axis=0)
    assert spectrum_slope(walk, FPS) == pytest.approx([-2.0, -2.0], abs=0.05)
    slow = low_pass(walk, FPS, 3.0)
    assert noise_floor(slow + 0.1 * random.standard_normal(slow.shape), FPS) == pytest.approx([0.1, 0.1], rel=0.03)
    with pytest.raises(ShapeError, match="3 or more"):
        spectrum_slope(walk[:8], FPS)


def test_log_spectral_distance_in_decibels() -> None:
    truth = _walk(0)
    assert log_spectral_distance(truth, truth, FPS) == 0.0
    assert log_spectral_distance(2.0 * truth, truth, FPS) == pytest.approx(20 * np.log10(2.0))
    assert log_spectral_distance(truth[:100], truth, FPS) > 0.0, "a short motion is compared at its own resolution"
    with pytest.raises(ShapeError, match="no frequency"):
        log_spectral_distance(truth, truth, FPS, band_hz=(20.0, 30.0))


def test_low_pass_keeps_slow_and_drops_fast() -> None:
    times = np.arange(500) / FPS
    slow, fast = (np.sin(2 * np.pi * hz * times)[:, None] for hz in (1.0, 10.0))
    assert np.abs(low_pass(slow + fast, FPS, 4.0) - slow)[25:-25].max() < 0.01


def test_what_cannot_be_compared_is_refused() -> None:
    motion = _walk(0, 100)
    still = np.zeros((100, 6))
    for call, says in (
        (lambda: pose_difference(motion[:50], motion), r"\(50, 6\) and \(100, 6\)"),
        (lambda: pose_difference(motion, still), "range"),
        (lambda: distribution_distance(motion, still, FPS), "does not move"),
        (lambda: distribution_distance(motion[:, :3], motion, FPS), "generated motion"),
        (lambda: log_spectral_distance(motion[:4], motion, FPS), "8 or more"),
        (lambda: low_pass(motion[:10], FPS, 4.0), "16 or more"),
    ):
        with pytest.raises(ShapeError, match=says):
            call()
