"""Rotations against worked values, and their derivatives at zero."""

from __future__ import annotations

import math

import pytest
import torch

from dfanerf_rt.errors import ShapeError
from dfanerf_rt.face.rotation import head_to_camera, rotation_matrix, rotation_vector


def test_quarter_turn_about_z_takes_x_to_y() -> None:
    matrix = rotation_matrix(torch.tensor([0.0, 0.0, math.pi / 2], dtype=torch.float64))
    expected = torch.tensor([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]], dtype=torch.float64)
    torch.testing.assert_close(matrix, expected)


def test_matrix_is_the_exponential_of_the_skew_matrix() -> None:
    vectors = torch.randn(20, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    x, y, z = vectors.unbind(-1)
    zero = torch.zeros_like(x)
    skew = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).reshape(-1, 3, 3)
    torch.testing.assert_close(rotation_matrix(vectors), torch.linalg.matrix_exp(skew))


@pytest.mark.parametrize("angle", [0.0, 1e-9, 9e-4, 1.1e-3, 0.5, 3.0, math.pi - 1e-7])
def test_vector_to_matrix_and_back(angle: float) -> None:
    axes = torch.randn(50, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    vectors = axes / axes.norm(dim=-1, keepdim=True) * angle
    torch.testing.assert_close(rotation_vector(rotation_matrix(vectors)), vectors, atol=1e-12, rtol=1e-9)


def test_derivatives_hold_at_zero_and_elsewhere() -> None:
    for start in (torch.zeros(2, 3), torch.full((1, 3), 4e-4), torch.tensor([[0.3, -0.2, 0.9]])):
        vectors = start.double().requires_grad_()
        assert torch.autograd.gradcheck(rotation_matrix, (vectors,))
        assert torch.autograd.gradcheck(lambda v: rotation_vector(rotation_matrix(v)), (vectors,))


def test_head_pose_turns_then_moves() -> None:
    pose = torch.tensor([0.0, math.pi, 0.0, 0.1, 0.2, 0.8], dtype=torch.float64)
    transform = head_to_camera(pose)
    point = torch.tensor([0.05, 0.0, -0.1, 1.0], dtype=torch.float64)
    expected = torch.tensor([0.05, 0.2, 0.9], dtype=torch.float64)
    torch.testing.assert_close(transform @ point, expected)


def test_wrong_shapes_are_named() -> None:
    with pytest.raises(ShapeError, match=r"\(4, 2\).*\(\.\.\., 3\)"):
        rotation_matrix(torch.zeros(4, 2))
    with pytest.raises(ShapeError, match="6"):
        head_to_camera(torch.zeros(5))
