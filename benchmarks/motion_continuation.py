"""Table 4, generation: how motion goes on from a beginning of pose, by the motion model and its rivals.

Every model goes on by a cross-modal encoder E_ah of its own (paper eq. 9), of the same size and trained on the same
frames: it sees the last poses and adds evidence to the model's prior given the path so far, which a Gaussian process
remembers and an i.i.d. prior does not. Blocks are drawn one after another, and decoded with the path before them, so
that every decoder sees what it looks back at. There is no sound: the track has none.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from dfanerf_rt.evaluate.motion import ROTATION, TRANSLATION
from dfanerf_rt.motion.cross_modal import CrossModalConfig, CrossModalEncoder
from dfanerf_rt.motion.model import MotionVae
from dfanerf_rt.motion.twins import IidVae
from dfanerf_rt.train.cross_modal import CrossModalTraining, Paths, train_cross_modal

BEGINNING_FRAMES = 96
HORIZONS = {"0.2s": 5, "0.5s": 12, "1s": 25, "2s": 50}
"""Frames after the last one that is known."""
SHORTEST_FRAMES = BEGINNING_FRAMES + max(HORIZONS.values())
EVERY_FRAMES, N_SAMPLES = 16, 12
ENCODER_STEPS = 400
_DECODED_FRAMES = 48
"""Of the path in front of a block, the block among them; an LSTM has settled by then."""
HELD_POSE = "last pose held"
"""No model: the pose stays as it is."""


def trained_encoder(model: MotionVae, motion: Tensor, seed: int, steps: int = ENCODER_STEPS) -> CrossModalEncoder:
    """E_ah beside a trained model, on the frames (T, 6) that the model was trained on."""
    config = model.config
    if isinstance(model, IidVae):
        config = replace(config, length_frames=0.0, jitter=0.0)
    torch.manual_seed(seed)
    encoder = CrossModalEncoder(config, CrossModalConfig(sound_dim=1, past_frames=BEGINNING_FRAMES))
    paths = Paths([(motion, motion.new_zeros(len(motion), 1))], model, encoder, seed)
    training = CrossModalTraining(steps=steps, deaf_share=1.0, ahead_share=0.0)
    return train_cross_modal(paths, encoder, training, seed=seed)


@torch.no_grad()
def continuation(
    model: MotionVae | None, encoder: CrossModalEncoder | None, motion: Tensor, generator: torch.Generator
) -> dict[str, float]:
    """Errors at each horizon, in percent of the range of ``motion``; D-Rot and D-Pos are means of three channels each.

    Args:
        model: what goes on by its ``encoder``; None holds the last pose.
        motion: (T, 6) head poses that it was not trained on.
        generator: of the samples.

    Returns:
        For each horizon, with ``part`` rot or pos: ``d_<part>_<horizon>``, mean absolute difference of a sample and the
        truth; ``d_mean_<part>_<horizon>``, of the mean of all samples, a single best guess; ``crps_<part>_<horizon>``,
        continuous ranked probability score: the mean absolute difference of sample and truth, less half of that of two
        samples; smallest where samples are distributed as the truth is (Gneiting and Raftery 2007).
    """
    longest = max(HORIZONS.values())
    starts = torch.arange(0, len(motion) - BEGINNING_FRAMES - longest + 1, EVERY_FRAMES)
    frames = starts[:, None] + torch.arange(BEGINNING_FRAMES + longest)
    pieces = motion[frames]
    beginning, truth = pieces[:, :BEGINNING_FRAMES], pieces[:, BEGINNING_FRAMES:]
    if model is None or encoder is None:
        drawn = beginning[:, -1:].expand(-1, longest, -1)[None]
    else:
        many = beginning.repeat(N_SAMPLES, 1, 1)
        drawn = go_on(model, encoder, many, longest, generator).view(N_SAMPLES, len(starts), longest, -1)
    span = np.ptp(motion.double().numpy(), axis=0)
    found: dict[str, float] = {}
    for name, horizon in HORIZONS.items():
        samples = drawn[:, :, horizon - 1].double().numpy()
        true = truth[:, horizon - 1].double().numpy()
        for part, channels in (("rot", ROTATION), ("pos", TRANSLATION)):
            each = _errors(samples[..., channels] / span[channels], true[:, channels] / span[channels])
            found |= {f"{measure}_{part}_{name}": 100.0 * value for measure, value in each.items()}
    return found


def go_on(
    model: MotionVae, encoder: CrossModalEncoder, beginning: Tensor, n_frames: int, generator: torch.Generator
) -> Tensor:
    """A continuation (B, n_frames, 6) of each beginning (B, BEGINNING_FRAMES, 6), in units."""
    posterior = model.posterior(beginning)
    path = posterior.sample(torch.randn(posterior.mean.shape, generator=generator))
    pose, block = model.normalise(beginning), encoder.config.block_frames
    n_seen = encoder.config.context_frames
    silent = beginning.new_zeros(len(beginning), n_seen + block)
    known = (torch.arange(n_seen + block) < n_seen).float().expand_as(silent)
    for _ in range(-(-n_frames // block)):
        recent = torch.cat([pose[:, -n_seen:], pose.new_zeros(len(pose), block, pose.shape[2])], dim=1)
        foretold = encoder(path[..., -BEGINNING_FRAMES:], silent[..., None], silent, recent, known)
        noise = torch.randn(*path.shape[:2], block, generator=generator)
        path = torch.cat([path, foretold.sample(noise)], dim=-1)
        decoded = model.decoder(path[..., -_DECODED_FRAMES:])
        pose = torch.cat([pose, decoded[:, -block:]], dim=1)
    start = beginning.shape[1]
    return pose[:, start : start + n_frames] * model.std + model.mean


def _errors(samples: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Of (N, B, C) samples of (B, C) truths, mean over beginnings and channels."""
    off = np.abs(samples - truth).mean()
    n_samples = len(samples)
    # The mean over all pairs of samples, from their order: sum_k (2 k - n + 1) x_(k).
    ranks = 2.0 * np.arange(n_samples) - n_samples + 1.0
    apart = 2.0 * np.tensordot(ranks, np.sort(samples, axis=0), axes=1) / max(n_samples * (n_samples - 1), 1)
    return {
        "d": float(off),
        "d_mean": float(np.abs(samples.mean(axis=0) - truth).mean()),
        "crps": float(off - 0.5 * apart.mean()),
    }
