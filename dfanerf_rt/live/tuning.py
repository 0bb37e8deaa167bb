"""Settings of a session that runs: checked before anything changes, and in force without a jump of head or mouth."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass

from dfanerf_rt.errors import AvatarError
from dfanerf_rt.live.chain import Chain, load_encoder
from dfanerf_rt.motion.generator import MotionGenerator
from dfanerf_rt.motion.recorded import RecordedMotion

STEP_MS = 20.0
"""By which the look-ahead glides: the least that the encoder knows, and a hole that no listener's buffer has."""


@dataclass(frozen=True)
class Tuning:
    """What is to change; None stays as it is. Meanings as of :func:`~dfanerf_rt.live.chain.load_chain`."""

    temperature: float | None = None
    seed: int | None = None
    lookahead_ms: float | None = None


def prepared(chain: Chain, tuning: Tuning) -> Callable[[], None]:
    """Check the settings and make what they need; takes some 10 ms, in any thread.

    Returns:
        What brings them into force, for the thread that listens to call between two chunks of sound.

    Raises:
        AvatarError: settings that the avatar cannot follow.
    """
    changes: list[Callable[[], None]] = []
    if tuning.temperature is not None:
        changes.append(_temperature(chain, tuning.temperature))
    if tuning.seed is not None:
        changes.append(_seed(chain, tuning.seed))
    if tuning.lookahead_ms is not None:
        changes.append(_lookahead(chain, tuning.lookahead_ms))

    def apply() -> None:
        for change in changes:
            change()

    return apply


def _temperature(chain: Chain, temperature: float) -> Callable[[], None]:
    motion = chain.motion
    if not isinstance(motion, MotionGenerator):
        raise AvatarError(f"{chain.avatar.where}: temperature directs generated motion, not {chain.motion_name}")
    if not 0 <= temperature < math.inf:
        raise AvatarError(f"temperature is {temperature}, expected 0 or more")
    return lambda: setattr(motion, "temperature", temperature)


def _seed(chain: Chain, seed: int) -> Callable[[], None]:
    motion = chain.motion
    if isinstance(motion, MotionGenerator):
        return lambda: motion.reseed(seed)
    if isinstance(motion, RecordedMotion):
        return lambda: motion.pass_to(random.Random(seed).randrange(motion.period))
    raise AvatarError(f"{chain.avatar.where}: a seed changes nothing in {chain.motion_name} motion")


def _lookahead(chain: Chain, lookahead_ms: float) -> Callable[[], None]:
    last = load_encoder(chain.avatar, lookahead_ms)
    full = load_encoder(chain.avatar)  # the one that runs has lost what lies further ahead
    now_ms = chain.encoder.lookahead_ms
    n_steps = math.ceil(abs(lookahead_ms - now_ms) / STEP_MS)
    between_ms = (now_ms + (lookahead_ms - now_ms) * step / n_steps for step in range(1, n_steps))
    steps = [*(full.with_lookahead(each_ms) for each_ms in between_ms), last]
    return lambda: chain.encoder.glide(steps)
