"""The Cauchy kernel: how alike a latent path is at two times (paper eq. 7)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor


@dataclass(frozen=True)
class CauchyKernel:
    """k(t, t') = variance / (1 + ((t - t') / length)^2), and the jitter where t = t' (paper eq. 7).

    It falls off with the square of the distance, far slower than a Gaussian: what the head does now has something to
    do with where it was many lengths ago, as a pose has. The jitter belongs to the process, a little white noise in
    every path, so that a covariance of any number of frames has a Cholesky factor.
    """

    length_frames: float
    """Distance in frames at which the covariance is half the variance; 0 for the limit in which frames are
    independent."""
    variance: float = 1.0
    jitter: float = 1e-3

    def __post_init__(self) -> None:
        usable = self.length_frames >= 0 and self.variance > 0 and self.jitter >= 0
        if not usable or not math.isfinite(self.length_frames + self.variance + self.jitter):
            raise ValueError(
                f"Cauchy kernel of length {self.length_frames} frames, variance {self.variance}, jitter {self.jitter}: "
                "expected a length and a jitter of 0 or more, and a variance above 0"
            )

    def __call__(self, times: Tensor, others: Tensor) -> Tensor:
        """Covariance of the path at two sets of times.

        Args:
            times: (T,) frames; they need not be whole.
            others: (S,) frames.

        Returns:
            (T, S) in the dtype of ``times``; a covariance matrix, jitter included, where both are the same times.
        """
        distance = times[:, None] - others[None, :]
        same = (distance == 0).to(times.dtype)
        if self.length_frames == 0:
            return (self.variance + self.jitter) * same
        return self.variance / (1 + (distance / self.length_frames) ** 2) + self.jitter * same


def multi_scale(length_frames: float, n_scales: int, latent_dim: int, jitter: float = 1e-3) -> tuple[CauchyKernel, ...]:
    """A kernel for each latent dimension: ``n_scales`` groups of equal size, of length l, l / 2, l / 4 and so on.

    Slow dimensions carry posture, fast ones nods and blinks. The variance is 1: a decoder scales its input itself.
    Source: Fortuin et al. 2020.

    Raises:
        ValueError: there is not a dimension for each scale.
    """
    if not 1 <= n_scales <= latent_dim:
        raise ValueError(f"{n_scales} length scales for {latent_dim} latent dimensions, expected 1 to {latent_dim}")
    scales = [dimension * n_scales // latent_dim for dimension in range(latent_dim)]
    return tuple(CauchyKernel(length_frames / 2**scale, jitter=jitter) for scale in scales)


def covariance(kernels: Sequence[CauchyKernel], times: Tensor, others: Tensor) -> Tensor:
    """One matrix for each kernel: (T,) and (S,) frames → (L, T, S)."""
    different = {kernel: kernel(times, others) for kernel in dict.fromkeys(kernels)}
    return torch.stack([different[kernel] for kernel in kernels])


@lru_cache(maxsize=64)
def cholesky(
    kernels: tuple[CauchyKernel, ...], n_frames: int, dtype: torch.dtype = torch.float32
) -> tuple[Tensor, Tensor]:
    """Lower Cholesky factors (L, T, T) of the covariance of ``n_frames`` consecutive frames, and their inverses.

    They are computed in float64, whatever ``dtype`` is, and kept: a path of a given length always has the same.
    """
    times = torch.arange(n_frames, dtype=torch.float64)
    different = list(dict.fromkeys(kernels))
    factor = torch.linalg.cholesky(covariance(different, times, times))
    identity = torch.eye(n_frames, dtype=torch.float64).expand_as(factor)
    inverse = torch.linalg.solve_triangular(factor, identity, upper=False)
    row = torch.tensor([different.index(kernel) for kernel in kernels])
    return factor[row].to(dtype), inverse[row].to(dtype)
