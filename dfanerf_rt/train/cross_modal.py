"""Training of the cross-modal encoder E_ah (paper eq. 9) beside a motion model that is frozen.

With E_h and D frozen, the bound on log p(motion of a block | its past, the sound) has one part that E_ah can change:
the KL divergence (eq. 8) from E_h's posterior, which has seen the block, to E_ah's, which has not. Up to E_h's entropy
it is the negative log density that E_ah gives to paths drawn from E_h. In this direction E_ah must cover all that
people might do next: evidence that is too sure of itself is punished, and so samples are as random as people are. The
other way round, decoding E_ah's path and asking for the pose that followed, pays for giving the mean pose.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dfanerf_rt.errors import ClipError, ShapeError
from dfanerf_rt.motion.cross_modal import CrossModalEncoder
from dfanerf_rt.motion.gaussian import Posterior
from dfanerf_rt.motion.model import MotionVae
from dfanerf_rt.train.loop import Loop, Progress, ShouldStop, never_stop, no_progress

PIECE_FRAMES = 512


@dataclass(frozen=True)
class CrossModalTraining:
    """Schedule, and how much of sound and pose an example knows."""

    steps: int = 1500
    batch: int = 64
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    deaf_share: float = 0.2
    """Examples without any sound, so that a path goes on where nobody speaks or nothing is heard."""
    ahead_share: float = 0.2
    """Examples in which the sound of some frames of the block is there too, as in a file."""
    short_share: float = 0.2
    """Examples that know the pose of fewer frames than the encoder looks back."""
    largest_gradient: float = 1.0


@dataclass(frozen=True)
class Example:
    """A batch of blocks to be foretold."""

    past: Tensor
    sound: Tensor
    sound_known: Tensor
    pose: Tensor
    pose_known: Tensor
    """As of :meth:`CrossModalEncoder.forward`."""
    block: Tensor
    """(B, L, block_frames): the latent path that followed."""

    def nats(self, encoder: CrossModalEncoder) -> tuple[Tensor, Tensor]:
        """Negative log density of the block per frame and example (B,), by E_ah and by the process alone."""
        foretold = encoder(self.past, self.sound, self.sound_known, self.pose, self.pose_known)
        block = self.block - foretold.prior.mean
        n_frames = block.shape[-1]
        alone = foretold.prior.whiten(block[..., None])[..., 0]
        constant = 0.5 * n_frames * math.log(2 * math.pi) + 0.5 * foretold.prior.log_det()
        by_process = 0.5 * alone.square().sum(-1) + constant
        by_encoder = 0.5 * _whitened(foretold, alone).square().sum(-1) + constant
        by_encoder = by_encoder - foretold.whitened_factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        return by_encoder.sum(1) / n_frames, by_process.sum(1) / n_frames


class Paths:
    """Motion, audio codes and latent paths of several takes, from which examples are cut.

    Args:
        takes: of each take the motion (T, C) in units and the audio codes (T, sound_dim).
        model: the motion model; paths are drawn from its posterior.
        encoder: whose sizes the examples have.
        seed: of the paths.

    Raises:
        ClipError: no take is long enough for one example.
        ShapeError: motion and codes of a take differ in length.
    """

    def __init__(
        self, takes: Sequence[tuple[Tensor, Tensor]], model: MotionVae, encoder: CrossModalEncoder, seed: int = 0
    ) -> None:
        config = encoder.config
        self.config, generator = config, torch.Generator().manual_seed(seed)
        self._before = max(config.past_frames, config.context_frames)
        shortest = self._before + config.block_frames
        poses, sounds, paths, starts, n_frames = [], [], [], [], 0
        for motion, sound in _pieces(takes):
            if len(motion) < shortest:
                continue
            poses.append(model.normalise(motion))
            sounds.append(sound)
            paths.append(draw_path(model, motion, generator))
            starts.append(torch.arange(n_frames + self._before, n_frames + len(motion) - config.block_frames + 1))
            n_frames += len(motion)
        if not poses:
            longest = max((len(motion) for motion, _ in takes), default=0)
            raise ClipError(f"the longest track of motion has {longest} frames, expected {shortest} or more")
        self._pose, self._sound, self._path = torch.cat(poses), torch.cat(sounds), torch.cat(paths)
        self._starts = torch.cat(starts)

    def batch(self, size: int, generator: torch.Generator, training: CrossModalTraining | None = None) -> Example:
        """Random blocks. As they are met live, or, with ``training``, with as much known as that says.

        Live the pose of all frames before the block is known, and the sound of those and of the block's first frame.
        """
        context, block = self.config.context_frames, self.config.block_frames
        starts = self._starts[torch.randint(len(self._starts), (size,), generator=generator)][:, None]
        sound_until, pose_from = torch.ones(size, 1), torch.full((size, 1), float(-context))
        if training is not None:
            kind = torch.rand(size, 1, generator=generator)
            ahead = torch.randint(1, block + 1, (size, 1), generator=generator).float()
            sound_until[kind < training.ahead_share] = ahead[kind < training.ahead_share]
            sound_until[kind > 1 - training.deaf_share] = -context
            short = torch.rand(size, 1, generator=generator) < training.short_share
            pose_from[short] = torch.randint(-context, 1, (size, 1), generator=generator).float()[short]
        frame = torch.arange(-context, block)[None]
        around = starts + frame
        return Example(
            past=self._path[starts + torch.arange(-self.config.past_frames, 0)].mT,
            sound=self._sound[around],
            sound_known=(frame < sound_until).float(),
            pose=self._pose[around],
            pose_known=((frame >= pose_from) & (frame < 0)).float(),
            block=self._path[starts + torch.arange(block)].mT,
        )


def _pieces(takes: Sequence[tuple[Tensor, Tensor]]) -> Iterator[tuple[Tensor, Tensor]]:
    """Takes as pieces of equal length, each to have a path of its own: a posterior costs the cube of its length."""
    for motion, sound in takes:
        if len(motion) != len(sound):
            raise ShapeError(f"{len(motion)} frames of motion and {len(sound)} audio codes, expected as many")
        n_pieces = max(-(-len(motion) // PIECE_FRAMES), 1)
        yield from zip(motion.tensor_split(n_pieces), sound.tensor_split(n_pieces), strict=True)


@torch.no_grad()
def draw_path(model: MotionVae, motion: Tensor, generator: torch.Generator) -> Tensor:
    """(T, L): a latent path drawn from E_h's posterior of motion (T, C) in units."""
    noise = torch.randn(1, model.config.latent_dim, len(motion), generator=generator)
    return model.posterior(motion[None]).sample(noise)[0].mT


@torch.enable_grad()
def train_cross_modal(
    paths: Paths,
    encoder: CrossModalEncoder,
    training: CrossModalTraining | None = None,
    budget_s: float = math.inf,
    seed: int = 0,
    on_progress: Progress = no_progress,
    should_stop: ShouldStop = never_stop,
) -> CrossModalEncoder:
    """Train E_ah, in place.

    Args:
        paths: what to learn from.
        encoder: as it was made, or trained, to be fine-tuned.
        training: schedule.
        budget_s: the schedule ends after this time, or after ``training.steps`` if that is sooner.
        seed: of examples.
        on_progress: called every 25 steps with the fraction done and ``gain``, the nats per frame by which E_ah
            foretells better than the process alone.
        should_stop: asked every step; True ends training early.

    Returns:
        ``encoder`` in evaluation mode.
    """
    training = training or CrossModalTraining()
    generator = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.AdamW(
        encoder.parameters(), lr=training.learning_rate, betas=(0.9, 0.99), weight_decay=training.weight_decay
    )
    loop = Loop(training.steps, budget_s)
    encoder.train().requires_grad_(True)
    while not loop.done and not should_stop():
        optimiser.param_groups[0]["lr"] = training.learning_rate * loop.decay(0.05)
        nats, alone = paths.batch(training.batch, generator, training).nats(encoder)
        loss = nats.mean()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(encoder.parameters(), training.largest_gradient)
        optimiser.step()
        loop.step += 1
        if loop.step % 25 == 0 or loop.done:
            on_progress(loop.fraction, {"gain": float((alone - nats).mean().detach())})
    return encoder.eval().requires_grad_(False)


def _whitened(foretold: Posterior, alone: Tensor) -> Tensor:
    """The block's deviation from E_ah's mean as standard normal numbers (B, L, T), from that as the process sees it."""
    away = alone - foretold.whitened_mean
    return (foretold.whitened_factor.mT @ away[..., None])[..., 0]
