"""The soft limit: identity in the middle, never beyond the ends, monotone and smooth."""

from __future__ import annotations

import pytest
import torch

from dfanerf_rt.errors import ShapeError
from dfanerf_rt.motion.soft_range import SoftRange

COVERED = torch.tensor([[-1.0, 10.0], [3.0, 30.0], [0.0, 12.0]], dtype=torch.float64)


def test_the_middle_is_left_alone() -> None:
    inside = torch.tensor([[1.0, 20.0], [-0.2, 14.0], [2.2, 26.0]], dtype=torch.float64)  # centre, and 0.6 of the reach
    torch.testing.assert_close(SoftRange(COVERED)(inside), inside)


def test_stays_inside_however_far_it_wants_to_go() -> None:
    limited = SoftRange(COVERED)(torch.tensor([[-50.0, 1000.0], [50.0, -1000.0]], dtype=torch.float64))
    torch.testing.assert_close(limited, torch.tensor([[-1.0, 30.0], [3.0, 10.0]], dtype=torch.float64))


def test_monotone_and_smooth() -> None:
    step = 1e-3
    wanted = torch.arange(-3, 5, step, dtype=torch.float64)[:, None].expand(-1, 2)
    slope = SoftRange(COVERED)(wanted)[:, 0].diff() / step
    assert float(slope.min()) > 0 and float(slope.max()) < 1 + 1e-9
    assert float(slope.diff().abs().max()) < 5 * step  # curvature at most 4 / (3 sqrt 3) / (0.2 * 2): no kink


def test_a_channel_that_never_moved_stays() -> None:
    limited = SoftRange(torch.ones(5, 2))(torch.tensor([3.0, -3.0]))
    torch.testing.assert_close(limited, torch.ones(2))


def test_refuses() -> None:
    for shape in ((0, 6), (6,)):
        with pytest.raises(ShapeError, match="expected"):
            SoftRange(torch.zeros(shape))
