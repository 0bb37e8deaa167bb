from __future__ import annotations

import math

import numpy as np
import pytest

from dfanerf_rt.errors import ShapeError
from dfanerf_rt.evaluate.image_quality import PSNR_CAP_DB, gradient_energy, psnr, ssim


def _noise(seed: int, shape: tuple[int, ...] = (40, 57, 3)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


def _near(picture: np.ndarray, sigma: float) -> np.ndarray:
    noise = np.random.default_rng(9).normal(0, sigma, picture.shape)
    return np.clip(picture + noise, 0, 255).round().astype(np.uint8)


def test_psnr_by_hand() -> None:
    black, white = np.zeros((4, 5, 3), np.uint8), np.full((4, 5, 3), 255, np.uint8)
    assert psnr(black, white) == pytest.approx(0.0, abs=1e-9)
    one_tenth = np.full((4, 5, 3), 51, np.uint8)  # 51 / 255 = 0.2, squared 0.04, -10 log10(0.04) = 13.979
    assert psnr(black, one_tenth) == pytest.approx(13.9794, abs=1e-4)
    one_value = black.copy()
    one_value[0, 0, 0] = 255  # a mean squared error of 1 / 60
    assert psnr(black, one_value) == pytest.approx(10 * math.log10(60), abs=1e-5)


def test_psnr_of_identical_pictures_is_the_cap() -> None:
    assert psnr(_noise(0), _noise(0)) == PSNR_CAP_DB
    assert ssim(_noise(0), _noise(0)) == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("sigma", [0.6, 8.0, 60.0])
def test_ssim_agrees_with_scikit_image(sigma: float) -> None:
    metrics = pytest.importorskip("skimage.metrics")
    smooth = np.linspace(0, 255, 40)[:, None, None] * np.linspace(1, 0.2, 57)[None, :, None] * np.array([1, 0.9, 0.4])
    truth = smooth.round().astype(np.uint8)
    picture = _near(truth, sigma)
    expected = metrics.structural_similarity(
        truth / 255.0,
        picture / 255.0,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        data_range=1,
        channel_axis=-1,
    )
    assert ssim(truth, picture) == pytest.approx(expected, abs=1e-9)


def test_ssim_of_flat_pictures_by_hand() -> None:
    # Without structure only the luminance term is left: (2 * 0.2 * 0.4 + c1) / (0.2^2 + 0.4^2 + c1).
    flat = [np.full((11, 11, 3), value, np.uint8) for value in (51, 102)]
    assert ssim(*flat) == pytest.approx((0.16 + 1e-4) / (0.2 + 1e-4), abs=1e-9)


def test_more_noise_is_less_alike() -> None:
    truth = _noise(1)
    pictures = [_near(truth, sigma) for sigma in (2, 8, 32)]
    assert sorted((psnr(truth, picture) for picture in pictures), reverse=True) == [psnr(truth, p) for p in pictures]
    assert sorted((ssim(truth, picture) for picture in pictures), reverse=True) == [ssim(truth, p) for p in pictures]


def test_gradient_energy_by_hand_and_of_a_blur() -> None:
    picture = np.zeros((2, 2, 3), np.uint8)
    picture[0, 0] = 255  # two neighbours differ by 1
    assert gradient_energy(picture) == pytest.approx(2.0)
    sharp = _noise(2)
    blurred = ((sharp[:-1].astype(int) + sharp[1:]) // 2).astype(np.uint8)
    assert gradient_energy(blurred) < 0.8 * gradient_energy(sharp)


def test_wrong_pictures_are_refused() -> None:
    with pytest.raises(ShapeError, match="must be equal"):
        psnr(_noise(0), _noise(0, (40, 56, 3)))
    with pytest.raises(ShapeError, match="uint8"):
        ssim(_noise(0).astype(np.float32), _noise(0))
    with pytest.raises(ShapeError, match="at least 11x11"):
        ssim(_noise(0, (10, 30, 3)), _noise(1, (10, 30, 3)))
