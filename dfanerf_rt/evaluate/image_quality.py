"""How near one picture is to another: PSNR, SSIM, and the energy of the gradient as a measure of sharpness."""

from __future__ import annotations

import math

import numpy as np

from dfanerf_rt.errors import ShapeError

PSNR_CAP_DB = 100.0
"""PSNR of identical pictures, which has no finite value (8-bit pictures that differ stay below it unless tiny)."""

SSIM_SIGMA_PX = 1.5
SSIM_RADIUS_PX = 5
LUMA_WEIGHTS = (0.299, 0.587, 0.114)
"""ITU-R BT.601 luma."""


def psnr(truth: np.ndarray, picture: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB, 10 log10(1 / mean squared error), over all pixels and channels.

    Args:
        truth, picture: (H, W, 3) uint8, compared on [0, 1].

    Returns:
        dB, at most :data:`PSNR_CAP_DB`, which identical pictures get.

    Raises:
        ShapeError: the pictures differ in shape or dtype.
    """
    a, b = _unit(truth, picture)
    error = float(np.square(a - b).mean())
    return PSNR_CAP_DB if error <= 10 ** (-PSNR_CAP_DB / 10) else -10.0 * math.log10(error)


def ssim(truth: np.ndarray, picture: np.ndarray) -> float:
    """Structural similarity, the mean over the picture and its channels (Wang et al. 2004, eq. 13).

    The window is the paper's: an 11x11 Gaussian of sigma 1.5 px, K1 = 0.01, K2 = 0.03; only windows that lie
    fully inside the picture count. Agrees with scikit-image's ``structural_similarity`` with
    ``gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=1``.

    Args:
        truth, picture: (H, W, 3) uint8, both sides at least 11 px.

    Raises:
        ShapeError: the pictures differ in shape or dtype, or are smaller than the window.
    """
    a, b = (array.transpose(2, 0, 1) for array in _unit(truth, picture))
    if min(a.shape[1:]) <= 2 * SSIM_RADIUS_PX:
        raise ShapeError(f"ssim needs pictures of at least 11x11 pixels, got {a.shape[2]}x{a.shape[1]}")
    mean_a, mean_b, square_a, square_b, product = _blur(np.stack([a, b, a * a, b * b, a * b]))
    variances = square_a - mean_a**2 + square_b - mean_b**2
    covariance = product - mean_a * mean_b
    c1, c2 = 0.01**2, 0.03**2
    similarity = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    similarity = similarity / ((mean_a**2 + mean_b**2 + c1) * (variances + c2))
    return float(similarity.mean())


def gradient_energy(picture: np.ndarray) -> float:
    """Sum of the squared differences between neighbouring pixels of the luma, on [0, 1].

    Divided by the truth's it says how sharp a render is: below 1 it is blurred, above 1 it is noisy.

    Args:
        picture: (H, W, 3) uint8.
    """
    luma = picture.astype(np.float64) @ np.array(LUMA_WEIGHTS) / 255.0
    return float(np.square(np.diff(luma, axis=0)).sum() + np.square(np.diff(luma, axis=1)).sum())


def _unit(truth: np.ndarray, picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both pictures as (H, W, 3) float64 on [0, 1]; a variance is a small difference of large numbers."""
    for name, array in (("truth", truth), ("picture", picture)):
        if array.ndim != 3 or array.shape[2] != 3 or array.dtype != np.uint8:
            raise ShapeError(f"{name} has shape {array.shape} and dtype {array.dtype}, expected (H, W, 3) uint8")
    if truth.shape != picture.shape:
        raise ShapeError(f"picture has shape {picture.shape}, truth has {truth.shape}; they must be equal")
    return truth / 255.0, picture / 255.0


def _blur(stack: np.ndarray) -> np.ndarray:
    """Gaussian-blur the last two axes of (N, C, H, W), keeping only full windows."""
    taps = np.exp(-0.5 * (np.arange(-SSIM_RADIUS_PX, SSIM_RADIUS_PX + 1) / SSIM_SIGMA_PX) ** 2)
    taps /= taps.sum()
    for _ in range(2):
        # Blur the rows, then swap the axes: the columns come in the second turn, and the order is restored.
        extent = stack.shape[2] - 2 * SSIM_RADIUS_PX
        blurred = taps[0] * stack[:, :, :extent]
        for i in range(1, len(taps)):
            blurred += taps[i] * stack[:, :, i : i + extent]
        stack = np.ascontiguousarray(blurred.swapaxes(2, 3))
    return stack
