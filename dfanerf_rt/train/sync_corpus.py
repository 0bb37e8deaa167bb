"""What the audio encoder learns from: sound with mouth codes, and what a training may invent of it.

A clip is little sound. Speed and pitch, gaps of silence with a closed mouth, loudness and colour of the sound are
varied, and features masked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dfanerf_rt.attributes.model import AttributeModel, mouth_opening
from dfanerf_rt.audio.quiet import nobody_speaks
from dfanerf_rt.errors import ClipError
from dfanerf_rt.sync.model import FEATURES_PER_FRAME, FRAME_SAMPLES, AudioEncoder, SyncConfig, window_features

CLOSED_SHARE = 0.2
"""Lips are closed where they are apart by less than this share of the mean over all frames."""

Pair = tuple[NDArray[np.float32], Tensor]
"""Sound (N,) at 16 kHz and the mouth codes (T, code_dim) of its frames."""


@dataclass(frozen=True)
class SyncTraining:
    """Schedule, losses and augmentation."""

    steps: int = 1200
    batch: int = 32
    segment_frames: int = 20
    learning_rate: float = 2e-3
    weight_decay: float = 0.1
    dropout: float = 0.25
    average_decay: float = 0.99
    """Of the running average of the weights, which is the result."""
    regression_weight: float = 1.0
    """Weight of the distance to the mouth codes; at 0, eq. 3 alone is trained."""
    contrastive_weight: float = 0.2
    """Weight of eq. 3."""
    closure_weight: float = 0.5
    """Weight of the binary cross-entropy of closed lips, as a share of the regression's."""
    velocity_weight: float = 0.5
    """Weight of the error of the codes' differences between frames, as a share of the regression's."""
    contrastive_frames: int = 5
    """Frames that one cosine similarity compares."""
    n_variants: int = 10
    """Copies of the sound with other speeds and with gaps of silence, made once."""
    speed_range: float = 0.12
    """Largest relative change of speed, which changes the pitch too."""
    gain_db: float = 6.0
    colour: float = 0.25
    """Spread of a constant offset on each normalised coefficient: another microphone, another voice."""
    noise: float = 0.3
    """Spread of independent noise on each normalised feature."""
    mask_probability: float = 0.5
    """Share of segments in which a few feature frames and a band of coefficients are blanked."""
    calibrate: bool = True
    """Bring the codes of an encoder that learns a clip into the person's range first."""
    vary_lookahead: bool = True
    """Train for every shorter lookahead too; otherwise for the configured one alone."""
    muon: bool = False
    """Step matrices by :class:`dfanerf_rt.train.muon.Muon`, and by Adam what is left; otherwise all by Adam."""
    bfloat16: bool = False
    """Convolve in bfloat16; about twice as fast where the processor has it."""


FINE_TUNING = SyncTraining(steps=400, learning_rate=5e-4, dropout=0.1, noise=0.15, colour=0.1)
"""For one clip, from the bundled encoder's weights."""


def opening_of(attributes: AttributeModel, mouth_code: Tensor) -> Tensor:
    """Mouth codes (T, mouth_dim) → how far the lips are apart (T,), metres."""
    parts = mouth_code.split(65_536)
    eyes = mouth_code.new_zeros(len(parts[0]), attributes.config.eye_dim)
    return torch.cat([mouth_opening(attributes.decode(part, eyes[: len(part)])[0]) for part in parts])


def resting_code(attributes: AttributeModel, mouth_code: Tensor) -> Tensor:
    """The code (mouth_dim,) of this person's closed mouth: the mean over the tenth of frames with the least opening."""
    opening = opening_of(attributes, mouth_code)
    return mouth_code[opening.argsort()[: max(1, len(opening) // 10)]].mean(dim=0)


class Corpus:
    """All variants of the sound as one row of features, and their codes, cut into segments."""

    def __init__(
        self,
        pairs: Sequence[Pair],
        rest: Tensor,
        attributes: AttributeModel,
        config: SyncConfig,
        training: SyncTraining,
        random: np.random.Generator,
    ) -> None:
        self.config, self.n_frames = config, training.segment_frames
        self.n_rows = FEATURES_PER_FRAME * (self.n_frames - 1) + config.n_window
        features, codes, starts = [], [], []
        n_rows = n_codes = 0
        for variant in range(training.n_variants):
            for samples, mouth_code in pairs:
                if variant:
                    samples, mouth_code = _change_speed(samples, mouth_code, training.speed_range, random)
                    samples, mouth_code = _insert_silence(samples, mouth_code, rest, random)
                sound = samples[: len(mouth_code) * FRAME_SAMPLES]
                rows = torch.from_numpy(window_features(sound, len(mouth_code), config))
                last = len(mouth_code) - self.n_frames
                starts += [(n_rows + FEATURES_PER_FRAME * k, n_codes + k) for k in range(max(0, last + 1))]
                features.append(rows)
                codes.append(mouth_code)
                n_rows += len(rows)
                n_codes += len(mouth_code)
        self.features, self.codes = torch.cat(features), torch.cat(codes)
        opening = opening_of(attributes, self.codes)
        self.closed = (opening < CLOSED_SHARE * opening.mean()).float()
        self.starts = np.array(starts).reshape(-1, 2)
        if len(starts) == 0:
            raise ClipError(f"no stretch of sound with mouth codes is as long as {self.n_frames} frames")

    def batch(self, size: int, random: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Features (B, rows, D) in dB, codes (B, frames, code_dim), closed lips as 1 (B, frames) of random segments."""
        chosen = torch.from_numpy(self.starts[random.integers(len(self.starts), size=size)])
        rows = chosen[:, :1] + torch.arange(self.n_rows)
        frames = chosen[:, 1:] + torch.arange(self.n_frames)
        return self.features[rows], self.codes[frames], self.closed[frames]


def augment(encoder: AudioEncoder, features: Tensor, training: SyncTraining) -> Tensor:
    """Normalised features of another loudness, colour and noise, partly blanked."""
    n_batch, n_rows, n_coefficients = features.shape
    gain_db = training.gain_db * (2 * torch.rand(n_batch, 1) - 1)
    features = features.clone()
    features[:, :, 0] += gain_db * encoder.config.mfcc.n_mels**0.5
    x = encoder.normalise(features)
    x = x + training.colour * torch.randn(n_batch, 1, n_coefficients)
    x = x + training.noise * torch.rand(n_batch, 1, 1) * torch.randn_like(x)
    masked = torch.rand(n_batch) < training.mask_probability
    rows, bands = torch.arange(n_rows), torch.arange(n_coefficients)
    for positions, longest, view in ((rows, 8, (n_batch, -1, 1)), (bands, 6, (n_batch, 1, -1))):
        start = torch.rand(n_batch, 1) * len(positions)
        length = torch.rand(n_batch, 1) * longest * masked[:, None]
        x = x * ~((positions >= start) & (positions < start + length)).view(view)
    return x


def _change_speed(
    samples: NDArray[np.float32], codes: Tensor, speed_range: float, random: np.random.Generator
) -> tuple[NDArray[np.float32], Tensor]:
    """Play sound and lips faster or slower by linear interpolation; the pitch changes with it."""
    speed = float(np.exp(random.uniform(-speed_range, speed_range)))
    times = np.arange(int(len(samples) / speed)) * speed
    changed = np.interp(times, np.arange(len(samples)), samples).astype(np.float32)
    frames = np.arange(int(len(codes) / speed)) * speed
    low = np.minimum(frames.astype(int), len(codes) - 1)
    high = np.minimum(low + 1, len(codes) - 1)
    weight = torch.from_numpy((frames - low).astype(np.float32))[:, None]
    return changed, codes[low] * (1 - weight) + codes[high] * weight


def _insert_silence(
    samples: NDArray[np.float32], codes: Tensor, rest: Tensor, random: np.random.Generator
) -> tuple[NDArray[np.float32], Tensor]:
    """Insert pauses, about one in four seconds, in which the mouth closes within three frames and rests."""
    samples = samples[: len(codes) * FRAME_SAMPLES]
    samples = np.pad(samples, (0, len(codes) * FRAME_SAMPLES - len(samples)))
    cuts = np.sort(random.choice(len(codes), size=max(1, len(codes) // 100), replace=False))
    sound, lips = [], []
    for part_samples, part_codes in zip(
        np.split(samples, cuts * FRAME_SAMPLES), torch.tensor_split(codes, torch.from_numpy(cuts)), strict=True
    ):
        n = int(random.integers(10, 35))
        sound += [part_samples, nobody_speaks(n * FRAME_SAMPLES, random)]
        before = part_codes[-1] if len(part_codes) else rest
        ramp = torch.linspace(1.0, 0.0, 4)[1:, None]
        lips += [part_codes, ramp * before + (1 - ramp) * rest, rest.expand(n - 3, -1)]
    return np.concatenate(sound), torch.cat(lips)
