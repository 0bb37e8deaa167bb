"""Training of the cross-modal encoder where the answer is known: a motion that the sound tells, and one it does not."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from dfanerf_rt.errors import ClipError, ShapeError
from dfanerf_rt.motion.cross_modal import CrossModalConfig, CrossModalEncoder
from dfanerf_rt.motion.gaussian import prior
from dfanerf_rt.motion.model import MotionConfig, MotionVae
from dfanerf_rt.train.cross_modal import CrossModalTraining, Example, Paths, train_cross_modal

MOTION = MotionConfig(input_dim=2, latent_dim=2, width=16, heads=2, window_frames=3, length_frames=6.0, n_scales=1)
CONFIG = CrossModalConfig(sound_dim=2, block_frames=4, past_frames=24, width=16, layers=1, heads=2, window_frames=8)


def blocks(n: int, told: bool, seed: int = 0) -> Example:
    """Paths of the process; the sound of the first frame of a block says how its last frame differs from what the past
    foretells, with some noise, or says nothing."""
    generator = torch.Generator().manual_seed(seed)
    n_frames = CONFIG.past_frames + CONFIG.block_frames
    path = prior(MOTION.kernels, n_frames).sample(torch.randn(n, 2, n_frames, generator=generator))
    context = CONFIG.context_frames
    frame = torch.arange(-context, CONFIG.block_frames).expand(n, -1)
    sound = torch.randn(n, context + 4, 2, generator=generator)
    if told:
        goes_on = CrossModalEncoder(MOTION, CONFIG).continued(path[..., :-4]).mean
        sound[:, context] += 10 * (path[..., -1] - goes_on[..., -1])
    return Example(
        path[..., :-4], sound, (frame < 1).float(), torch.zeros(n, context + 4, 2), (frame < 0).float(), path[..., -4:]
    )


class KnownPaths(Paths):
    """Batches of :func:`blocks`."""

    def __init__(self, told: bool) -> None:
        self.told = told

    def batch(self, size: int, generator: torch.Generator, training: CrossModalTraining | None = None) -> Example:
        seed = int(torch.randint(2**31, (1,), generator=generator))
        return blocks(size, self.told, seed)


def trained(told: bool) -> CrossModalEncoder:
    torch.manual_seed(0)
    training = CrossModalTraining(steps=400, batch=64, learning_rate=1e-2)
    return train_cross_modal(KnownPaths(told), CrossModalEncoder(MOTION, CONFIG), training)


def test_the_log_density_is_that_of_the_dense_gaussian() -> None:
    torch.manual_seed(0)
    encoder = CrossModalEncoder(MOTION, CONFIG)
    torch.nn.init.normal_(encoder.network.beside.weight, std=0.5)
    example = blocks(3, told=True)
    with torch.no_grad():
        nats, alone = example.nats(encoder)
        found = encoder(example.past, example.sound, example.sound_known, example.pose, example.pose_known)
    inverse = torch.linalg.inv(found.whitened_factor @ found.whitened_factor.mT)
    spread = (found.prior.factor @ inverse @ found.prior.factor.mT).double()
    for density, mean, covariance in (
        (nats, found.mean, spread),
        (alone, found.prior.mean, (found.prior.factor @ found.prior.factor.mT).double().expand_as(spread)),
    ):
        gaussian = torch.distributions.MultivariateNormal(mean.double(), covariance)
        expected = -gaussian.log_prob(example.block.double()).sum(1) / CONFIG.block_frames
        torch.testing.assert_close(density.double(), expected, rtol=1e-3, atol=1e-3)


def test_learns_what_the_sound_tells_and_is_never_surer_than_it_may_be() -> None:
    encoder, example = trained(told=True), blocks(2000, told=True, seed=9)
    nats, alone = example.nats(encoder)
    assert (alone - nats).mean() > 0.1
    found = encoder(example.past, example.sound, example.sound_known, example.pose, example.pose_known)
    sampled = found.sample(torch.randn(2000, 2, 4, generator=torch.Generator().manual_seed(5)))
    off, true_off = ((paths - found.mean)[..., -1].square().mean().item() for paths in (sampled, example.block))
    alone_off = (example.block - found.prior.mean)[..., -1].square().mean().item()
    assert true_off < 0.5 * alone_off  # its mean foretells
    assert 0.9 * true_off < off < 0.9 * alone_off  # it is surer than the process, and never surer than it may be


def test_believes_no_sound_that_tells_nothing() -> None:
    encoder, example = trained(told=False), blocks(2000, told=False, seed=9)
    nats, alone = example.nats(encoder)
    assert (alone - nats).mean().abs() < 0.03
    found = encoder(example.past, example.sound, example.sound_known, example.pose, example.pose_known)
    assert found.divergence().mean() < 0.1


def takes(n_frames: int = 120) -> list[tuple[Tensor, Tensor]]:
    time = torch.arange(n_frames) / 25
    motion = torch.stack([torch.sin(math.pi * time), torch.cos(math.pi * time)], dim=1)
    return [(motion, torch.arange(n_frames, dtype=torch.float32)[:, None].expand(-1, 2))]


def test_examples_know_what_is_known_live() -> None:
    torch.manual_seed(0)
    paths = Paths(takes(), MotionVae(MOTION).eval(), CrossModalEncoder(MOTION, CONFIG))
    example = paths.batch(16, torch.Generator().manual_seed(0))
    context = CONFIG.context_frames
    assert bool((example.sound_known[:, : context + 1] == 1).all()) and not bool(
        example.sound_known[:, context + 1 :].any()
    )
    assert bool((example.pose_known[:, :context] == 1).all()) and not bool(example.pose_known[:, context:].any())
    first = example.sound[:, context, 0].long()  # the sound counts frames
    assert int(first.min()) >= CONFIG.past_frames and int(first.max()) <= 120 - CONFIG.block_frames
    for row, start in enumerate(first.tolist()):
        torch.testing.assert_close(example.pose[row], takes()[0][0][start - context : start + CONFIG.block_frames])
        torch.testing.assert_close(example.past[row].mT, paths._path[start - CONFIG.past_frames : start])
        torch.testing.assert_close(example.block[row].mT, paths._path[start : start + CONFIG.block_frames])


def test_training_meets_deaf_blocks_and_short_pasts() -> None:
    torch.manual_seed(0)
    paths = Paths(takes(), MotionVae(MOTION).eval(), CrossModalEncoder(MOTION, CONFIG))
    example = paths.batch(400, torch.Generator().manual_seed(0), CrossModalTraining())
    heard, seen = example.sound_known.sum(1), example.pose_known.sum(1)
    assert (heard == 0).float().mean() == pytest.approx(0.2, abs=0.06)
    assert (heard > CONFIG.context_frames + 1).float().mean() == pytest.approx(0.15, abs=0.06)
    assert (seen < CONFIG.context_frames).float().mean() == pytest.approx(0.18, abs=0.06)


def test_refuses() -> None:
    encoder, model = CrossModalEncoder(MOTION, CONFIG), MotionVae(MOTION).eval()
    with pytest.raises(ClipError, match="has 20 frames, expected 28 or more"):
        Paths(takes(20), model, encoder)
    motion, sound = takes()[0]
    with pytest.raises(ShapeError, match="119 audio codes"):
        Paths([(motion, sound[1:])], model, encoder)
