"""Training of the motion model: the Transformer GP-VAE on tracks of motion (paper eq. 4 to 8)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn

from dfanerf_rt.errors import ClipError
from dfanerf_rt.motion.model import MotionVae
from dfanerf_rt.train.loop import Loop, Progress, ShouldStop, never_stop, no_progress

Vae = TypeVar("Vae", bound=MotionVae)


@dataclass(frozen=True)
class MotionTraining:
    """Schedule of the motion model's training."""

    steps: int = 2000
    batch: int = 16
    segment_frames: int = 48
    """Length of what one example is cut to."""
    learning_rate: float = 3e-3
    weight_decay: float = 0.01
    warmup_share: float = 0.5
    """Share of the training in which the divergence's weight rises from 0 to beta."""
    largest_gradient: float = 1.0
    """Norm to which larger gradients are shortened."""


def objective(model: MotionVae, motion: Tensor, noise: Tensor, beta: float) -> tuple[Tensor, Tensor, Tensor]:
    """What training makes small, per frame: half the squared error of all channels, and beta times the KL (eq. 8).

    For ``beta`` = ``config.beta`` and times 1 / beta it is the negative of the bound on log p(h), but for a constant,
    of a decoder whose error has the variance beta.

    Args:
        motion: (B, T, C) in units.
        noise: (B, L, T) standard normal; the path is the posterior's sample for it (eq. 5).

    Returns:
        The objective, its half squared error and the KL in nats, all per frame.
    """
    posterior = model.posterior(motion)
    decoded = model.normalise(model.decode(posterior.sample(noise)))
    error = 0.5 * (decoded - model.normalise(motion)).square().sum(-1).mean()
    rate = model.divergence(posterior).mean() / motion.shape[1]
    return error + beta * rate, error, rate


@torch.enable_grad()
def train_motion(
    tracks: Sequence[Tensor],
    model: Vae,
    training: MotionTraining | None = None,
    budget_s: float = math.inf,
    seed: int = 0,
    on_progress: Progress = no_progress,
    should_stop: ShouldStop = never_stop,
) -> Vae:
    """Train a motion model on tracks of one or several people.

    Args:
        tracks: (T, C) each, 25 fps; those shorter than a segment are not used.
        model: what to train, in place; the statistics of its channels are set to those of the tracks.
        training: schedule.
        budget_s: the schedule ends after this time, or after ``training.steps`` if that is sooner.
        seed: of batches and noise.
        on_progress: called every 25 steps with the fraction done and ``error`` and ``rate`` of :func:`objective`.
        should_stop: asked every step; True ends training early.

    Returns:
        ``model`` in evaluation mode.

    Raises:
        ClipError: no track is as long as a segment.
    """
    training = training or MotionTraining()
    segments = _Segments(tracks, training.segment_frames)
    model.mean.copy_(segments.frames.mean(dim=0))
    model.std.copy_(segments.frames.std(dim=0).clamp_min(1e-6))
    generator = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.AdamW(
        model.parameters(), lr=training.learning_rate, betas=(0.9, 0.99), weight_decay=training.weight_decay
    )
    loop = Loop(training.steps, budget_s)
    model.train().requires_grad_(True)
    while not loop.done and not should_stop():
        optimiser.param_groups[0]["lr"] = training.learning_rate * _rise_and_fall(loop)
        motion = segments.batch(training.batch, generator)
        noise = torch.randn(len(motion), model.config.latent_dim, motion.shape[1], generator=generator)
        beta = model.config.beta * min(1.0, loop.fraction / training.warmup_share)
        loss, error, rate = objective(model, motion, noise, beta)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), training.largest_gradient)
        optimiser.step()
        loop.step += 1
        if loop.step % 25 == 0 or loop.done:
            on_progress(loop.fraction, {"error": float(error.detach()), "rate": float(rate.detach())})
    return model.eval().requires_grad_(False)


def _rise_and_fall(loop: Loop, warmup_steps: int = 50) -> float:
    """Learning-rate factor: a short linear rise, then half a cosine down to 0."""
    return min(1.0, (loop.step + 1) / warmup_steps) * 0.5 * (1 + math.cos(math.pi * loop.fraction))


class _Segments:
    """All stretches of some length in several tracks."""

    def __init__(self, tracks: Sequence[Tensor], n_frames: int) -> None:
        used = [track for track in tracks if len(track) >= n_frames]
        if not used:
            longest = max((len(track) for track in tracks), default=0)
            raise ClipError(f"the longest track of motion has {longest} frames, expected {n_frames} or more")
        self.frames, self.n_frames = torch.cat(used), n_frames
        starts, first = [], 0
        for track in used:
            starts.append(torch.arange(first, first + len(track) - n_frames + 1))
            first += len(track)
        self._starts = torch.cat(starts)

    def batch(self, size: int, generator: torch.Generator) -> Tensor:
        """(B, n_frames, C) of random segments."""
        chosen = self._starts[torch.randint(len(self._starts), (size,), generator=generator)]
        return self.frames[chosen[:, None] + torch.arange(self.n_frames)]
