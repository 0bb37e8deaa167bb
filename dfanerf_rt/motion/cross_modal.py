"""The cross-modal encoder E_ah (paper eq. 9): audio codes and a beginning of pose in one sequence → what comes next.

A path is continued block by block. The Gaussian process says how a path goes on from its own past. E_ah looks at what
is heard and at how the head has moved, and adds evidence on each frame of the block, as the encoder E_h does on frames
that are there (:class:`~dfanerf_rt.motion.gaussian.Posterior`). Both are Gaussian, so they are joined exactly:

    q(z_block) ~ p(z_block | z_past) prod_t N(value_t | z_t, 1 / precision_t)

p(z_block | z_past) is the process given the last ``past_frames`` of the path. Where E_ah has nothing to say, its
precision is near 0 and the path goes on as the process does: as smooth, as wide, and without a seam, because the past
is conditioned on and not merely approached.

What the sound adds to the evidence can be counted several times (``guidance``), as classifier-free guidance does with
what a text adds to a picture (Ho and Salimans 2022): with natural parameters e = (precision, precision x value), the
evidence is e(deaf) + guidance (e(hearing) - e(deaf)).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from dfanerf_rt.errors import AvatarError, ShapeError
from dfanerf_rt.files import check_tensors, from_json_object, load_tensors, save_tensors
from dfanerf_rt.motion.gaussian import Conditional, Gaussian, Posterior
from dfanerf_rt.motion.model import MotionConfig
from dfanerf_rt.motion.transformer import LocalTransformer

CROSS_MODAL_SCHEMA = "dfanerf-cross-modal/1"
_LOG_PRECISION = -12.0, 9.0
_FIRST_LOG_PRECISION = -1.0
"""Untrained evidence is weak, so that training begins at the process itself."""


@dataclass(frozen=True)
class CrossModalConfig:
    """Sizes of the encoder, and of the blocks that it continues a path by."""

    sound_dim: int = 32
    """Channels of f_a."""
    block_frames: int = 5
    """Frames that are drawn at a time, when the audio code of the first of them is there."""
    past_frames: int = 96
    """Latent frames before a block that the process is conditioned on."""
    width: int = 64
    layers: int = 2
    heads: int = 4
    window_frames: int = 12
    """A layer attends to so many frames before a frame."""
    guidance: float = 1.0
    """How many times what the sound adds to the evidence counts when a path is continued; training takes it once."""

    @property
    def context_frames(self) -> int:
        """Frames of sound and pose before a block that its first frame depends on."""
        return self.layers * self.window_frames

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if name != "guidance" and value < 1:
                raise ValueError(f"{name} is {value}, expected 1 or more")
        if not 0 <= self.guidance < math.inf:
            raise ValueError(f"guidance is {self.guidance}, expected 0 or more")
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is no multiple of {self.heads} heads")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], where: Path = Path("avatar")) -> CrossModalConfig:
        """The inverse of ``dataclasses.asdict``.

        Raises:
            AvatarError: a key is unknown or a value unusable.
        """
        try:
            return from_json_object(cls, values, f"{where}: settings of the cross-modal encoder", AvatarError)
        except ValueError as fault:
            raise AvatarError(f"{where}: damaged settings of the cross-modal encoder ({fault})") from fault


class CrossModalEncoder(nn.Module):
    """E_ah for the latent path of one motion model.

    Args:
        motion: sizes and kernels of the model whose path is continued.
        config: sizes of the encoder.
    """

    def __init__(self, motion: MotionConfig, config: CrossModalConfig | None = None) -> None:
        super().__init__()
        self.motion, self.config = motion, config or CrossModalConfig()
        config = self.config
        # A channel beside the sound and one beside the pose say whether they are known in a frame.
        n_in = config.sound_dim + motion.input_dim + 2
        sizes = (config.width, config.layers, config.heads)
        self.network = LocalTransformer(n_in, 2 * motion.latent_dim, *sizes, before=config.window_frames, after=0)
        last = self.network.leave[-1]
        assert isinstance(last, nn.Linear)
        for layer in (last, self.network.beside):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        with torch.no_grad():
            last.bias[motion.latent_dim :] = _FIRST_LOG_PRECISION
        past, block = config.past_frames, config.block_frames
        self._continued = Conditional.of(motion.kernels, torch.arange(past), torch.arange(past, past + block))

    def continued(self, past: Tensor) -> Gaussian:
        """p(z_block | z_past): how the process goes on by itself.

        Args:
            past: (B, L, past_frames), the newest frame last.

        Returns:
            A Gaussian over (B, L, block_frames).
        """
        return self._continued.given(past)

    def forward(self, past: Tensor, sound: Tensor, sound_known: Tensor, pose: Tensor, pose_known: Tensor) -> Posterior:
        """The block's latent path, given its past, what is heard, and a beginning of pose (paper eq. 9).

        Args:
            past: (B, L, past_frames) of the latent path.
            sound: (B, T, sound_dim) audio codes of the frames before the block and of the block, which is the last
                ``block_frames`` of T.
            sound_known: (B, T) 1 where the code has arrived, 0 where not; the others are not looked at.
            pose: (B, T, input_dim) normalised motion of the same frames.
            pose_known: (B, T) as ``sound_known``.

        Returns:
            The posterior over (B, L, block_frames).

        Raises:
            ShapeError: another shape.
        """
        prior = self.continued(self._checked(past, sound, sound_known, pose, pose_known))
        shift, precision = self._evidence(sound, sound_known, pose, pose_known)
        # Evidence is told as a distance from where the path goes by itself: none is a fair first guess.
        return Posterior.given(prior, prior.mean + shift, precision)

    def guided(self, past: Tensor, sound: Tensor, sound_known: Tensor, pose: Tensor, pose_known: Tensor) -> Posterior:
        """As :meth:`forward`, with what the sound adds to the evidence counted ``config.guidance`` times."""
        times = self.config.guidance
        if times == 1.0 or not bool(sound_known.any()):
            return self(past, sound, sound_known, pose, pose_known)
        prior = self.continued(self._checked(past, sound, sound_known, pose, pose_known))
        n_batch = len(past)
        both = [torch.cat([given, given]) for given in (sound, pose, pose_known)]
        shift, precision = self._evidence(
            both[0], torch.cat([sound_known, torch.zeros_like(sound_known)]), both[1], both[2]
        )
        hearing, deaf = precision.split(n_batch)
        pull = precision * shift
        low, high = (math.exp(value) for value in _LOG_PRECISION)
        counted = (deaf + times * (hearing - deaf)).clamp(low, high)
        pulled = pull[n_batch:] + times * (pull[:n_batch] - pull[n_batch:])
        return Posterior.given(prior, prior.mean + pulled / counted, counted)

    def _evidence(self, sound: Tensor, sound_known: Tensor, pose: Tensor, pose_known: Tensor) -> tuple[Tensor, Tensor]:
        """Distance from where the path goes by itself, and precision, (B, L, block_frames) each."""
        heard, seen = sound_known[..., None], pose_known[..., None]
        # "where" and not a product: what is not known may hold anything.
        sequence = torch.cat([torch.where(heard > 0, sound, 0.0), heard, torch.where(seen > 0, pose, 0.0), seen], -1)
        shift, log_precision = self.network(sequence)[:, -self.config.block_frames :].mT.chunk(2, dim=1)
        return shift, log_precision.clamp(*_LOG_PRECISION).exp()

    def _checked(self, past: Tensor, sound: Tensor, sound_known: Tensor, pose: Tensor, pose_known: Tensor) -> Tensor:
        """``past``, once all shapes are right."""
        n_batch, n_frames = sound_known.shape
        expected = {
            "past": (past, (n_batch, self.motion.latent_dim, self.config.past_frames)),
            "sound": (sound, (n_batch, n_frames, self.config.sound_dim)),
            "pose": (pose, (n_batch, n_frames, self.motion.input_dim)),
            "pose_known": (pose_known, (n_batch, n_frames)),
        }
        for name, (found, shape) in expected.items():
            if tuple(found.shape) != shape:
                raise ShapeError(f"{name}: found shape {tuple(found.shape)}, expected {shape}")
        if n_frames < self.config.block_frames:
            raise ShapeError(f"{n_frames} frames hold no block of {self.config.block_frames}")
        return past

    def state_tensors(self, prefix: str = "") -> dict[str, Tensor]:
        """All weights by name, each name with ``prefix`` before it."""
        return {prefix + name: tensor.detach() for name, tensor in self.state_dict().items()}

    @classmethod
    def from_tensors(
        cls,
        tensors: Mapping[str, Tensor],
        motion: MotionConfig,
        config: CrossModalConfig,
        where: Path = Path("avatar"),
    ) -> Self:
        """The inverse of :meth:`state_tensors` without prefix, ready to use (evaluation mode).

        Raises:
            AvatarError: names the tensor that is missing or misshapen; ``where`` names the file.
        """
        model = cls(motion, config)
        expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
        check_tensors(where, tensors, expected, AvatarError)
        model.load_state_dict({name: tensors[name] for name in expected})
        return model.eval().requires_grad_(False)

    def save(self, path: Path) -> None:
        """Write the weights as a ``.safetensors`` file."""
        settings = {"config": asdict(self.config), "motion": asdict(self.motion)}
        save_tensors(path, self.state_tensors(), {"schema": CROSS_MODAL_SCHEMA, **settings})

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what :meth:`save` wrote.

        Raises:
            AvatarError: missing, damaged, or of another schema.
        """
        tensors, metadata = load_tensors(path, AvatarError)
        if metadata.get("schema") != CROSS_MODAL_SCHEMA:
            raise AvatarError(f"{path}: schema is {metadata.get('schema')!r}, expected {CROSS_MODAL_SCHEMA!r}")
        motion = MotionConfig.from_dict(metadata.get("motion") or {}, path)
        return cls.from_tensors(tensors, motion, CrossModalConfig.from_dict(metadata.get("config") or {}, path), path)
