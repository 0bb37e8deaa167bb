"""The audio encoder E_a: MFCC windows → audio code f_a in the space of the mouth code f_m (paper, section 3.2).

One code belongs to one video frame at 25 fps; frame k is centred at sample k * 640. The encoder sees the sound from
``past_ms`` before to ``lookahead_ms`` after that sample, and nothing else, so it streams exactly.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dfanerf_rt.audio.mfcc import MfccConfig, mfcc
from dfanerf_rt.errors import AvatarError, ShapeError
from dfanerf_rt.files import check_tensors, from_json_object, load_tensors, save_tensors

FRAME_SAMPLES = 640
"""Samples per video frame: 16 kHz at 25 fps."""
FEATURES_PER_FRAME = 4
SYNC_SCHEMA = "dfanerf-sync/1"
_CLAMP = 3.5


@dataclass(frozen=True)
class SyncConfig:
    """What the audio encoder hears, and its size."""

    lookahead_ms: float = 100.0
    """Sound after a frame that its code may depend on; it is added to the latency of a live avatar."""
    past_ms: float = 200.0
    """Sound before a frame that its code may depend on."""
    n_coefficients: int = 28
    """MFCC per 10 ms."""
    channels: int = 64
    code_dim: int = 32
    """Length of the audio code; that of the mouth code."""

    @property
    def mfcc(self) -> MfccConfig:
        """Framing of the features."""
        return MfccConfig(n_coefficients=self.n_coefficients)

    @property
    def n_past(self) -> int:
        """Feature frames before a video frame's own; their sound begins within ``past_ms``."""
        return int((self.past_ms * 16 - self.mfcc.latency_samples) // self.mfcc.hop_samples)

    @property
    def n_ahead(self) -> int:
        """Feature frames after a video frame's own; their sound ends within ``lookahead_ms``."""
        return int((self.lookahead_ms * 16 - self.mfcc.latency_samples) // self.mfcc.hop_samples)

    @property
    def n_window(self) -> int:
        """Feature frames in the window of one video frame."""
        return self.n_past + 1 + self.n_ahead

    @property
    def lead_samples(self) -> int:
        """Silence put before the sound, so that feature frame 0 opens the window of video frame 0."""
        return self.n_past * self.mfcc.hop_samples + self.mfcc.latency_samples

    def __post_init__(self) -> None:
        if self.n_ahead < 0 or self.n_past < 0 or self.n_window < 16:
            raise ValueError(
                f"past_ms {self.past_ms} and lookahead_ms {self.lookahead_ms} give {self.n_window} feature frames, "
                "expected 16 or more, and at least 12.5 ms on each side"
            )

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], where: Path = Path("avatar")) -> SyncConfig:
        """The inverse of ``dataclasses.asdict``.

        Raises:
            AvatarError: a key is unknown or a value unusable.
        """
        try:
            config = from_json_object(cls, values, f"{where}: sync settings", AvatarError)
        except ValueError as fault:
            raise AvatarError(f"{where}: damaged sync settings ({fault})") from fault
        for name in ("n_coefficients", "channels", "code_dim"):
            if getattr(config, name) < 1:
                raise AvatarError(f"{where}: sync setting {name} is {getattr(config, name)}, expected 1 or more")
        return config


class AudioEncoder(nn.Module):
    """E_a: a small convolutional network over MFCC, one output per four feature frames."""

    def __init__(self, config: SyncConfig | None = None, dropout: float = 0.0) -> None:
        super().__init__()
        self.config = config or SyncConfig()
        width = self.config.channels
        # Valid convolutions with a total stride of 4; the last kernel takes what remains of the window.
        remaining = ((self.config.n_window - 4) - 4) // 2 + 1
        remaining = (remaining - 4) // 2 + 1
        self.trunk = nn.Sequential(
            nn.Conv1d(self.config.n_coefficients, width, 5),
            nn.SiLU(),
            nn.Dropout1d(dropout),
            nn.Conv1d(width, width, 4, stride=2),
            nn.SiLU(),
            nn.Dropout1d(dropout),
            nn.Conv1d(width, width, 4, stride=2),
            nn.SiLU(),
            nn.Dropout(dropout),
            nn.Conv1d(width, width, remaining),
            nn.SiLU(),
            nn.Dropout(dropout),
        )
        self.head = nn.Conv1d(width, self.config.code_dim, 1)
        self.feature_mean: Tensor
        self.feature_std: Tensor
        self.code_mean: Tensor
        self.register_buffer("feature_mean", torch.zeros(self.config.n_coefficients))
        self.register_buffer("feature_std", torch.ones(self.config.n_coefficients))
        self.register_buffer("code_mean", torch.zeros(self.config.code_dim))

    def forward(self, features: Tensor) -> Tensor:
        """Codes of consecutive windows.

        Args:
            features: (B, T, n_coefficients) MFCC in dB; window i begins at feature frame 4 i.

        Returns:
            (B, (T - n_window) // 4 + 1, code_dim).
        """
        if features.ndim != 3 or features.shape[2] != self.config.n_coefficients:
            raise ShapeError(
                f"features: found shape {tuple(features.shape)}, expected (B, T, {self.config.n_coefficients})"
            )
        n_frames = (features.shape[1] - self.config.n_window) // FEATURES_PER_FRAME + 1
        if n_frames < 1:
            raise ShapeError(f"features: {features.shape[1]} frames, expected {self.config.n_window} or more")
        return self.from_normalised(self.normalise(features))[:, :n_frames]

    def normalise(self, features: Tensor) -> Tensor:
        """MFCC in dB → about unit variance; what lies far outside of the training sound is held at its edge."""
        return ((features - self.feature_mean) / self.feature_std).clamp(-_CLAMP, _CLAMP)

    def from_normalised(self, features: Tensor) -> Tensor:
        """(B, T, n_coefficients) normalised → (B, n, code_dim)."""
        return self.head(self.trunk(features.transpose(1, 2))).transpose(1, 2) + self.code_mean

    def state_tensors(self, prefix: str = "") -> dict[str, Tensor]:
        """All weights by name, each name with ``prefix`` before it; an avatar keeps them under ``"sync."``."""
        return {prefix + name: tensor.detach() for name, tensor in self.state_dict().items()}

    @classmethod
    def from_tensors(
        cls, tensors: Mapping[str, Tensor], config: SyncConfig, where: Path = Path("avatar")
    ) -> AudioEncoder:
        """The inverse of :meth:`state_tensors` without prefix, ready to use (evaluation mode).

        Raises:
            AvatarError: names the tensor that is missing or misshapen; ``where`` names the file.
        """
        encoder = cls(config)
        expected = {name: tuple(tensor.shape) for name, tensor in encoder.state_dict().items()}
        check_tensors(where, tensors, expected, AvatarError)
        encoder.load_state_dict({name: tensors[name] for name in expected})
        return encoder.eval().requires_grad_(False)

    def save(self, path: Path) -> None:
        """Write the weights as a ``.safetensors`` file."""
        save_tensors(path, self.state_tensors(), {"schema": SYNC_SCHEMA, "config": asdict(self.config)})

    @classmethod
    def load(cls, path: Path) -> AudioEncoder:
        """Read what :meth:`save` wrote.

        Raises:
            AvatarError: missing, damaged, or of another schema.
        """
        tensors, metadata = load_tensors(path, AvatarError)
        if metadata.get("schema") != SYNC_SCHEMA:
            raise AvatarError(f"{path}: schema is {metadata.get('schema')!r}, expected {SYNC_SCHEMA!r}")
        return cls.from_tensors(tensors, SyncConfig.from_dict(metadata.get("config") or {}, path), path)


def window_features(samples: NDArray[np.float32], n_frames: int, config: SyncConfig) -> NDArray[np.float32]:
    """MFCC under the windows of video frames 0 to ``n_frames`` - 1, silence before and after the sound.

    Args:
        samples: (N,) in [-1, 1] at 16 kHz.

    Returns:
        (4 (n_frames - 1) + n_window, n_coefficients); the window of frame k is rows 4 k to 4 k + n_window - 1.
    """
    n_rows = FEATURES_PER_FRAME * (n_frames - 1) + config.n_window
    needed = (n_rows - 1) * config.mfcc.hop_samples + config.mfcc.window_samples
    sound = np.zeros(needed, np.float32)
    kept = samples[: max(0, needed - config.lead_samples)]
    sound[config.lead_samples : config.lead_samples + len(kept)] = kept
    return mfcc(sound, config.mfcc)


@torch.inference_mode()
def encode_audio(encoder: AudioEncoder, samples: NDArray[np.float32], n_frames: int | None = None) -> Tensor:
    """Audio codes of a whole sound.

    Args:
        encoder: in evaluation mode.
        samples: (N,) in [-1, 1] at 16 kHz.
        n_frames: how many codes; the frames that begin within the sound when None.

    Returns:
        (n_frames, code_dim); code k belongs to the video frame at k / 25 s.
    """
    n_frames = -(-len(samples) // FRAME_SAMPLES) if n_frames is None else n_frames
    if n_frames < 1:
        return torch.zeros(0, encoder.config.code_dim)
    features = torch.from_numpy(window_features(np.asarray(samples, np.float32), n_frames, encoder.config))
    return encoder(features[None])[0].clone()
