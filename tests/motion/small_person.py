"""Motion models with random weights, small and quick, in which sound matters; and a person made by hand."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dfanerf_rt.motion.blinks import BlinkClock, BlinkClockConfig, BlinkRhythm
from dfanerf_rt.motion.cross_modal import CrossModalConfig, CrossModalEncoder
from dfanerf_rt.motion.model import MotionConfig, MotionVae
from dfanerf_rt.motion.models import MotionModels
from dfanerf_rt.motion.person import PersonalMotion
from dfanerf_rt.motion.style import Style

SOUND_DIM = 32


def small_models() -> MotionModels:
    """Always the same."""
    torch.manual_seed(0)
    made = []
    for channels, guidance in ((6, 3.0), (16, 1.0)):
        config = MotionConfig(input_dim=channels, latent_dim=4, width=16, heads=2, window_frames=3, n_scales=2)
        sizes = CrossModalConfig(SOUND_DIM, past_frames=32, width=16, heads=2, window_frames=5, guidance=guidance)
        model, encoder = MotionVae(config), CrossModalEncoder(config, sizes)
        nn.init.normal_(encoder.network.beside.weight, std=0.1)
        encoder.network.leave[-1].bias.data[config.latent_dim :] = 2.0  # type: ignore[union-attr, index]
        made += [model.eval().requires_grad_(False), encoder.eval().requires_grad_(False)]
    clock = BlinkClock(BlinkClockConfig(SOUND_DIM, window_frames=4, hidden=4)).eval().requires_grad_(False)
    return MotionModels(*made, clock)  # type: ignore[arg-type]


def small_style(n_channels: int, reach: float) -> Style:
    """Centre 1, one unit of everything, range 1 - reach to 1 + reach."""
    one = torch.ones(n_channels)
    return Style(one, one, one, 0.5 * one, 0.5 * one, 0.3 * one, one - reach, one + reach)


def small_person(per_s: float = 0.5) -> PersonalMotion:
    """Closed eyes are a code of -5 in every channel, far outside of what the open eyes' range holds."""
    return PersonalMotion(
        small_models(), small_style(6, 1.5), small_style(16, 1.5), torch.full((16,), -5.0), BlinkRhythm(per_s, 0.6, 0.2)
    )


def speech(n_frames: int, seed: int = 0) -> Tensor:
    """(n_frames, 32) audio codes."""
    return torch.randn(n_frames, SOUND_DIM, generator=torch.Generator().manual_seed(seed))
