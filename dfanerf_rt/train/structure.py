"""What a pixel's own error cannot see: whether a small patch has the truth's edges and texture."""

from __future__ import annotations

import torch
from torch.nn.functional import conv2d

WINDOW_PX = 7
SIGMA_PX = 1.5
C1, C2 = 0.01**2, 0.03**2


def structural_loss(picture: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """One minus the structural similarity of patches (Wang et al. 2004, eq. 13), a 7x7 Gaussian window of 1.5 px.

    A blurred edge costs it much and the mean squared error little.

    Args:
        picture: (H, W, 3) in [0, 1], at least 7 px a side; differentiable.
        truth: (H, W, 3).

    Returns:
        A number: 0 where they are equal, mostly below 1.
    """
    a, b = picture.permute(2, 0, 1)[:, None], truth.permute(2, 0, 1)[:, None]
    taps = torch.exp(
        -0.5 * ((torch.arange(WINDOW_PX, dtype=a.dtype, device=a.device) - WINDOW_PX // 2) / SIGMA_PX) ** 2
    )
    window = (taps[:, None] * taps / taps.sum() ** 2)[None, None]
    mean_a, mean_b, square_a, square_b, product = conv2d(torch.cat([a, b, a * a, b * b, a * b]), window).chunk(5)
    variances = square_a - mean_a**2 + square_b - mean_b**2
    covariance = product - mean_a * mean_b
    similarity = (2 * mean_a * mean_b + C1) * (2 * covariance + C2)
    similarity = similarity / ((mean_a**2 + mean_b**2 + C1) * (variances + C2))
    loss: torch.Tensor = 1.0 - similarity.mean()
    return loss
