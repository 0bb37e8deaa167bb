"""How near generated head motion is to true motion: frame by frame, in distribution, and in spectrum.

Frame by frame only makes sense where the true motion can be known (reconstruction, or a short way on from a beginning);
motion that is sampled is judged by its distributions. All arrays are (T, D) float, one row a frame; a head pose has
D = 6: rotation vector, then translation. Nothing depends on the unit of a channel: each is measured in the true
channel's range, spread or power.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dfanerf_rt.errors import ShapeError

ROTATION, TRANSLATION = slice(0, 3), slice(3, 6)
SPECTRUM_HZ = (0.2, 6.0)
"""Band in which spectra are compared: below, a minute of motion holds too few periods; above, trackers see noise."""
SLOPE_HZ = (0.3, 3.0)
"""Band over which the spectrum of a moving head falls as a power law."""
NOISE_HZ = 10.0
SEGMENT_S = 10.24


@dataclass(frozen=True)
class PoseDifference:
    """How far a generated head pose is from the true one, in percent of the true range; 0 is the same."""

    d_rot: float
    """D-Rot: mean of the three channels of rotation."""
    d_pos: float
    """D-Pos: mean of the three channels of translation."""
    channels: tuple[float, ...]
    """Of each of the six channels."""


def pose_difference(generated: np.ndarray, truth: np.ndarray, span: np.ndarray | None = None) -> PoseDifference:
    """D-Rot and D-Pos.

    Yao et al. 2022 (tables 3 and 4) follow MakeItTalk (Zhou et al. 2020) and print percentages without a formula. Ours:
    for each channel c the mean over frames of |generated - true|, divided by the true channel's range (largest minus
    smallest value), times 100; D-Rot is the mean over the three components of the rotation vector, D-Pos over those of
    the translation. An unknown scale of the translation cancels.

    Args:
        generated: (T, 6).
        truth: (T, 6), the same frames.
        span: (6,) the range to divide by; that of ``truth`` where not given. A few seconds of truth cover little of a
            person's range, so comparisons of different lengths need one span for all.

    Raises:
        ShapeError: shapes differ or are not (T, 6), or a true channel does not move.
    """
    generated, truth = _pair(generated, truth, 6)
    span = np.ptp(truth, axis=0) if span is None else np.asarray(span, np.float64)
    if span.shape != (6,) or not (span > 0).all():
        raise ShapeError(f"the range of the true head pose is {span.tolist()}, expected 6 positive numbers")
    each = 100.0 * np.abs(generated - truth).mean(axis=0) / span
    return PoseDifference(float(each[ROTATION].mean()), float(each[TRANSLATION].mean()), tuple(each.tolist()))


@dataclass(frozen=True)
class DistributionDistance:
    """Distances between distributions over frames; 0 is the same."""

    frechet_velocity: float
    frechet_acceleration: float
    """Squared Fréchet distance of Gaussians, see :func:`frechet_distance`, channels in units of the true spread."""
    ks_velocity: float
    ks_acceleration: float
    """Kolmogorov-Smirnov distance in [0, 1], mean over channels."""


def distribution_distance(
    generated: np.ndarray, truth: np.ndarray, fps: float, cutoff_hz: float | None = None
) -> DistributionDistance:
    """Distances between the velocities and between the accelerations of two motions, which need not be as long.

    Args:
        generated: (T, D).
        truth: (S, D).
        cutoff_hz: smooth both first (:func:`low_pass`): half of what looks like acceleration in a tracked head is the
            noise of the tracker, which a generator need not imitate.

    Raises:
        ShapeError: other shapes, fewer than 8 frames, or a true channel that does not move.
    """
    generated, truth = _two(generated, truth)
    if cutoff_hz is not None:
        generated, truth = low_pass(generated, fps, cutoff_hz), low_pass(truth, fps, cutoff_hz)
    frechet, kolmogorov = [], []
    for order in (1, 2):
        # fps cancels: both are in units of the true spread.
        ours, true = np.diff(generated, order, axis=0), np.diff(truth, order, axis=0)
        spread = true.std(axis=0)
        if not (spread > 0).all():
            raise ShapeError("a channel of the true motion does not move; nothing can be compared with it")
        frechet.append(frechet_distance(ours / spread, true / spread))
        kolmogorov.append(float(np.mean([ks_distance(a, b) for a, b in zip(ours.T, true.T, strict=True)])))
    return DistributionDistance(frechet[0], frechet[1], kolmogorov[0], kolmogorov[1])


def frechet_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Squared Fréchet (Wasserstein-2) distance of the Gaussians with the mean and covariance of two samples.

    |mu_a - mu_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^(1/2)), as in FID (Heusel et al. 2017), of the rows themselves.

    Args:
        a: (N, D).
        b: (M, D).
    """
    mean = a.mean(axis=0) - b.mean(axis=0)
    cov_a, cov_b = (np.atleast_2d(np.cov(x, rowvar=False, bias=True)) for x in (a, b))
    # The root's trace is that of the symmetric C_a^(1/2) C_b C_a^(1/2), whose eigenvalues are real.
    value, vector = np.linalg.eigh(cov_a)
    root = (vector * np.sqrt(np.maximum(value, 0.0))) @ vector.T
    cross = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ cov_b @ root), 0.0)).sum()
    return max(float(mean @ mean + np.trace(cov_a) + np.trace(cov_b) - 2.0 * cross), 0.0)


def ks_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Kolmogorov-Smirnov distance of samples (N,) and (M,): the largest gap between their distribution functions."""
    a, b = np.sort(a), np.sort(b)
    at = np.concatenate([a, b])
    gap = np.searchsorted(a, at, "right") / len(a) - np.searchsorted(b, at, "right") / len(b)
    return float(np.abs(gap).max())


def power_spectrum(motion: np.ndarray, fps: float, segment_s: float = SEGMENT_S) -> tuple[np.ndarray, np.ndarray]:
    """Power spectral density by Welch's method: segments that overlap by half, Hann window, mean removed.

    Args:
        motion: (T, D); a motion shorter than a segment is one segment.
        segment_s: length of a segment; its inverse is the resolution.

    Returns:
        Frequencies (F,) in Hz, and density (F, D) in the channel's unit squared per Hz.
    """
    from scipy.signal import welch

    frequency, density = welch(motion, fps, nperseg=min(round(segment_s * fps), len(motion)), axis=0)
    return frequency, density


def log_spectral_distance(
    generated: np.ndarray, truth: np.ndarray, fps: float, band_hz: tuple[float, float] = SPECTRUM_HZ
) -> float:
    """Root mean square difference of two power spectra in dB over a band, mean over channels; 0 is the same.

    A motion twice as large everywhere is 6.02 dB away. Two stretches of the same motion differ too, by the chance of
    what is in them: compare with the distance between two parts of the truth.

    Raises:
        ShapeError: other shapes, fewer than 8 frames, or a band that the shorter motion does not resolve.
    """
    generated, truth = _two(generated, truth)
    shortest_s = min(len(generated) / fps, len(truth) / fps, SEGMENT_S)
    frequency, ours = power_spectrum(generated, fps, shortest_s)
    _, true = power_spectrum(truth, fps, shortest_s)
    inside = (frequency >= band_hz[0]) & (frequency <= band_hz[1])
    if not inside.any():
        raise ShapeError(f"{shortest_s:g} s have no frequency between {band_hz[0]:g} and {band_hz[1]:g} Hz")
    tiny = np.finfo(np.float64).tiny
    decibels = [10.0 * np.log10(np.maximum(density[inside], tiny)) for density in (ours, true)]
    return float(np.sqrt(np.square(decibels[0] - decibels[1]).mean(axis=0)).mean())


def spectrum_slope(motion: np.ndarray, fps: float, band_hz: tuple[float, float] = SLOPE_HZ) -> np.ndarray:
    """(D,) exponents b of the power laws f^b that fit the spectra of motion (T, D) over a band; -2 is a random walk.

    Raises:
        ShapeError: too short to have three frequencies in the band.
    """
    frequency, density = power_spectrum(motion, fps)
    inside = (frequency >= band_hz[0]) & (frequency <= band_hz[1])
    if inside.sum() < 3:
        raise ShapeError(f"{len(motion)} frames have {inside.sum()} frequencies in the band, expected 3 or more")
    slope: np.ndarray = np.polyfit(np.log(frequency[inside]), np.log(np.maximum(density[inside], 1e-30)), 1)[0]
    return slope


def noise_floor(motion: np.ndarray, fps: float, above_hz: float = NOISE_HZ) -> np.ndarray:
    """(D,) standard deviation of the white noise in motion (T, D), if all that is faster than ``above_hz`` is noise.

    The median spectral density there, over all frequencies; heads hardly move so fast, trackers tremble.
    """
    frequency, density = power_spectrum(motion, fps)
    floor: np.ndarray = np.sqrt(np.median(density[frequency >= above_hz], axis=0) * fps / 2)
    return floor


def low_pass(motion: np.ndarray, fps: float, cutoff_hz: float) -> np.ndarray:
    """Motion (T, D) without what is faster than ``cutoff_hz``; no delay (Butterworth, fourth order, both ways).

    Raises:
        ShapeError: fewer than 16 frames.
    """
    from scipy.signal import butter, sosfiltfilt

    if len(motion) < 16:
        raise ShapeError(f"{len(motion)} frames are too few to be smoothed, expected 16 or more")
    smooth: np.ndarray = sosfiltfilt(butter(4, cutoff_hz, fs=fps, output="sos"), motion, axis=0, padlen=15)
    return smooth


def _two(generated: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both as float64 (T, D) and (S, D)."""
    generated, truth = np.asarray(generated, np.float64), np.asarray(truth, np.float64)
    for name, motion in (("generated", generated), ("true", truth)):
        if motion.ndim != 2 or len(motion) < 8 or motion.shape[1:] != truth.shape[1:]:
            raise ShapeError(f"the {name} motion has shape {motion.shape}, expected (8 or more, D) as the other has")
    return generated, truth


def _pair(generated: np.ndarray, truth: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Both as float64, of one shape (T, width)."""
    generated, truth = np.asarray(generated, np.float64), np.asarray(truth, np.float64)
    if generated.shape != truth.shape or truth.ndim != 2 or truth.shape[1] != width or not len(truth):
        raise ShapeError(f"motions have shapes {generated.shape} and {truth.shape}, expected (T, {width}) both")
    return generated, truth
