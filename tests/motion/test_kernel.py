"""The Cauchy kernel against its formula."""

from __future__ import annotations

import pytest
import torch

from dfanerf_rt.motion.kernel import CauchyKernel, cholesky, covariance, multi_scale


def test_values_by_hand() -> None:
    kernel = CauchyKernel(length_frames=2.0, variance=3.0, jitter=0.01)
    times = torch.tensor([0.0, 2.0, 4.0], dtype=torch.float64)
    # 3 / (1 + (0, 1, 2)^2), and the jitter where the times are the same
    found = kernel(times[:1], times)
    torch.testing.assert_close(found, torch.tensor([[3.01, 1.5, 0.6]], dtype=torch.float64))
    assert kernel(times + 0.5, times).diagonal().allclose(torch.tensor(3.0 / (1 + 1 / 16), dtype=torch.float64))


def test_length_zero_is_the_limit_of_short_lengths() -> None:
    times = torch.arange(5, dtype=torch.float64)
    white = CauchyKernel(0.0)(times, times)
    torch.testing.assert_close(white, 1.001 * torch.eye(5, dtype=torch.float64))
    torch.testing.assert_close(CauchyKernel(1e-6)(times, times), white)


def test_positive_definite_by_its_spectrum() -> None:
    """The kernel is the Fourier transform of (l / 2) exp(-l |w|), which is positive: eq. 7 is a covariance."""
    kernel, w = CauchyKernel(3.0, jitter=0.0), torch.linspace(-12, 12, 200_001, dtype=torch.float64)
    spectrum = 1.5 * torch.exp(-3.0 * w.abs())
    for distance in (0.0, 1.0, 4.5):
        at = kernel(torch.tensor([distance], dtype=torch.float64), torch.zeros(1, dtype=torch.float64))
        assert torch.trapezoid(spectrum * torch.cos(w * distance), w) == pytest.approx(float(at), abs=1e-6)
    times = torch.arange(40, dtype=torch.float64)
    assert torch.linalg.eigvalsh(CauchyKernel(8.0)(times, times)).min() >= 1e-3


def test_scales_halve_group_by_group() -> None:
    assert [kernel.length_frames for kernel in multi_scale(16.0, 3, 7)] == [16, 16, 16, 8, 8, 4, 4]
    assert {kernel.jitter for kernel in multi_scale(16.0, 2, 4, jitter=0.1)} == {0.1}
    with pytest.raises(ValueError, match="5 length scales for 4 latent dimensions"):
        multi_scale(16.0, 5, 4)


def test_factors_and_their_inverses() -> None:
    kernels = multi_scale(32.0, 2, 3, jitter=1e-4)
    times = torch.arange(50, dtype=torch.float64)
    expected = covariance(kernels, times, times)
    factor, inverse = cholesky(kernels, 50, torch.float64)
    assert factor.shape == (3, 50, 50) and torch.equal(factor, factor.tril())
    torch.testing.assert_close(factor @ factor.mT, expected, atol=1e-12, rtol=0)
    torch.testing.assert_close(inverse.mT @ inverse, torch.linalg.inv(expected), atol=1e-6, rtol=1e-6)
    assert cholesky(kernels, 50)[0].dtype == torch.float32


@pytest.mark.parametrize(
    "settings", [{"length_frames": -1.0}, {"length_frames": 1.0, "variance": 0.0}, {"length_frames": float("nan")}]
)
def test_what_is_no_kernel(settings: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="expected a length and a jitter of 0 or more"):
        CauchyKernel(**settings)
