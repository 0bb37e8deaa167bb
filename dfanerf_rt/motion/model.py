"""The Transformer GP-VAE of motion: an encoder E_h, a Gaussian process over its latent path, a decoder D (eq. 4 to 8).

One class serves the head pose and the eyes; motion is (T, C) at 25 fps in the units of its channels. A latent path is
(L, T), time last.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from dfanerf_rt.errors import AvatarError, ShapeError
from dfanerf_rt.files import check_tensors, from_json_object, load_tensors, save_tensors
from dfanerf_rt.motion.gaussian import ChainGaussian, Gaussian, Posterior, prior
from dfanerf_rt.motion.kernel import CauchyKernel, multi_scale
from dfanerf_rt.motion.transformer import LocalTransformer

MOTION_SCHEMA = "dfanerf-motion/1"
_LOG_PRECISION = -12.0, 9.0
"""A look at a frame is never blinder nor sharper than this: noise of 400 and of 0.01 of a path's deviation."""


@dataclass(frozen=True)
class MotionConfig:
    """Sizes of the model and its Gaussian process."""

    input_dim: int = 6
    """Channels: 6 of a head pose, 16 of an eye code."""
    latent_dim: int = 8
    """Dimensions L of the latent path."""
    width: int = 64
    layers: int = 2
    """Of the encoder, and of the decoder."""
    heads: int = 4
    window_frames: int = 6
    """A layer of the encoder attends to so many frames before and after a frame, one of the decoder to those before."""
    length_frames: float = 64.0
    """The longest length scale of the Cauchy kernels."""
    n_scales: int = 4
    """Groups of latent dimensions, each of half the length scale of the one before."""
    jitter: float = 1e-3
    """White noise in a latent path, beside its variance of 1."""
    beta: float = 0.01
    """Weight of the divergence in the objective; the variance that the decoder's error may have, in units of that of
    the motion."""

    @property
    def context_frames(self) -> int:
        """Latent frames before a frame that it is decoded from, beside its own; none after it."""
        return self.layers * self.window_frames

    @property
    def kernels(self) -> tuple[CauchyKernel, ...]:
        """One for each latent dimension."""
        return multi_scale(self.length_frames, self.n_scales, self.latent_dim, self.jitter)

    def __post_init__(self) -> None:
        sizes = {name: getattr(self, name) for name in ("input_dim", "latent_dim", "width", "layers", "heads")}
        for name, value in {**sizes, "window_frames": self.window_frames}.items():
            if value < 1:
                raise ValueError(f"{name} is {value}, expected 1 or more")
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is no multiple of {self.heads} heads")
        if not self.beta > 0:
            raise ValueError(f"beta is {self.beta}, expected more than 0")
        _ = self.kernels  # refuses its own settings

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], where: Path = Path("avatar")) -> MotionConfig:
        """The inverse of ``dataclasses.asdict``.

        Raises:
            AvatarError: a key is unknown or a value unusable.
        """
        try:
            return from_json_object(cls, values, f"{where}: motion settings", AvatarError)
        except ValueError as fault:
            raise AvatarError(f"{where}: damaged motion settings ({fault})") from fault


class MotionEncoder(nn.Module):
    """E_h: motion → what is seen of the latent path in each frame, and how well (paper eq. 4).

    Args:
        network: (B, T, input_dim) → (B, T, 2 latent_dim).
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, motion: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T, input_dim) normalised → value (B, L, T) and precision (B, L, T), as of :meth:`Posterior.given`."""
        value, log_precision = self.network(motion).mT.chunk(2, dim=1)
        return value, log_precision.clamp(*_LOG_PRECISION).exp()


class MotionDecoder(nn.Module):
    """D: latent path → motion (paper eq. 6).

    It looks back alone, so that a live head need not wait for the latent path of frames to come.

    Args:
        network: (B, T, latent_dim) → (B, T, input_dim).
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, latent: Tensor) -> Tensor:
        """(B, L, T) → (B, T, input_dim), normalised."""
        return self.network(latent.mT)


class MotionVae(nn.Module):
    """E_h and D, the prior between them, and the statistics of the channels."""

    def __init__(self, config: MotionConfig | None = None) -> None:
        super().__init__()
        self.config = config or MotionConfig()
        self.encoder, self.decoder = self._networks()
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.zeros(self.config.input_dim))
        self.register_buffer("std", torch.ones(self.config.input_dim))

    def _networks(self) -> tuple[nn.Module, MotionDecoder]:
        config, size = self.config, (self.config.width, self.config.layers, self.config.heads)
        window = config.window_frames
        encoder = LocalTransformer(config.input_dim, 2 * config.latent_dim, *size, before=window, after=window)
        decoder = LocalTransformer(config.latent_dim, config.input_dim, *size, before=window, after=0)
        return MotionEncoder(encoder), MotionDecoder(decoder)

    def normalise(self, motion: Tensor) -> Tensor:
        """(..., C) in units → about zero mean and unit variance."""
        return (motion - self.mean) / self.std

    def prior(self, n_frames: int) -> Gaussian:
        """p(z): the Gaussian process over ``n_frames`` frames of the latent path (paper eq. 7)."""
        return prior(self.config.kernels, n_frames, self.mean.dtype)

    def posterior(self, motion: Tensor) -> Posterior | ChainGaussian:
        """q(z | h): the latent path of a motion (paper eq. 4).

        Time grows with the cube of T beyond some hundred frames: cut what is longer than a minute.

        Args:
            motion: (B, T, input_dim) in units; T may be any, from 1.

        Returns:
            A Gaussian over (B, L, T).

        Raises:
            ShapeError: another shape.
        """
        if motion.ndim != 3 or motion.shape[1] < 1 or motion.shape[2] != self.config.input_dim:
            raise ShapeError(f"motion: found shape {tuple(motion.shape)}, expected (B, T, {self.config.input_dim})")
        return self._posterior(self.normalise(motion))

    def _posterior(self, motion: Tensor) -> Posterior | ChainGaussian:
        value, precision = self.encoder(motion)
        return Posterior.given(self.prior(motion.shape[1]), value, precision)

    def divergence(self, posterior: Posterior | ChainGaussian) -> Tensor:
        """KL from posterior to prior, summed over the latent dimensions: (B, L, T) → (B,) nats (paper eq. 8)."""
        assert isinstance(posterior, Posterior)
        return posterior.divergence().sum(-1)

    def decode(self, latent: Tensor) -> Tensor:
        """A motion of a latent path.

        Frame t is made of latent frames t - ``config.context_frames`` to t, so that a long path can be decoded in
        blocks, each with so many latent frames of its past in front.

        Args:
            latent: (B, L, T).

        Returns:
            (B, T, input_dim) in units.

        Raises:
            ShapeError: another shape.
        """
        if latent.ndim != 3 or latent.shape[1] != self.config.latent_dim or latent.shape[2] < 1:
            raise ShapeError(
                f"latent path: found shape {tuple(latent.shape)}, expected (B, {self.config.latent_dim}, T)"
            )
        return self.decoder(latent) * self.std + self.mean

    def reconstruct(self, motion: Tensor) -> Tensor:
        """(B, T, input_dim) in units → the same through the mean of its latent path."""
        return self.decode(self.posterior(motion).mean)

    def state_tensors(self, prefix: str = "") -> dict[str, Tensor]:
        """All weights by name, each name with ``prefix`` before it."""
        return {prefix + name: tensor.detach() for name, tensor in self.state_dict().items()}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], config: MotionConfig, where: Path = Path("avatar")) -> Self:
        """The inverse of :meth:`state_tensors` without prefix, ready to use (evaluation mode).

        Raises:
            AvatarError: names the tensor that is missing or misshapen; ``where`` names the file.
        """
        model = cls(config)
        expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
        check_tensors(where, tensors, expected, AvatarError)
        model.load_state_dict({name: tensors[name] for name in expected})
        return model.eval().requires_grad_(False)

    def save(self, path: Path) -> None:
        """Write the weights as a ``.safetensors`` file."""
        save_tensors(path, self.state_tensors(), {"schema": MOTION_SCHEMA, "config": asdict(self.config)})

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what :meth:`save` wrote.

        Raises:
            AvatarError: missing, damaged, or of another schema.
        """
        tensors, metadata = load_tensors(path, AvatarError)
        if metadata.get("schema") != MOTION_SCHEMA:
            raise AvatarError(f"{path}: schema is {metadata.get('schema')!r}, expected {MOTION_SCHEMA!r}")
        return cls.from_tensors(tensors, MotionConfig.from_dict(metadata.get("config") or {}, path), path)
