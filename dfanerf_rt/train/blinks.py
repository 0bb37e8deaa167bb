"""What there is to learn about blinks: a person's rhythm, eyes as they are between blinks, and what hurries a blink."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from dfanerf_rt.evaluate.blinks import Blink, blink_statistics, eye_openness, find_blinks
from dfanerf_rt.motion.blinks import LONGEST_S, SHORTEST_S, BlinkClock, BlinkClockConfig, BlinkRhythm, movement_s
from dfanerf_rt.motion.track import FPS
from dfanerf_rt.train.loop import Loop, Progress, no_progress

USUAL = BlinkRhythm(per_s=0.3, spread=0.75, duration_s=0.23)
"""Of the synthetic people (docs/motion.md): what is believed of a person before anything is seen."""
USUAL_BLINKS = 2.0
"""How many blinks that belief is worth, against those that are counted."""
CLOSED_BELOW = 0.3
"""Openness at which eyes are closed."""
_MARGIN = 2
"""Frames on either side of a blink that still belong to it."""


def without_blinks(eye_code: Tensor, blinks: Sequence[Blink]) -> Tensor:
    """Eye codes (T, 16) with each blink replaced by a straight way from before it to after it."""
    blinking = np.zeros(len(eye_code), bool)
    for blink in blinks:
        blinking[max(math.floor(blink.start) - _MARGIN, 0) : math.ceil(blink.end) + _MARGIN + 1] = True
    if not blinking.any() or blinking.all():
        return eye_code.clone()
    frames, kept = np.arange(len(eye_code)), np.flatnonzero(~blinking)
    columns = [np.interp(frames, kept, column[kept]) for column in eye_code.double().numpy().T]
    return torch.from_numpy(np.stack(columns, axis=1)).to(eye_code)


def rhythm_of(openness: np.ndarray, fps: float = FPS) -> BlinkRhythm:
    """A person's rhythm from the openness of the eyes (T,), as much of it as the recording tells.

    What is counted is joined with what is usual, which counts as ``USUAL_BLINKS`` blinks: a minute with ten blinks
    gives nearly its own rate, a few seconds without one nearly the usual rate, and no recording a rate of 0.
    """
    found = blink_statistics(openness, fps)
    duration_s = len(openness) / fps
    per_s = (found.count + USUAL_BLINKS) / (duration_s + USUAL_BLINKS / USUAL.per_s)
    logs = np.log(found.intervals_s) if len(found.intervals_s) else np.zeros(0)
    squares = float(np.square(logs - logs.mean()).sum()) if len(logs) else 0.0
    spread = math.sqrt((squares + USUAL_BLINKS * USUAL.spread**2) / (max(len(logs) - 1, 0) + USUAL_BLINKS))
    lengths = [movement_s(ms / 1000.0) for ms in found.durations_ms]
    weights = [math.log(min(max(length, SHORTEST_S), LONGEST_S)) for length in lengths]
    usual = USUAL_BLINKS * math.log(USUAL.duration_s)
    length = math.exp((sum(weights) + usual) / (len(weights) + USUAL_BLINKS))
    return BlinkRhythm(per_s, spread, length, USUAL.duration_spread)


def closed_eye_code(eye_code: Tensor, openness: np.ndarray, usual: Tensor) -> Tensor:
    """(16,) code of the person's closed eyes: the mean at the bottom of the blinks that close them; ``usual`` where
    none does."""
    bottoms = []
    for blink in find_blinks(openness):
        frames = np.arange(math.floor(blink.start), min(math.ceil(blink.end) + 1, len(openness)))
        bottom = int(frames[np.nanargmin(openness[frames])])
        if openness[bottom] < CLOSED_BELOW / 2:
            bottoms.append(eye_code[bottom])
    return torch.stack(bottoms).mean(dim=0) if bottoms else usual.clone()


@dataclass(frozen=True)
class HeardBlinks:
    """Audio codes of a take, and where its blinks begin."""

    audio_code: Tensor
    """(T, sound_dim)."""
    starts: Tensor
    """(T,) 1 where a blink begins, 0 elsewhere."""

    @classmethod
    def of(cls, audio_code: Tensor, eye_code: Tensor) -> HeardBlinks:
        """Of a take with eyes (T, 16)."""
        starts = torch.zeros(len(audio_code))
        for blink in find_blinks(eye_openness(eye_code)):
            starts[min(max(math.floor(blink.start), 0), len(starts) - 1)] = 1.0
        return cls(audio_code, starts)


@dataclass(frozen=True)
class ClockTraining:
    """Schedule of the clock's training."""

    steps: int = 1500
    batch: int = 512
    """Frames that begin a blink, and as many others."""
    learning_rate: float = 1e-2
    weight_decay: float = 0.05


@torch.enable_grad()
def train_clock(
    takes: Sequence[HeardBlinks],
    config: BlinkClockConfig | None = None,
    training: ClockTraining | None = None,
    seed: int = 0,
    on_progress: Progress = no_progress,
) -> BlinkClock:
    """Learn from takes of many people what hurries a blink.

    Blinks are taken as points of a Poisson process whose rate is the take's own times the hurry; the likelihood of such
    a process is maximised. At last the hurry is scaled to 1 on average, so that a person's rate stays what it is.
    """
    training = training or ClockTraining()
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    clock = BlinkClock(config)
    n_frames = clock.config.window_frames
    long_enough = [take for take in takes if len(take.starts) >= n_frames]
    codes = torch.cat([take.audio_code for take in long_enough])
    begins = torch.cat([take.starts for take in long_enough])
    usual = torch.cat([torch.full_like(take.starts, float(take.starts.mean().clamp_min(1e-4))) for take in long_enough])
    # Frames with a whole window of their own take before them.
    whole = torch.cat([torch.arange(len(take.starts)) >= n_frames - 1 for take in long_enough])
    frames = torch.nonzero(whole)[:, 0]
    blinking = frames[begins[frames] > 0]
    share = len(blinking) / len(frames)

    def hurry(of: Tensor) -> Tensor:
        return clock(codes[of[:, None] + torch.arange(1 - n_frames, 1)])

    def some(of: Tensor) -> Tensor:
        return of[torch.randint(len(of), (training.batch,), generator=generator)]

    optimiser = torch.optim.AdamW(clock.parameters(), training.learning_rate, weight_decay=training.weight_decay)
    loop = Loop(training.steps, math.inf)
    while not loop.done:
        optimiser.param_groups[0]["lr"] = training.learning_rate * loop.decay(0.05)
        # As many frames that begin a blink as others, and these weigh as much less: a random frame hardly ever does.
        other = some(frames)
        loss = (usual[other] * hurry(other).exp()).mean() - share * hurry(some(blinking)).mean()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        loop.step += 1
        if loop.step % 50 == 0 or loop.done:
            on_progress(loop.fraction, {"loss": float(loss.detach())})
    return evened_clock(clock, [take.audio_code for take in long_enough]).eval().requires_grad_(False)


@torch.no_grad()
def evened_clock(clock: BlinkClock, sounds: Sequence[Tensor]) -> BlinkClock:
    """A clock that runs as fast as ``clock`` but for a factor, such that its hurry is 1 on average over sounds (T,
    sound_dim): a voice that is all hurry, or none, changes when a person blinks, not how often."""
    n_frames = clock.config.window_frames
    hurry = [clock(sound.unfold(0, n_frames, 1).mT).exp() for sound in sounds if len(sound) >= n_frames]
    if not hurry:
        return clock
    evened = copy.deepcopy(clock)
    last = evened.network[-1]
    assert isinstance(last, nn.Linear)
    last.bias.sub_(torch.cat(hurry).mean().log())
    return evened
