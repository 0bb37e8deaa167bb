"""Training of the disentangling autoencoder on landmarks of the head model (paper eq. 2)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from dfanerf_rt.attributes.model import N_INPUT, N_MOUTH, AttributeConfig, AttributeModel
from dfanerf_rt.attributes.sampling import sample_expressions

TYPICAL_STRENGTH = 0.5
"""Strength of everyday speech against the drawn expressions; measured on tracked speakers."""


class LandmarkModel(Protocol):
    """What is needed of a 3DMM: eq. 1 at the landmarks."""

    id_basis: Tensor

    def landmarks(self, identity: Tensor, expression: Tensor) -> Tensor:
        """(..., K), (..., 52) → (..., 68, 3) metres."""
        ...


def neutral_face(face_model: LandmarkModel, landmarks: Tensor, expression: Tensor) -> Tensor:
    """The neutral landmarks of a tracked person, for :meth:`AttributeModel.for_person`.

    Args:
        face_model: the 3DMM the person was tracked with.
        landmarks: (T, 68, 3) of the track, metres.
        expression: (T, E) of the track.

    Returns:
        (68, 3): what is left of the landmarks without the expression, the mean over all frames (eq. 1).
    """
    nobody = torch.zeros(1, face_model.id_basis.shape[0])
    motion = face_model.landmarks(nobody, expression) - face_model.landmarks(nobody, torch.zeros_like(expression[:1]))
    return (landmarks - motion).mean(dim=0)


@dataclass(frozen=True)
class AttributeTraining:
    """Schedule and weights of the losses."""

    steps: int = 4000
    batch: int = 512
    n_faces: int = 60_000
    learning_rate: float = 2e-3
    code_noise: float = 0.1
    """Standard deviation of the noise on the codes while decoding: a code near another decodes to a face near it."""
    landmark_noise_m: float = 2e-4
    """Jitter of the encoder's input, about that of tracked landmarks."""
    isometry_weight: float = 0.3
    """Weight of | distance of two codes - scaled distance of their landmarks |."""


@torch.enable_grad()
def train_attributes(
    face_model: LandmarkModel,
    config: AttributeConfig | None = None,
    training: AttributeTraining | None = None,
    seed: int = 0,
    on_progress: Callable[[float, dict[str, float]], None] = lambda fraction, scalars: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> AttributeModel:
    """Train E_L and D_L on random identities and expressions, eq. 2.

    Each step takes faces A and B, encodes both, exchanges the mouth codes, the eye codes or neither, and asks the
    decoder for the face with the exchanged parts, L1.

    Args:
        face_model: the 3DMM to draw faces from.
        config: sizes.
        training: schedule.
        seed: of data, weights and noise.
        on_progress: called every 50 steps with the fraction done and the losses (``l1_mm`` of plain faces,
            ``swap_mm``, ``isometry``).
        should_stop: asked every step; True ends training early.

    Returns:
        The model in evaluation mode, its person being the mean face.
    """
    training = training or AttributeTraining()
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AttributeModel(config)
    expression = sample_expressions(training.n_faces, generator)
    identity = torch.randn(training.n_faces, face_model.id_basis.shape[0], generator=generator)
    with torch.no_grad():
        rest = torch.zeros(1, expression.shape[1])
        model.neutral.copy_(face_model.landmarks(torch.zeros_like(identity[:1]), rest)[0])
        # A person's neutral is known to the user of the codes; faces are moved onto the mean face's neutral.
        landmarks = torch.cat(
            [
                face_model.landmarks(who, what) - face_model.landmarks(who, torch.zeros_like(what)) + model.neutral
                for who, what in zip(identity.split(4096), expression.split(4096), strict=True)
            ]
        )
        model.scale_m.fill_(1.0)
        raw = model.normalise(landmarks)
        n_mouth = 3 * N_MOUTH
        model.scale_m[0], model.scale_m[1] = raw[:, :n_mouth].std(), raw[:, n_mouth:].std()
        faces = model.normalise(landmarks)
        stretch = _stretch(model, face_model, generator)
    jitter = training.landmark_noise_m / model.scale_m.repeat_interleave(torch.tensor([n_mouth, N_INPUT - n_mouth]))
    optimiser = torch.optim.Adam(model.parameters(), lr=training.learning_rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, training.learning_rate, training.steps, pct_start=0.1)
    n_code, n_plain = model.config.mouth_dim, training.batch // 4
    mouth_or_eyes = torch.tensor([0, 1])

    for step in range(training.steps):
        if should_stop():
            break
        a, b = faces[torch.randint(len(faces), (2, training.batch), generator=generator)]
        code_a, code_b = (
            model.encoder(face + jitter * torch.randn(face.shape, generator=generator)) for face in (a, b)
        )
        take_b = torch.rand(training.batch, 2, generator=generator) < 0.5
        take_b[:n_plain] = False
        in_code = take_b[:, mouth_or_eyes.repeat_interleave(torch.tensor([n_code, code_a.shape[1] - n_code]))]
        in_face = take_b[:, mouth_or_eyes.repeat_interleave(torch.tensor([n_mouth, N_INPUT - n_mouth]))]
        code = torch.where(in_code, code_b, code_a)
        decoded = model.decoder(code + training.code_noise * torch.randn(code.shape, generator=generator))
        error = (decoded - torch.where(in_face, b, a)).abs().mean(dim=1)
        isometry = _isometry(code_a, code_b, a, b, n_code, n_mouth, stretch)
        loss = error.mean() + training.isometry_weight * isometry
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        schedule.step()
        if step % 50 == 49 or step == training.steps - 1:
            l1_mm = 1e3 * float(model.scale_m.mean()) * error.detach()
            scalars = {"l1_mm": float(l1_mm[:n_plain].mean()), "swap_mm": float(l1_mm[n_plain:].mean())}
            on_progress((step + 1) / training.steps, scalars | {"isometry": float(isometry.detach())})
    _spread_variance(model, face_model, generator)
    return model.eval().requires_grad_(False)


def _stretch(model: AttributeModel, face_model: LandmarkModel, generator: torch.Generator) -> tuple[float, float]:
    """Code distance per normalised landmark distance that gives unit variance per dimension on talking faces."""
    faces = model.normalise(_talking(model, face_model, generator))
    n_mouth = 3 * N_MOUTH
    spread = (float(faces[:, :n_mouth].var(dim=0).sum()), float(faces[:, n_mouth:].var(dim=0).sum()))
    return (model.config.mouth_dim / spread[0]) ** 0.5, (model.config.eye_dim / spread[1]) ** 0.5


def _talking(model: AttributeModel, face_model: LandmarkModel, generator: torch.Generator) -> Tensor:
    """Landmarks of faces that talk as people do before a camera: with half the strength of those trained on."""
    expression = TYPICAL_STRENGTH * sample_expressions(4096, generator, talking_only=True)
    identity = torch.zeros(len(expression), face_model.id_basis.shape[0])
    return face_model.landmarks(identity, expression)


def _isometry(
    code_a: Tensor, code_b: Tensor, a: Tensor, b: Tensor, n_code: int, n_mouth: int, stretch: tuple[float, float]
) -> Tensor:
    """Mean | |code_a - code_b| - stretch |a - b| | over mouth and eyes, per unit of code."""
    total = code_a.new_zeros(())
    for codes, points, scale in (
        (slice(0, n_code), slice(0, n_mouth), stretch[0]),
        (slice(n_code, None), slice(n_mouth, None), stretch[1]),
    ):
        code_distance = (code_a[:, codes] - code_b[:, codes]).norm(dim=1)
        face_distance = (a[:, points] - b[:, points]).norm(dim=1)
        total = total + (code_distance - scale * face_distance).abs().mean()
    return total


@torch.no_grad()
def _spread_variance(model: AttributeModel, face_model: LandmarkModel, generator: torch.Generator) -> None:
    """Rotate and shift the codes, so that talking faces have zero mean and equal variance in every dimension.

    A rotation keeps distances. The principal axes are turned by a Hadamard matrix, which mixes all of them equally
    into every dimension. Encoder and decoder take up the rotation and its inverse in their outer layers.
    """
    code = model.encoder(model.normalise(_talking(model, face_model, generator)))
    n_code = model.config.mouth_dim
    turn, shift = torch.zeros(code.shape[1], code.shape[1]), code.mean(dim=0)
    for part in (slice(0, n_code), slice(n_code, None)):
        centred = code[:, part] - shift[part]
        _, axes = torch.linalg.eigh(centred.T @ centred)
        turn[part, part] = _hadamard(axes.shape[0]) @ axes.T
    for layer in (model.encoder.linear, model.encoder.last):
        layer.weight.copy_(turn @ layer.weight)
        layer.bias.copy_(turn @ layer.bias)
    model.encoder.linear.bias.sub_(turn @ shift)
    for layer in (model.decoder.linear, model.decoder.first):
        layer.bias.add_(layer.weight @ shift)
        layer.weight.copy_(layer.weight @ turn.T)


def _hadamard(n: int) -> Tensor:
    """An orthonormal (n, n) matrix with entries of equal size; the identity where n is no power of two."""
    if n & (n - 1):
        return torch.eye(n)
    matrix = torch.ones(1, 1)
    while len(matrix) < n:
        matrix = torch.cat([torch.cat([matrix, matrix], 1), torch.cat([matrix, -matrix], 1)], 0)
    return matrix / n**0.5
