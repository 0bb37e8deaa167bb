"""Blinks: events in time, laid over eyes that a Gaussian path moves.

A path of a Gaussian process has no events, and a rate is counted, not normalised away. So blinks are a renewal process:
log-normal intervals on a clock of their own, which what is heard hurries (people blink at the ends of phrases, less
while they speak), and a lid that closes, rests, and opens more slowly.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dfanerf_rt.errors import AvatarError, ShapeError
from dfanerf_rt.files import check_tensors, from_json_object
from dfanerf_rt.motion.noise import frame_noise, mixed
from dfanerf_rt.motion.track import FPS

CLOSING_SHARE = 0.32
"""Of the lids' movement, before they rest closed: they open more slowly than they close."""
CLOSED_S = 0.045
"""How long the lids rest closed, more than a frame at 25 fps, so that every blink has a frame in which they are."""
SHORTEST_S, LONGEST_S = 0.15, 0.42
"""Of the lids' movement; its part below 0.8 of open is a little shorter, and so 100 to 400 ms."""
OPEN_S = 0.1
"""Between two blinks the eyes are open for two frames at least."""


def lid_closure(elapsed_s: Tensor, takes_s: Tensor | float) -> Tensor:
    """How far the lids are closed, 0 to 1, so long after a blink of that length began; before and after it 0."""
    closing_s = CLOSING_SHARE * (takes_s - CLOSED_S)
    opening_s = takes_s - CLOSED_S - closing_s
    return _ease(elapsed_s / closing_s) * _ease((takes_s - elapsed_s) / opening_s)


def movement_s(below_s: float) -> float:
    """Length of the lids' movement of a blink that is below 0.8 of open for so long (inverse of its share)."""
    until = 0.2871  # where 3 u^2 - 2 u^3 = 0.2
    return (below_s - until * CLOSED_S) / (1 - until)


@dataclass(frozen=True)
class BlinkRhythm:
    """When and how long a person blinks."""

    per_s: float
    """Mean rate."""
    spread: float
    """Standard deviation of the logarithm of the intervals: 0 is a clock; a Poisson process would be near 1.28."""
    duration_s: float
    """Median length of the lids' movement."""
    duration_spread: float = 0.2
    """Standard deviation of the logarithm of the lengths."""

    def __post_init__(self) -> None:
        usable = self.per_s > 0 and self.duration_s > 0 and self.spread >= 0 and self.duration_spread >= 0
        if not usable or not all(math.isfinite(value) for value in asdict(self).values()):
            raise ValueError(f"{self}: expected a rate and a duration above 0, and spreads of 0 or more")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], where: Path = Path("avatar")) -> BlinkRhythm:
        """The inverse of ``dataclasses.asdict``.

        Raises:
            AvatarError: a key is unknown or missing, or a value unusable.
        """
        try:
            return from_json_object(cls, values, f"{where}: rhythm of the blinks", AvatarError)
        except ValueError as fault:
            raise AvatarError(f"{where}: damaged rhythm of the blinks ({fault})") from fault


@dataclass(frozen=True)
class BlinkClockConfig:
    """Sizes of :class:`BlinkClock`."""

    sound_dim: int = 32
    window_frames: int = 16
    """Audio codes up to a frame's own that its hurry depends on."""
    hidden: int = 16

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if value < 1:
                raise ValueError(f"{name} is {value}, expected 1 or more")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], where: Path = Path("avatar")) -> BlinkClockConfig:
        """The inverse of ``dataclasses.asdict``; raises :class:`AvatarError` where a key or a value is unusable."""
        try:
            return from_json_object(cls, values, f"{where}: settings of the blinks' clock", AvatarError)
        except ValueError as fault:
            raise AvatarError(f"{where}: damaged settings of the blinks' clock ({fault})") from fault


class BlinkClock(nn.Module):
    """How fast the blinks' clock runs with what is heard: 1 on average over speech, more where blinks are likelier."""

    def __init__(self, config: BlinkClockConfig | None = None) -> None:
        super().__init__()
        self.config = config or BlinkClockConfig()
        n_in = self.config.sound_dim * self.config.window_frames
        self.network = nn.Sequential(nn.Linear(n_in, self.config.hidden), nn.SiLU(), nn.Linear(self.config.hidden, 1))

    def forward(self, windows: Tensor) -> Tensor:
        """(..., window_frames, sound_dim), the newest code last → logarithm of the hurry (...)."""
        expected = (self.config.window_frames, self.config.sound_dim)
        if tuple(windows.shape[-2:]) != expected:
            raise ShapeError(f"window of audio codes: found shape {tuple(windows.shape)}, expected (..., {expected})")
        return self.network(windows.flatten(-2))[..., 0].clamp(-3.0, 3.0)

    @classmethod
    def from_tensors(
        cls, tensors: Mapping[str, Tensor], config: BlinkClockConfig, where: Path = Path("avatar")
    ) -> BlinkClock:
        """A trained clock, ready to use; raises :class:`AvatarError` where a tensor is missing or misshapen."""
        clock = cls(config)
        expected = {name: tuple(tensor.shape) for name, tensor in clock.state_dict().items()}
        check_tensors(where, tensors, expected, AvatarError)
        clock.load_state_dict({name: tensors[name] for name in expected})
        return clock.eval().requires_grad_(False)


class BlinkStream:
    """Closure of the lids, frame by frame, without end.

    All chance comes from the seed and the number of the blink, so that chunks of sound change nothing.

    Args:
        rhythm: the person's.
        seed: of all chance.
    """

    def __init__(self, rhythm: BlinkRhythm, seed: int) -> None:
        self.rhythm, self.seed = rhythm, seed
        self.frame = self.number = 0
        """Of the next frame, and of the next blink."""
        self._clock_s = 0.0
        self._start_s, self._takes_s = -10.0, SHORTEST_S
        # The first interval began somewhere before the first frame.
        self._due_s = (mixed(seed, -1) / 2**32) * self._interval_s(1.0)

    def next(self, hurry: float, temperature: float = 1.0) -> float:
        """Closure, 0 open to 1 closed, in the middle of the next frame's exposure.

        Args:
            hurry: how fast the clock runs, 1 as usual.
            temperature: 1 as irregular as people are; at 0 every interval is the same.
        """
        now_s = (self.frame + 0.5) / FPS
        self.frame += 1
        before_s = self._clock_s
        self._clock_s += hurry / FPS
        if self._clock_s >= self._due_s:
            late = (self._clock_s - self._due_s) / max(self._clock_s - before_s, 1e-9)
            start_s = now_s - min(late, 1.0) / FPS
            self._start_s = max(start_s, self._start_s + self._takes_s + OPEN_S)
            spread = temperature * self.rhythm.duration_spread
            length = self.rhythm.duration_s * math.exp(spread * self._chance(1))
            self._takes_s = min(max(length, SHORTEST_S), LONGEST_S)
            self.number += 1
            self._due_s += self._interval_s(temperature)
        elapsed_s = now_s - self._start_s
        return float(lid_closure(torch.tensor(elapsed_s), self._takes_s)) if elapsed_s < self._takes_s else 0.0

    def state(self) -> dict[str, float]:
        """All that the frames to come depend on, beside the rhythm."""
        return {name: getattr(self, name) for name in self._STATE}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what :meth:`state` returned.

        Raises:
            ShapeError: something is missing or no finite number; the stream stays as it was.
        """
        values = {}
        for name in self._STATE:
            value = state.get(name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                raise ShapeError(f"state of blinks: '{name}' is {value!r}, expected a number")
            values[name] = int(value) if name in ("frame", "number", "seed") else float(value)
        self.__dict__.update(values)

    _STATE = ("seed", "frame", "number", "_clock_s", "_start_s", "_takes_s", "_due_s")

    def _interval_s(self, temperature: float) -> float:
        """Log-normal, of the mean that the rate asks for whatever its spread."""
        spread = temperature * self.rhythm.spread
        return math.exp(spread * self._chance(0) - 0.5 * spread**2) / self.rhythm.per_s

    def _chance(self, which: int) -> float:
        return float(frame_noise(self.seed, torch.tensor([self.number]), 2)[which, 0])


def _ease(share: Tensor) -> Tensor:
    """From 0 to 1, slow at both ends."""
    u = share.clamp(0.0, 1.0)
    return u**2 * (3.0 - 2.0 * u)
