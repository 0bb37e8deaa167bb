"""A soft limit: motion stays inside the range that a person's training frames cover."""

from __future__ import annotations

import torch
from torch import Tensor

from dfanerf_rt.errors import ShapeError

MIDDLE = 0.6
"""Share of the range, about its centre, in which nothing is changed."""


class SoftRange:
    """Motion within the range of other motion, by a limit that is monotone, smooth, and the identity in the middle.

    From the edge of the middle on, a channel follows a hyperbolic tangent towards the end of the range: value, slope
    and curvature go on without a break, and no end is ever passed.

    Args:
        covered: (T, C) the motion whose range it is.

    Raises:
        ShapeError: another shape, or no frame.
    """

    def __init__(self, covered: Tensor) -> None:
        if covered.ndim != 2 or not len(covered):
            raise ShapeError(f"motion: found shape {tuple(covered.shape)}, expected (T, C)")
        low, high = covered.amin(dim=0), covered.amax(dim=0)
        self.centre, self.reach = (low + high) / 2, (high - low) / 2

    def __call__(self, motion: Tensor) -> Tensor:
        """Motion (..., C) within the range. A channel whose range is one value always has this value."""
        away = (motion - self.centre) / self.reach.clamp_min(1e-9)
        beyond = (away.abs() - MIDDLE).clamp_min(0)
        bent = MIDDLE + (1 - MIDDLE) * torch.tanh(beyond / (1 - MIDDLE))
        return self.centre + self.reach * torch.where(beyond > 0, away.sign() * bent, away)
