from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dfanerf_rt.attributes.model import (
    EYE_LANDMARKS,
    MOUTH_LANDMARKS,
    AttributeConfig,
    AttributeModel,
    mouth_opening,
)
from dfanerf_rt.attributes.sampling import sample_expressions
from dfanerf_rt.errors import AvatarError, ShapeError
from dfanerf_rt.face.model import FaceModel

PIXEL_M = 0.16 / 200
"""A head 0.16 m wide covers about 200 px of a 512 px picture."""


@pytest.fixture(scope="module")
def face_model() -> FaceModel:
    return FaceModel.bundled()


@pytest.fixture(scope="module")
def faces(face_model: FaceModel) -> tuple[AttributeModel, torch.Tensor]:
    """A person, and landmarks of faces of that person."""
    generator = torch.Generator().manual_seed(77)
    expression = sample_expressions(1500, generator, talking_only=True)
    identity = torch.randn(1, face_model.n_identity, generator=generator).expand(len(expression), -1)
    person = AttributeModel.bundled().for_person(face_model.landmarks(identity[0], torch.zeros(52)))
    return person, face_model.landmarks(identity, expression)


def test_reconstruction_is_within_half_a_millimetre(faces: tuple[AttributeModel, torch.Tensor]) -> None:
    model, landmarks = faces
    mouth_code, eye_code = model.encode(landmarks)
    assert mouth_code.shape == (1500, 32) and eye_code.shape == (1500, 16)
    mouth, eyes = model.decode(mouth_code, eye_code)
    for found, part in ((mouth, MOUTH_LANDMARKS), (eyes, EYE_LANDMARKS)):
        error = (found - landmarks[:, part]).norm(dim=-1)
        assert error.mean() < 0.2e-3
        assert error.quantile(0.99) < 0.5e-3


def test_eyes_do_not_move_the_mouth_nor_the_mouth_the_eyes(faces: tuple[AttributeModel, torch.Tensor]) -> None:
    model, landmarks = faces
    mouth_code, eye_code = model.encode(landmarks)
    mouth, eyes = model.decode(mouth_code, eye_code)
    mouth_of_other_eyes, _ = model.decode(mouth_code, eye_code.roll(1, 0))
    _, eyes_of_other_mouth = model.decode(mouth_code.roll(1, 0), eye_code)
    assert (mouth_of_other_eyes - mouth).norm(dim=-1).max() < PIXEL_M
    assert (eyes_of_other_mouth - eyes).norm(dim=-1).max() < PIXEL_M
    # and the encoder: faces with the mouths exchanged keep the code of their eyes
    exchanged = landmarks.clone()
    exchanged[:, MOUTH_LANDMARKS] = landmarks.roll(1, 0)[:, MOUTH_LANDMARKS]
    exchanged_mouth, exchanged_eyes = model.encode(exchanged)
    assert (exchanged_eyes - eye_code).norm(dim=1).mean() < 0.1 * (eye_code.roll(1, 0) - eye_code).norm(dim=1).mean()
    rolled = mouth_code.roll(1, 0)
    assert (exchanged_mouth - rolled).norm(dim=1).mean() < 0.1 * (mouth_code - rolled).norm(dim=1).mean()


def test_codes_are_isometric_and_of_unit_size(faces: tuple[AttributeModel, torch.Tensor]) -> None:
    model, landmarks = faces
    for code, part in zip(model.encode(landmarks), (MOUTH_LANDMARKS, EYE_LANDMARKS), strict=True):
        points = landmarks[:, part].flatten(1)
        ratio = (code - code.roll(1, 0)).norm(dim=1) / (points - points.roll(1, 0)).norm(dim=1)
        assert ratio.std() / ratio.mean() < 0.2
        spread = code.std(dim=0)
        assert spread.min() > 0.8 and spread.max() < 4.0  # these faces move twice as much as everyday ones


def test_identity_does_not_show_in_the_codes(face_model: FaceModel) -> None:
    expression = sample_expressions(20, torch.Generator().manual_seed(5), talking_only=True)
    codes = []
    for seed in (1, 2):
        identity = torch.randn(1, face_model.n_identity, generator=torch.Generator().manual_seed(seed))
        person = AttributeModel.bundled().for_person(face_model.landmarks(identity[0], torch.zeros(52)))
        codes.append(person.encode(face_model.landmarks(identity.expand(20, -1), expression))[0])
    torch.testing.assert_close(codes[0], codes[1], atol=1e-3, rtol=0)


def test_mouth_opening_of_a_mouth_made_by_hand() -> None:
    mouth = torch.zeros(2, 20, 3)
    mouth[1, 17:20, 1] = torch.tensor([0.002, 0.004, 0.003])  # landmarks 65, 66, 67: y is down
    mouth[1, 13:16, 2] = 0.005
    torch.testing.assert_close(mouth_opening(mouth), torch.tensor([0.0, 0.003]))


def test_save_and_load(tmp_path: Path) -> None:
    torch.manual_seed(1)
    model = AttributeModel(AttributeConfig(hidden=16)).eval()
    path = tmp_path / "attributes.safetensors"
    model.save(path)
    landmarks = 1e-3 * torch.randn(3, 68, 3)
    for found, expected in zip(AttributeModel.load(path).encode(landmarks), model.encode(landmarks), strict=True):
        torch.testing.assert_close(found, expected)


def test_unusable_weights_are_named(tmp_path: Path) -> None:
    tensors = AttributeModel().state_tensors()
    with pytest.raises(AvatarError, match=r"some\.file.*'neutral' is missing"):
        AttributeModel.from_tensors({k: v for k, v in tensors.items() if k != "neutral"}, where=Path("some.file"))
    with pytest.raises(AvatarError, match=r"'scale_m' has shape \(3,\), expected \(2,\)"):
        AttributeModel.from_tensors({**tensors, "scale_m": torch.ones(3)})
    assert all(name.startswith("attributes.") for name in AttributeModel().state_tensors("attributes."))
    path = tmp_path / "other.safetensors"
    path.write_bytes(b"\x80\x04 a pickle")
    with pytest.raises(AvatarError, match="pickle"):
        AttributeModel.load(path)


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"\(68, 3\), expected \(T, 68, 3\)"):
        AttributeModel().encode(torch.zeros(68, 3))
    with pytest.raises(ShapeError, match="neutral"):
        AttributeModel().for_person(torch.zeros(68, 2))
