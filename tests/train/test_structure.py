"""The structural loss over a patch: by hand, against an independent implementation, and what it is for."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dfanerf_rt.train.structure import structural_loss


def noise(seed: int) -> torch.Tensor:
    return torch.rand(20, 24, 3, generator=torch.Generator().manual_seed(seed))


def test_none_for_equal_pictures_and_one_half_by_hand() -> None:
    assert float(structural_loss(noise(0), noise(0))) == pytest.approx(0.0, abs=1e-5)
    # Flat pictures of 0 and 1: means 0 and 1, no variance, so the similarity is C1 / (1 + C1).
    assert float(structural_loss(torch.zeros(7, 7, 3), torch.ones(7, 7, 3))) == pytest.approx(
        1 - 1e-4 / 1.0001, abs=1e-6
    )


def test_agrees_with_scikit_image() -> None:
    metrics = pytest.importorskip("skimage.metrics")
    a, b = noise(1).numpy().astype(np.float64), noise(2).numpy().astype(np.float64)
    _, full = metrics.structural_similarity(
        a, b, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=1.0,
        channel_axis=2, full=True,
    )  # fmt: skip
    # its window has 11 taps; the outer four of a direction weigh 1 % together
    expected = 1.0 - full[3:-3, 3:-3].mean()
    assert float(structural_loss(torch.from_numpy(a), torch.from_numpy(b))) == pytest.approx(expected, abs=2e-3)


def test_lost_texture_costs_more_than_a_wrong_level_of_the_same_squared_error() -> None:
    texture = 0.3 + 0.4 * noise(3)
    smooth = texture.mean((0, 1), keepdim=True).expand_as(texture)
    level = texture + float((smooth - texture).square().mean().sqrt())
    assert float(structural_loss(smooth, texture)) > 5.0 * float(structural_loss(level, texture))
