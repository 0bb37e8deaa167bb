"""Noise that is a function of a seed and of a frame's number, so that nothing depends on the order of calls."""

from __future__ import annotations

import torch
from torch import Tensor


def frame_noise(seed: int, frames: Tensor, n_channels: int) -> Tensor:
    """(n_channels, T) standard normal numbers of the frames with these numbers (T,)."""
    generator = torch.Generator()
    columns = [
        torch.randn(n_channels, generator=generator.manual_seed(mixed(seed, frame))) for frame in frames.tolist()
    ]
    return torch.stack(columns, dim=1)


def mixed(seed: int, number: int) -> int:
    """A seed for a number, far from those of its neighbours and of other seeds (the finaliser of SplitMix64, twice)."""
    mask, value = 2**64 - 1, seed
    for part in (0, number):
        value = (value + part + 0x9E3779B97F4A7C15) & mask
        value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & mask
        value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & mask
        value ^= value >> 31
    return value & (2**32 - 1)  # torch's generator on the CPU looks at no more
