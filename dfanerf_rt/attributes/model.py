"""The disentangling autoencoder E_L, D_L: frontal landmarks ↔ mouth code f_m and eye code f_e (paper eq. 2).

The networks see how mouth and eyes are displaced from the person's own neutral face. In a linear 3DMM (eq. 1) identity
adds to expression, so this difference holds no identity at all: one bundled autoencoder serves every person, and the
same code means the same motion on each. The codes are trained to be nearly isometric: the distance of two codes is
proportional to the distance of the landmarks, with about unit variance in each dimension while a face talks, so that
noise in a code moves the face by a known, small amount.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dfanerf_rt.errors import AvatarError, ShapeError
from dfanerf_rt.files import check_tensors, load_tensors, save_tensors

MOUTH_LANDMARKS = slice(48, 68)
EYE_LANDMARKS = slice(36, 48)
N_MOUTH, N_EYES, N_LANDMARKS = 20, 12, 68
N_INPUT = 3 * (N_MOUTH + N_EYES)
ATTRIBUTES_SCHEMA = "dfanerf-attributes/1"
_ASSET = Path(__file__).parent / "assets" / "attributes.safetensors"


@dataclass(frozen=True)
class AttributeConfig:
    """Sizes of the autoencoder."""

    mouth_dim: int = 32
    """Length of the mouth code f_m, and so of the audio code f_a."""
    eye_dim: int = 16
    """Length of the eye code f_e."""
    hidden: int = 128


class _Perceptron(nn.Module):
    """Three layers beside a linear one, which carries most of what a nearly isometric map does."""

    def __init__(self, n_in: int, hidden: int, n_out: int) -> None:
        super().__init__()
        self.linear = nn.Linear(n_in, n_out)
        self.first = nn.Linear(n_in, hidden)
        self.middle = nn.Linear(hidden, hidden)
        self.last = nn.Linear(hidden, n_out)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x) + self.last(F.silu(self.middle(F.silu(self.first(x)))))


class AttributeEncoder(_Perceptron):
    """E_L: displacements of mouth and eyes (T, 96), normalised → codes (T, mouth_dim + eye_dim)."""

    def __init__(self, config: AttributeConfig) -> None:
        super().__init__(N_INPUT, config.hidden, config.mouth_dim + config.eye_dim)


class AttributeDecoder(_Perceptron):
    """D_L: codes (T, mouth_dim + eye_dim) → displacements of mouth and eyes (T, 96), normalised."""

    def __init__(self, config: AttributeConfig) -> None:
        super().__init__(config.mouth_dim + config.eye_dim, config.hidden, N_INPUT)


class AttributeModel(nn.Module):
    """Encoder and decoder with the statistics of their input and the neutral face of one person."""

    def __init__(self, config: AttributeConfig | None = None) -> None:
        super().__init__()
        self.config = config or AttributeConfig()
        self.encoder = AttributeEncoder(self.config)
        self.decoder = AttributeDecoder(self.config)
        self.neutral: Tensor
        self.scale_m: Tensor
        self.register_buffer("neutral", torch.zeros(N_LANDMARKS, 3))
        self.register_buffer("scale_m", torch.full((2,), 1e-3))

    def for_person(self, neutral: Tensor) -> AttributeModel:
        """The same weights for another person.

        Args:
            neutral: (68, 3) landmarks of the person's identity without expression, head frame, metres.
        """
        if tuple(neutral.shape) != (N_LANDMARKS, 3):
            raise ShapeError(f"neutral: found shape {tuple(neutral.shape)}, expected (68, 3)")
        other = AttributeModel(self.config)
        other.load_state_dict(self.state_dict())
        other.neutral.copy_(neutral)
        return other.to(self.scale_m.device).eval().requires_grad_(False)

    def encode(self, landmarks: Tensor) -> tuple[Tensor, Tensor]:
        """Codes of frontal landmarks, E_L of eq. 2.

        Args:
            landmarks: (T, 68, 3) head frame, metres, iBUG order.

        Returns:
            ``mouth_code`` (T, 32) and ``eye_code`` (T, 16); about unit variance over talking faces.

        Raises:
            ShapeError: another shape.
        """
        if landmarks.ndim != 3 or tuple(landmarks.shape[1:]) != (N_LANDMARKS, 3):
            raise ShapeError(f"landmarks: found shape {tuple(landmarks.shape)}, expected (T, 68, 3)")
        code = self.encoder(self.normalise(landmarks))
        return code[:, : self.config.mouth_dim], code[:, self.config.mouth_dim :]

    def decode(self, mouth_code: Tensor, eye_code: Tensor) -> tuple[Tensor, Tensor]:
        """Landmarks of codes, D_L of eq. 2.

        Args:
            mouth_code: (T, 32).
            eye_code: (T, 16).

        Returns:
            Mouth (T, 20, 3), landmarks 48-67, and eyes (T, 12, 3), landmarks 36-47; head frame, metres.
        """
        mouth, eyes = self.split(self.decoder(torch.cat([mouth_code, eye_code], dim=-1)))
        return mouth + self.neutral[MOUTH_LANDMARKS], eyes + self.neutral[EYE_LANDMARKS]

    def normalise(self, landmarks: Tensor) -> Tensor:
        """(T, 68, 3) metres → (T, 96) displacements from neutral, mouth then eyes, each in units of its spread."""
        offset = landmarks - self.neutral
        mouth, eyes = offset[:, MOUTH_LANDMARKS] / self.scale_m[0], offset[:, EYE_LANDMARKS] / self.scale_m[1]
        return torch.cat([mouth.flatten(1), eyes.flatten(1)], dim=1)

    def split(self, displacement: Tensor) -> tuple[Tensor, Tensor]:
        """(T, 96) normalised → displacements of the mouth (T, 20, 3) and the eyes (T, 12, 3) in metres."""
        mouth = displacement[:, : 3 * N_MOUTH].reshape(-1, N_MOUTH, 3) * self.scale_m[0]
        return mouth, displacement[:, 3 * N_MOUTH :].reshape(-1, N_EYES, 3) * self.scale_m[1]

    def state_tensors(self, prefix: str = "") -> dict[str, Tensor]:
        """All weights by name, each name with ``prefix`` before it; an avatar keeps them under ``"attributes."``."""
        return {prefix + name: tensor.detach() for name, tensor in self.state_dict().items()}

    @classmethod
    def from_tensors(
        cls, tensors: Mapping[str, Tensor], config: AttributeConfig | None = None, where: Path = Path("avatar")
    ) -> AttributeModel:
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
        save_tensors(path, self.state_tensors(), {"schema": ATTRIBUTES_SCHEMA, "config": asdict(self.config)})

    @classmethod
    def load(cls, path: Path) -> AttributeModel:
        """Read what :meth:`save` wrote.

        Raises:
            AvatarError: missing, damaged, or of another schema.
        """
        tensors, metadata = load_tensors(path, AvatarError)
        if metadata.get("schema") != ATTRIBUTES_SCHEMA:
            raise AvatarError(f"{path}: schema is {metadata.get('schema')!r}, expected {ATTRIBUTES_SCHEMA!r}")
        try:
            config = AttributeConfig(**metadata["config"])
        except (KeyError, TypeError) as fault:
            raise AvatarError(f"{path}: damaged configuration ({fault})") from fault
        return cls.from_tensors(tensors, config, path)

    @classmethod
    def bundled(cls) -> AttributeModel:
        """The autoencoder that comes with the package, with the mean face as its person."""
        return _bundled().for_person(_bundled().neutral)


def mouth_opening(mouth: Tensor) -> Tensor:
    """Gap between the inner lips as seen from the front, mean of landmark pairs 61-67, 62-66, 63-65.

    Args:
        mouth: (T, 20, 3) landmarks 48-67 in the head frame, or (T, 20, 2) in a picture. Depth is left out: closed
            lips may lie millimetres behind one another.

    Returns:
        (T,) in the unit of ``mouth``.
    """
    return (mouth[:, 13:16, :2] - mouth[:, [19, 18, 17], :2]).norm(dim=-1).mean(dim=-1)


@lru_cache(maxsize=1)
def _bundled() -> AttributeModel:
    return AttributeModel.load(_ASSET)
