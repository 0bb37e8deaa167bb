from __future__ import annotations

import pytest
import torch

from dfanerf_rt.attributes.model import EYE_LANDMARKS, MOUTH_LANDMARKS, AttributeConfig
from dfanerf_rt.attributes.sampling import sample_expressions
from dfanerf_rt.face.arkit import ARKIT_INDEX
from dfanerf_rt.train.attributes import TYPICAL_STRENGTH, AttributeTraining, neutral_face, train_attributes


class LinearFace:
    """A 3DMM of landmarks alone: random bases, in which mouth units move the mouth and eye units the eyes."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(3)
        self.mean = 0.05 * torch.randn(68, 3, generator=generator)
        self.id_basis = 0.004 * torch.randn(5, 68, 3, generator=generator)
        self.exp_basis = torch.zeros(52, 68, 3)
        for name, index in ARKIT_INDEX.items():
            if name.startswith(("eye", "jaw", "mouth")):
                part = EYE_LANDMARKS if name.startswith("eye") else MOUTH_LANDMARKS
                extent = part.stop - part.start
                self.exp_basis[index, part] = 0.006 * torch.randn(extent, 3, generator=generator)

    def landmarks(self, identity: torch.Tensor, expression: torch.Tensor) -> torch.Tensor:
        offset = identity @ self.id_basis.flatten(1) + expression @ self.exp_basis.flatten(1)
        return self.mean + offset.unflatten(-1, (68, 3))


@pytest.mark.slow
def test_a_short_training_reconstructs_and_disentangles() -> None:
    face, seen = LinearFace(), []
    training = AttributeTraining(steps=400, batch=256, n_faces=8000)
    config = AttributeConfig(hidden=64)
    model = train_attributes(face, config, training, seed=1, on_progress=lambda f, s: seen.append((f, s["l1_mm"])))
    assert seen[-1][0] == 1.0 and seen[-1][1] < 0.3 * seen[0][1]

    expression = sample_expressions(500, torch.Generator().manual_seed(9), talking_only=True)
    identity = torch.randn(1, 5, generator=torch.Generator().manual_seed(2)).expand(500, -1)
    landmarks = face.landmarks(identity, expression)
    person = model.for_person(face.landmarks(identity[0], torch.zeros(52)))
    mouth_code, eye_code = person.encode(landmarks)
    mouth, eyes = person.decode(mouth_code, eye_code)
    assert (mouth - landmarks[:, MOUTH_LANDMARKS]).norm(dim=-1).mean() < 1.5e-3
    assert (eyes - landmarks[:, EYE_LANDMARKS]).norm(dim=-1).mean() < 1.5e-3
    assert (person.decode(mouth_code, eye_code.roll(1, 0))[0] - mouth).norm(dim=-1).mean() < 0.8e-3
    # rotated so that each dimension of an everyday face has the same share
    everyday = person.encode(face.landmarks(identity, TYPICAL_STRENGTH * expression))[0]
    torch.testing.assert_close(everyday.mean(dim=0), torch.zeros(32), atol=0.3, rtol=0)
    assert everyday.std(dim=0).min() > 0.5 and everyday.std(dim=0).max() < 2.0


def test_training_is_reproducible_and_stops_when_asked() -> None:
    face, training = LinearFace(), AttributeTraining(steps=12, batch=32, n_faces=500)
    first, second = (train_attributes(face, training=training, seed=5).state_tensors() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)
    calls = []

    def stop() -> bool:
        calls.append(1)
        return len(calls) > 3

    train_attributes(face, training=training, should_stop=stop)
    assert len(calls) == 4


def test_expressions_are_within_range_and_differ() -> None:
    faces = sample_expressions(3000, torch.Generator().manual_seed(0))
    assert faces.shape == (3000, 52) and faces.min() == 0.0 and faces.max() <= 1.0
    blink = faces[:, ARKIT_INDEX["eyeBlinkLeft"]]
    assert 0.02 < (blink > 0.9).float().mean() < 0.3
    assert torch.corrcoef(faces[:, [ARKIT_INDEX["eyeBlinkLeft"], ARKIT_INDEX["eyeBlinkRight"]]].T)[0, 1] > 0.8
    assert torch.corrcoef(faces[:, [ARKIT_INDEX["eyeBlinkLeft"], ARKIT_INDEX["jawOpen"]]].T)[0, 1].abs() < 0.1
    # every unit of the mouth is met, save those that move no landmark of it
    used = {name for name, index in ARKIT_INDEX.items() if faces[:, index].max() > 0.2}
    assert {name for name in ARKIT_INDEX if name.startswith(("mouth", "jaw", "eyeBlink"))} <= used


def test_neutral_face_takes_the_expression_away() -> None:
    face = LinearFace()
    identity = torch.randn(1, 5, generator=torch.Generator().manual_seed(4))
    expression = sample_expressions(7, torch.Generator().manual_seed(4))
    landmarks = face.landmarks(identity.expand(7, -1), expression)
    expected = face.landmarks(identity[0], torch.zeros(52))
    torch.testing.assert_close(neutral_face(face, landmarks, expression), expected, atol=1e-6, rtol=0)
