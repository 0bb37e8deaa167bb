"""How a person moves, beside how people move: place, range, and how much of the slow and of the quick."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

import torch
from torch import Tensor

from dfanerf_rt.errors import AvatarError
from dfanerf_rt.files import check_tensors
from dfanerf_rt.motion.soft_range import SoftRange
from dfanerf_rt.motion.track import FPS

SLOW_S = 0.8
"""What changes within less than this is quick."""
SLOW_SHARE = 1 - math.exp(-1 / (SLOW_S * FPS))
"""By which share of the way the slow part follows in each frame."""
EVEN_S = 10.0
"""Time over which a motion's spread is watched."""
LEAST_GAIN, MOST_GAIN = 0.7, 1.6
_EVEN_SHARE = 1 - math.exp(-1 / (EVEN_S * FPS))


@dataclass(frozen=True)
class Style:
    """From motion as the models know it, every channel of mean 0 and variance 1, to that of one person.

    A motion is split in two that add up to it: what a first-order low-pass filter of ``SLOW_S`` lets through, and the
    rest. Spread is for the most part that of the slow, speed that of the quick, so that both can be a person's own. All
    are (C,) in the units of the channels.
    """

    mean: Tensor
    """Of the person's motion."""
    std: Tensor
    """Standard deviation of the person's motion: the models are shown the person in units of it."""
    centre: Tensor
    """What generated motion moves about."""
    slow: Tensor
    quick: Tensor
    """What a unit of each part is worth."""
    usual: Tensor
    """Spread that both together have around a time, as :class:`Evened` sees it, on average; 0 where nothing is to be
    evened."""
    low: Tensor
    high: Tensor
    """Ends of the range that the person's recorded motion covers."""

    def soft_range(self) -> SoftRange:
        """The limit that generated motion keeps."""
        return SoftRange(torch.stack([self.low, self.high]))

    def normalise(self, motion: Tensor) -> Tensor:
        """(..., C) in units → about zero mean and unit variance."""
        return (motion - self.mean) / self.std

    def state_tensors(self, prefix: str = "") -> dict[str, Tensor]:
        """All numbers by name, each name with ``prefix`` before it."""
        return {prefix + field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], n_channels: int, where: Path, prefix: str = "") -> Style:
        """The inverse of :meth:`state_tensors`.

        Raises:
            AvatarError: names the tensor that is missing or misshapen, or a range or a spread that is none.
        """
        names = [field.name for field in fields(cls)]
        check_tensors(where, tensors, {prefix + name: (n_channels,) for name in names}, AvatarError, torch.float32)
        style = cls(**{name: tensors[prefix + name] for name in names})
        if bool((style.high < style.low).any()) or not bool((style.std > 0).all()):
            raise AvatarError(f"{where}: tensors '{prefix}low', '{prefix}high', '{prefix}std' are no range and spread")
        return style


class Evened:
    """Motion about 0 that grows restless where it has been still for seconds, and calms down where it has been lively.

    By chance alone, some minute of an hour would hold two thirds of the usual spread, or one and a half times as much.
    Each channel is multiplied by its usual spread over the one of the last seconds, within limits.

    Args:
        usual: (C,) as of :class:`Style`; channels where it is 0 are left alone.
        start: (C,) motion just before the first frame.
    """

    def __init__(self, usual: Tensor, start: Tensor) -> None:
        self._usual = usual
        self.level, self.variance = start.clone(), self._usual.square()
        """(C,) mean and variance of the last seconds."""

    def watch(self, away: Tensor) -> Tensor:
        """(C,) spread of the last seconds, the next frame (C,) among them."""
        self.level = self.level + _EVEN_SHARE * (away - self.level)
        self.variance = self.variance + _EVEN_SHARE * ((away - self.level).square() - self.variance)
        return self.variance.sqrt()

    def next(self, away: Tensor) -> Tensor:
        """The next frame (C,), evened."""
        gain = (self._usual / self.watch(away).clamp_min(1e-12)).clamp(LEAST_GAIN, MOST_GAIN)
        return torch.where(self._usual > 0, away * gain, away)


class Styled:
    """Motion as the models know it, frame by frame, as a person's.

    Args:
        style: the person's.
        start: (C,) motion in normalised units about which the stream begins.
    """

    def __init__(self, style: Style, start: Tensor) -> None:
        self._style, self._range = style, style.soft_range()
        self.slow = start
        """(C,) the slow part of the motion so far."""
        self.evened = Evened(style.usual, style.slow * start)

    def next(self, motion: Tensor, lively: float = 1.0, turned: Tensor | None = None) -> Tensor:
        """The next frame (C,) in units.

        Args:
            motion: (C,) in normalised units.
            lively: how far from the rest it may go; 0 is still.
            turned: (C,) by which the rest is elsewhere.
        """
        style = self._style
        self.slow = self.slow + SLOW_SHARE * (motion - self.slow)
        away = self.evened.next(style.slow * self.slow + style.quick * (motion - self.slow))
        placed = style.centre + lively * away
        return self._range(placed if turned is None else placed + turned)

    def state(self) -> Tensor:
        """(3, C) all that the frames to come depend on, beside the motion to come."""
        return torch.stack([self.slow, self.evened.level, self.evened.variance])

    def restore(self, state: Tensor) -> None:
        """Go on from what :meth:`state` returned."""
        self.slow, self.evened.level, self.evened.variance = state.clone().unbind()


def slow_part(motion: Tensor, start: Tensor | None = None) -> Tensor:
    """(T, C): the slow part of (T, C), frame by frame, from a slow part of ``start`` (C,) before; the first frame's own
    where it is not given."""
    slow, level = [], motion[0] if start is None else start
    for frame in motion:
        level = level + SLOW_SHARE * (frame - level)
        slow.append(level)
    return torch.stack(slow)
