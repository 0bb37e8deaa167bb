"""Eq. 1 on a model small enough to work out by hand, and the model's files."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dfanerf_rt.errors import FaceModelError, ShapeError
from dfanerf_rt.face.model import FaceModel
from dfanerf_rt.files import save_tensors


def small_model() -> FaceModel:
    """One triangle, one identity component that moves vertex 0, one expression that moves vertex 2."""
    id_basis, exp_basis = torch.zeros(1, 3, 3), torch.zeros(1, 3, 3)
    id_basis[0, 0] = torch.tensor([1.0, 0, 0])
    exp_basis[0, 2] = torch.tensor([0.0, 0, 3])
    return FaceModel(
        {
            "mean": torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]]),
            "id_basis": id_basis,
            "exp_basis": exp_basis,
            "faces": torch.tensor([[0, 1, 2]]),
            "landmark_triangles": torch.tensor([[0, 1, 2]]).repeat(68, 1),
            "landmark_barycentric": torch.tensor([[0.5, 0.25, 0.25]]).repeat(68, 1),
        },
        name="small",
        expression_names=["jawOpen"],
    )


def test_vertices_are_the_mean_plus_weighted_offsets() -> None:
    vertices = small_model().vertices(torch.tensor([2.0]), torch.tensor([0.5]))
    torch.testing.assert_close(vertices, torch.tensor([[2.0, 0, 0], [1, 0, 0], [0, 1, 1.5]]))


def test_a_landmark_is_a_weighted_mean_of_its_corners() -> None:
    landmark = small_model().landmarks(torch.tensor([2.0]), torch.tensor([0.5]))[0]
    torch.testing.assert_close(landmark, torch.tensor([1.25, 0.25, 0.375]))


def test_one_identity_serves_a_batch_of_expressions() -> None:
    model = small_model()
    assert model.vertices(torch.zeros(1), torch.zeros(5, 4, 1)).shape == (5, 4, 3, 3)
    assert model.landmarks(torch.zeros(2, 1, 1), torch.zeros(7, 1)).shape == (2, 7, 68, 3)
    assert model.mediapipe_points(torch.zeros(1), torch.zeros(6, 1)).shape == (6, 0, 3)


def test_wrong_lengths_are_named() -> None:
    with pytest.raises(ShapeError, match=r"expression.*\(52,\).*1"):
        small_model().vertices(torch.zeros(1), torch.zeros(52))


def test_saved_and_loaded_it_is_the_same(tmp_path: Path) -> None:
    model = small_model()
    model.save(tmp_path / "m.safetensors")
    again = FaceModel.load(tmp_path / "m.safetensors")
    assert (again.name, again.expression_names, again.uv) == ("small", ("jawOpen",), None)
    code = torch.tensor([0.3]), torch.tensor([0.7])
    torch.testing.assert_close(again.vertices(*code), model.vertices(*code))
    torch.testing.assert_close(again.landmarks(*code), model.landmarks(*code))


def test_it_moves_to_another_type() -> None:
    model = small_model().to(dtype=torch.float64)
    assert model.mean.dtype == torch.float64
    assert model.faces.dtype == torch.int64
    assert model.landmarks(torch.zeros(1), torch.zeros(1)).dtype == torch.float64


def test_damaged_files_are_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    tensors = {key: tensor.clone() for key, tensor in small_model()._tensors().items()}
    metadata = {"schema": "dfanerf-head/1", "expression_names": ["jawOpen"], "region_names": ["skin"]}

    def refused(message: str, changed: dict, meta: dict = metadata) -> None:
        save_tensors(path, {key: value for key, value in (tensors | changed).items() if value is not None}, meta)
        with pytest.raises(FaceModelError, match=message):
            FaceModel.load(path)

    refused("'exp_basis' is missing", {"exp_basis": None})
    refused(r"'mean' has shape \(3, 2\)", {"mean": torch.zeros(3, 2)})
    refused(r"'id_basis' has shape \(1, 4, 3\), expected \('any', 3, 3\)", {"id_basis": torch.zeros(1, 4, 3)})
    refused("'faces' holds indices 0 to 3, expected 0 to 2", {"faces": torch.tensor([[0, 1, 3]])})
    refused("NaN", {"mean": torch.full((3, 3), torch.nan)})
    refused("schema is 'dfanerf-avatar/1'", {}, metadata | {"schema": "dfanerf-avatar/1"})
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(FaceModelError, match="truncated"):
        FaceModel.load(path)
    with pytest.raises(FaceModelError, match="no such file"):
        FaceModel.load(tmp_path / "absent.safetensors")
