"""Rivals of the motion model for its ablation (the paper's table 4): the same latent size, about as many weights.

Three have an i.i.d. prior, N(0, 1) in every frame, and a posterior without correlation, and differ in their networks.
All three decode from frames on both sides, which the model's own decoder does without. A fourth is the model itself
but for its posterior, the chain of Fortuin et al. 2020.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dfanerf_rt.motion.gaussian import ChainGaussian, Gaussian, Posterior, kl_divergence
from dfanerf_rt.motion.model import MotionConfig, MotionDecoder, MotionVae
from dfanerf_rt.motion.transformer import LocalTransformer

_SMALLEST_SCALE = 1e-4


class WindowMlp(nn.Module):
    """(B, T, n_in) → (B, T, n_out): a perceptron of two hidden layers over ``context`` frames on both sides.

    Beyond the ends of a sequence its first and last frame go on. A linear map stands beside it, as in the Transformer.
    """

    def __init__(self, n_in: int, n_out: int, hidden: int, context: int) -> None:
        super().__init__()
        self.context = context
        self.beside = nn.Linear(n_in, n_out)
        self.window = nn.Conv1d(n_in, hidden, 2 * context + 1)
        self.rest = nn.Sequential(nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU(), nn.Linear(hidden, n_out))

    def forward(self, x: Tensor) -> Tensor:
        padded = F.pad(x.mT, (self.context, self.context), mode="replicate")
        return self.beside(x) + self.rest(self.window(padded).mT)


class BothWaysLstm(nn.Module):
    """(B, T, n_in) → (B, T, n_out): an LSTM in each direction, and a linear map beside them."""

    def __init__(self, n_in: int, n_out: int, hidden: int) -> None:
        super().__init__()
        self.beside = nn.Linear(n_in, n_out)
        self.lstm = nn.LSTM(n_in, hidden, batch_first=True, bidirectional=True)
        self.leave = nn.Linear(2 * hidden, n_out)

    def forward(self, x: Tensor) -> Tensor:
        return self.beside(x) + self.leave(self.lstm(x)[0])


class StatisticsEncoder(nn.Module):
    """Motion → so many statistics of each latent dimension and frame."""

    def __init__(self, network: nn.Module, n_statistics: int) -> None:
        super().__init__()
        self.network, self.n_statistics = network, n_statistics

    def forward(self, motion: Tensor) -> tuple[Tensor, ...]:
        """(B, T, input_dim) → ``n_statistics`` times (B, L, T)."""
        return self.network(motion).mT.chunk(self.n_statistics, dim=1)


class IidVae(MotionVae):
    """The Transformer VAE with an i.i.d. prior and a posterior without correlation."""

    def _networks(self) -> tuple[nn.Module, MotionDecoder]:
        latent, motion = self.config.latent_dim, self.config.input_dim
        encoder = StatisticsEncoder(self.network(motion, 2 * latent), 2)
        return encoder, MotionDecoder(self.network(latent, motion))

    def network(self, n_in: int, n_out: int) -> nn.Module:
        """The encoder's or the decoder's network."""
        return _transformer(self.config, n_in, n_out)

    def prior(self, n_frames: int) -> Gaussian:
        """N(0, 1) in every frame and dimension."""
        identity = torch.eye(n_frames).expand(self.config.latent_dim, -1, -1)
        return Gaussian(identity.new_zeros(self.config.latent_dim, n_frames), identity)

    def _posterior(self, motion: Tensor) -> ChainGaussian:
        mean, scale = self.encoder(motion)
        return ChainGaussian(mean, torch.zeros_like(mean), F.softplus(scale) + _SMALLEST_SCALE)

    def divergence(self, posterior: Posterior | ChainGaussian) -> Tensor:
        """(B,) nats, each frame for itself."""
        assert isinstance(posterior, ChainGaussian)
        mean, scale = posterior.mean, posterior.scale
        return 0.5 * (mean.square() + scale.square() - 1 - 2 * scale.log()).sum((-2, -1))


class MlpVae(IidVae):
    """A perceptron over as many frames as the Transformer sees, with an i.i.d. prior."""

    def network(self, n_in: int, n_out: int) -> nn.Module:
        """A perceptron with as many weights as the Transformer."""
        context = self.config.context_frames
        return _of_size(_transformer(self.config, n_in, n_out), lambda h: WindowMlp(n_in, n_out, h, context))


class LstmVae(IidVae):
    """A bidirectional LSTM with an i.i.d. prior."""

    def network(self, n_in: int, n_out: int) -> nn.Module:
        """An LSTM with as many weights as the Transformer."""
        return _of_size(_transformer(self.config, n_in, n_out), lambda h: BothWaysLstm(n_in, n_out, h))


class ChainVae(MotionVae):
    """The Transformer GP-VAE with the posterior of Fortuin et al. 2020, whose precision has a bidiagonal factor."""

    def _networks(self) -> tuple[nn.Module, MotionDecoder]:
        _, decoder = super()._networks()
        encoder = _transformer(self.config, self.config.input_dim, 3 * self.config.latent_dim)
        return StatisticsEncoder(encoder, 3), decoder

    def _posterior(self, motion: Tensor) -> ChainGaussian:
        mean, carry, scale = self.encoder(motion)
        return ChainGaussian(mean, carry.tanh(), F.softplus(scale) + _SMALLEST_SCALE)

    def divergence(self, posterior: Posterior | ChainGaussian) -> Tensor:
        """(B,) nats."""
        assert isinstance(posterior, ChainGaussian)
        return kl_divergence(posterior, self.prior(posterior.mean.shape[-1])).sum(-1)


TWINS: dict[str, type[MotionVae]] = {
    "MLP VAE": MlpVae,
    "LSTM VAE": LstmVae,
    "Transformer VAE": IidVae,
    "Transformer GP-VAE": MotionVae,
    "Transformer GP-VAE, chain posterior": ChainVae,
}
"""The rows of table 4, and one more."""


def _transformer(config: MotionConfig, n_in: int, n_out: int) -> LocalTransformer:
    window = config.window_frames
    return LocalTransformer(n_in, n_out, config.width, config.layers, config.heads, before=window, after=window)


def _of_size(pattern: nn.Module, make: Callable[[int], nn.Module]) -> nn.Module:
    """The network whose number of weights is nearest to that of ``pattern``, by its number of hidden units."""
    wanted = n_weights(pattern)
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        above = bisect.bisect_left(range(1, 4096), wanted, key=lambda hidden: n_weights(make(hidden))) + 1
        hidden = min((max(above - 1, 1), above), key=lambda hidden: abs(n_weights(make(hidden)) - wanted))
    return make(hidden)


def n_weights(module: nn.Module) -> int:
    """Numbers that are trained."""
    return sum(weight.numel() for weight in module.parameters())
