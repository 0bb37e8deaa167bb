"""The audio encoder E_a: MFCC windows → audio code f_a in the space of the mouth code f_m (paper, section 3.2).

One code belongs to one video frame at 25 fps; frame k is centred at sample k * 640. The encoder sees the sound from
``past_ms`` before to ``lookahead_ms`` after that sample, and nothing else, so it streams exactly.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from dfanerf_rt.audio.mfcc import MfccConfig, mfcc
from dfanerf_rt.errors import AvatarError, ShapeError
from dfanerf_rt.files import check_tensors, from_json_object, load_tensors, save_tensors

FRAME_SAMPLES = 640
"""Samples per video frame: 16 kHz at 25 fps."""
CODES_PER_SECOND = 25.0
"""One code a video frame."""
FEATURES_PER_FRAME = 4
LIVE_LOOKAHEAD_MS = 100.0
"""What a live avatar waits for where nobody says otherwise."""
SYNC_SCHEMA = "dfanerf-sync/3"
_SHIFT_SAMPLES = 120
"""By which a video frame's own feature is centred after the frame: so a window ends with the look-ahead, to the sample,
where that is a multiple of 10 ms."""
_CLAMP = 3.5
_ASSET = Path(__file__).parent / "assets" / "sync.safetensors"
N_SIMILARITY = 8
"""Components in which codes of sound and lips are compared, see :meth:`AudioEncoder.comparable`."""
_SHORTEST = 16
"""Feature frames under one output of the trunk: 5 + 3 by the first two convolutions, 2 x 4 by the residuals."""


@dataclass(frozen=True)
class SyncConfig:
    """What the audio encoder hears, and its size."""

    lookahead_ms: float = 200.0
    """Sound after a frame that its code may depend on; :meth:`AudioEncoder.with_lookahead` lowers it after training.
    It is added to the latency of a live avatar."""
    past_ms: float = 315.0
    """Sound before a frame that its code may depend on."""
    n_coefficients: int = 28
    """MFCC per 10 ms."""
    channels: int = 144
    code_dim: int = 32
    """Length of the audio code; that of the mouth code."""
    close_from: float = 0.15
    """Probability of closed lips from which on they begin to close; see :meth:`AudioEncoder.decide`."""
    close_at: float = 0.45
    """Probability of closed lips from which on they are closed."""

    @property
    def mfcc(self) -> MfccConfig:
        """Framing of the features."""
        return MfccConfig(n_coefficients=self.n_coefficients)

    @property
    def n_past(self) -> int:
        """Feature frames before a video frame's own; their sound begins within ``past_ms``."""
        room = self.past_ms * 16 - self.mfcc.latency_samples + _SHIFT_SAMPLES
        return int(room // self.mfcc.hop_samples)

    @property
    def n_ahead(self) -> int:
        """Feature frames after a video frame's own; their sound ends within ``lookahead_ms``. Below 0 where even the
        frame's own feature would be too late. As odd or even as ``n_past`` + 1, so that the window is what the
        convolutions take."""
        room = self.lookahead_ms * 16 - self.mfcc.latency_samples - _SHIFT_SAMPLES
        ahead = int(room // self.mfcc.hop_samples)
        return ahead - (self.n_past + ahead + 1 + _SHORTEST) % 2

    @property
    def effective_lookahead_ms(self) -> float:
        """Sound that a code waits for: ``lookahead_ms``, or the next shorter one that the convolutions take."""
        return (self.n_ahead * self.mfcc.hop_samples + self.mfcc.latency_samples + _SHIFT_SAMPLES) / 16

    @property
    def n_window(self) -> int:
        """Feature frames in the window of one video frame."""
        return self.n_past + 1 + self.n_ahead

    @property
    def n_taps(self) -> int:
        """Outputs of the trunk, 20 ms apart, that one code is made of."""
        return (self.n_window - _SHORTEST) // 2 + 1

    @property
    def lead_samples(self) -> int:
        """Silence put before the sound, so that feature frame 0 opens the window of video frame 0."""
        return self.n_past * self.mfcc.hop_samples + self.mfcc.latency_samples - _SHIFT_SAMPLES

    def __post_init__(self) -> None:
        if self.lookahead_ms < 0 or self.past_ms < 12.5 or self.n_taps < 2:
            raise ValueError(
                f"past_ms {self.past_ms} and lookahead_ms {self.lookahead_ms} give {self.n_window} feature frames; "
                f"expected {_SHORTEST + 2} or more, and no negative lookahead"
            )
        if not 0.0 <= self.close_from < self.close_at <= 1.0:
            raise ValueError(f"lips close from {self.close_from} to {self.close_at}, expected 0 <= from < at <= 1")

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


class _Residual(nn.Module):
    """x + network(x) with a valid convolution of three frames; the first and the last frame are lost."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.wide = nn.Conv1d(width, width, 3)
        self.point = nn.Conv1d(width, width, 1)
        self.dropout = nn.Dropout1d(dropout)

    def forward(self, x: Tensor) -> Tensor:
        return x[..., 1:-1] + self.dropout(self.point(F.silu(self.wide(F.silu(x)))))


class AudioEncoder(nn.Module):
    """E_a: a convolutional network over MFCC, one output per four feature frames.

    Each output is three answers: what the mouth looks like if its lips are apart, what it looks like if they are
    closed, and how probable closed lips are. A regression alone answers with the mean of the two where it is in doubt,
    and a mouth that moves by it never closes on m, b and p.

    The trunk gives an output every 20 ms; the gather, a convolution whose taps span the window, makes a code of them.
    Every convolution is valid, so that a code depends on its own window alone. The last taps of the gather are those
    of the lookahead: without them the encoder is one of a shorter lookahead, and training leaves them out at times so
    that it is a good one.
    """

    def __init__(self, config: SyncConfig | None = None, dropout: float = 0.0) -> None:
        super().__init__()
        self.config = config or SyncConfig()
        width = self.config.channels
        self.trunk = nn.Sequential(
            nn.Conv1d(self.config.n_coefficients, width, 5),
            nn.SiLU(),
            nn.Conv1d(width, width, 4, stride=2),
            _Residual(width, dropout),
            _Residual(width, dropout),
            nn.SiLU(),
        )
        self.gather = nn.Conv1d(width, 2 * width, self.config.n_taps, stride=2)
        self.head = nn.Sequential(
            nn.SiLU(),
            nn.Dropout(dropout),
            nn.Conv1d(2 * width, width, 1),
            nn.SiLU(),
            nn.Dropout(dropout),
            nn.Conv1d(width, 2 * self.config.code_dim + 1, 1),
        )
        self.feature_mean: Tensor
        self.feature_std: Tensor
        self.code_mean: Tensor
        self.register_buffer("feature_mean", torch.zeros(self.config.n_coefficients))
        self.register_buffer("feature_std", torch.ones(self.config.n_coefficients))
        self.register_buffer("code_mean", torch.zeros(self.config.code_dim))
        self.similarity: Tensor
        self.register_buffer("similarity", torch.eye(self.config.code_dim, N_SIMILARITY))

    def with_lookahead(self, lookahead_ms: float) -> AudioEncoder:
        """The same encoder without the taps that lie further ahead than ``lookahead_ms``, in evaluation mode.

        Raises:
            ValueError: ``lookahead_ms`` is negative or more than the encoder was trained with.
        """
        if not 0.0 <= lookahead_ms <= self.config.lookahead_ms:
            raise ValueError(
                f"lookahead of {lookahead_ms:g} ms: this encoder was trained for 0 to {self.config.lookahead_ms:g} ms"
            )
        config = replace(self.config, lookahead_ms=lookahead_ms)
        state = self.state_dict()
        state["gather.weight"] = state["gather.weight"][:, :, : config.n_taps]
        return self._with(config, state)

    def undecided(self) -> AudioEncoder:
        """The same encoder with the mean of its answers, each as probable as it is: of least squared error, and with
        lips that stay ajar where it is in doubt. To compare with."""
        return self._with(replace(self.config, close_from=0.0, close_at=1.0), self.state_dict())

    def _with(self, config: SyncConfig, state: Mapping[str, Tensor]) -> AudioEncoder:
        """An encoder of these weights, ready to use where this one is."""
        other = AudioEncoder(config)
        other.load_state_dict(state)
        return other.to(self.code_mean.device).eval().requires_grad_(False)

    def live(self) -> AudioEncoder:
        """The encoder of a live avatar: 100 ms of lookahead, or all it was trained with where that is less."""
        return self.with_lookahead(min(LIVE_LOOKAHEAD_MS, self.config.lookahead_ms))

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
        apart, closed, logit = self.answers(features)
        return torch.lerp(apart, closed, self.decide(logit.sigmoid())[..., None])

    def answers(self, features: Tensor, n_taps: int | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """What the sound says of the lips.

        Args:
            features: (B, T, n_coefficients) normalised.
            n_taps: how many taps an answer is made of, the first ones; all when None.

        Returns:
            The code (B, n, code_dim) if the lips are apart, the same if they are closed, and the log odds (B, n) of
            closed lips.
        """
        taps = self.trunk(features.transpose(1, 2))
        weight = self.gather.weight[:, :, :n_taps]
        # What is left out at the end of the window is left out after the last window too: n does not change.
        taps = taps[..., : taps.shape[-1] - (self.gather.weight.shape[-1] - weight.shape[-1])]
        answer = self.head(F.conv1d(taps, weight, self.gather.bias, stride=2)).transpose(1, 2).float()
        apart, closed, logit = answer.split([self.config.code_dim, self.config.code_dim, 1], dim=-1)
        return apart + self.code_mean, closed + self.code_mean, logit[..., 0]

    def decide(self, probability: Tensor) -> Tensor:
        """How far lips close: 0 below ``close_from``, 1 from ``close_at`` on, a ramp between.

        The probability itself would give the mean code, which has the least squared error; but lips that should have
        closed and stay ajar are seen, and lips that close for 40 ms without need are not.
        """
        config = self.config
        return ((probability - config.close_from) / (config.close_at - config.close_from)).clamp(0.0, 1.0)

    def comparable(self, code: Tensor) -> Tensor:
        """Audio or mouth codes (T, code_dim) → (T, 8), where their cosine similarity says most about being in step.

        These are the principal components of talking mouths, each divided by the square root of its spread: opening
        the jaw, by far the largest, shall not be all that counts, nor noise count as much as the lips.
        """
        return (code - self.code_mean) @ self.similarity

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

    @classmethod
    def bundled(cls) -> AudioEncoder:
        """The encoder that comes with the package: taught by synthesised speech, it moves anybody's mouth to any voice.

        Its codes are those of the bundled autoencoder (:meth:`dfanerf_rt.attributes.model.AttributeModel.bundled`).
        """
        return cls.load(_ASSET)


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
