"""The one training loop: steps until a count or a time is reached, progress, and a clean stop."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dfanerf_rt.train.team import Team

Progress = Callable[[float, dict[str, float]], None]
"""Called with the share of the stage that is done, in [0, 1], and scalars worth showing."""
ShouldStop = Callable[[], bool]
"""Asked between steps; True ends the stage after this step."""


class Interrupted(Exception):  # noqa: N818 - nothing went wrong
    """Training was asked to stop; a checkpoint has been written."""


def never_stop() -> bool:
    """The default of ``should_stop``."""
    return False


def no_progress(fraction: float, scalars: dict[str, float]) -> None:
    """The default of ``on_progress``."""


@dataclass
class Loop:
    """Counts steps of one stage against a number of steps and a budget of time, whichever ends first.

    The learning-rate schedule follows :attr:`fraction`, so that a slow machine anneals as fully as a fast one.
    """

    n_steps: int
    budget_s: float
    step: int = 0
    spent_s: float = 0.0
    """Time spent by earlier sessions of this stage."""
    _started: float = field(default_factory=time.monotonic)
    _held_s: float | None = None

    @property
    def elapsed_s(self) -> float:
        """Training time so far, earlier sessions included."""
        return self.spent_s + time.monotonic() - self._started if self._held_s is None else self._held_s

    def agree(self, team: Team, should_stop: bool) -> bool:
        """Let processes that train together agree on how far they are, and on whether to stop; returns the latter."""
        if team.size == 1:
            return should_stop
        self._held_s = None
        self._held_s, stop = team.largest([self.elapsed_s, float(should_stop)])
        return stop > 0.0

    @property
    def fraction(self) -> float:
        """Share that is done, in [0, 1]."""
        return min(1.0, max(self.step / self.n_steps, self.elapsed_s / self.budget_s))

    @property
    def done(self) -> bool:
        """Whether the stage has reached its end."""
        return self.fraction >= 1.0

    def decay(self, floor: float, warmup_steps: int = 50) -> float:
        """Learning-rate factor: a short linear rise, then exponential decay to ``floor`` at the end."""
        return min(1.0, (self.step + 1) / warmup_steps) * math.exp(math.log(floor) * self.fraction)
