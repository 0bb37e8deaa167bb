"""Rotation vectors, rotation matrices and head poses; differentiable everywhere, also at zero."""

from __future__ import annotations

import torch
from torch import Tensor

from dfanerf_rt.errors import ShapeError

_SMALL = 1e-3  # radians; below it the series is exact to float64's rounding at the orders kept


def rotation_matrix(rotation: Tensor) -> Tensor:
    """Rotation matrices of rotation vectors (Rodrigues' formula).

    Args:
        rotation: (..., 3) axis times angle, radians.

    Returns:
        (..., 3, 3) rotation matrices.

    Raises:
        ShapeError: the last extent is not 3.
    """
    if rotation.shape[-1:] != (3,):
        raise ShapeError(f"rotation vectors have shape {tuple(rotation.shape)}, expected (..., 3)")
    squared = (rotation * rotation).sum(-1)
    small = squared < _SMALL**2
    # The branch not taken must stay finite too, or its gradient turns into NaN.
    angle = torch.where(small, torch.ones_like(squared), squared).sqrt()
    sine = torch.where(small, 1 - squared / 6 + squared**2 / 120, torch.sin(angle) / angle)
    cosine = torch.where(small, 0.5 - squared / 24 + squared**2 / 720, (1 - torch.cos(angle)) / angle**2)
    x, y, z = rotation.unbind(-1)
    zero = torch.zeros_like(x)
    skew = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).unflatten(-1, (3, 3))
    identity = torch.eye(3, dtype=rotation.dtype, device=rotation.device)
    return identity + sine[..., None, None] * skew + cosine[..., None, None] * (skew @ skew)


def points_to_camera(head_pose: Tensor, points: Tensor) -> Tensor:
    """(..., P, 3) camera coordinates of points (..., P, 3) in the head frame, by head poses (..., 6)."""
    matrix = head_to_camera(head_pose)
    return points @ matrix[..., :3].transpose(-1, -2) + matrix[..., None, :, 3]


def rotation_vector(matrix: Tensor) -> Tensor:
    """Rotation vectors of rotation matrices, angle in [0, pi].

    Goes through the unit quaternion by its largest component (Shepperd's method), which stays accurate
    near zero and near half a turn.

    Args:
        matrix: (..., 3, 3) rotation matrices.

    Returns:
        (..., 3) axis times angle, radians.

    Raises:
        ShapeError: the last two extents are not 3, 3.
    """
    if matrix.shape[-2:] != (3, 3):
        raise ShapeError(f"rotation matrices have shape {tuple(matrix.shape)}, expected (..., 3, 3)")
    m = matrix
    xx, yy, zz = m[..., 0, 0], m[..., 1, 1], m[..., 2, 2]
    wx, wy, wz = m[..., 2, 1] - m[..., 1, 2], m[..., 0, 2] - m[..., 2, 0], m[..., 1, 0] - m[..., 0, 1]
    xy, xz, yz = m[..., 0, 1] + m[..., 1, 0], m[..., 0, 2] + m[..., 2, 0], m[..., 1, 2] + m[..., 2, 1]
    # Row i is 4 q_i q for the quaternion q = (w, x, y, z): any row gives q, the one with the largest pivot best.
    rows = torch.stack(
        [
            torch.stack([1 + xx + yy + zz, wx, wy, wz], -1),
            torch.stack([wx, 1 + xx - yy - zz, xy, xz], -1),
            torch.stack([wy, xy, 1 - xx + yy - zz, yz], -1),
            torch.stack([wz, xz, yz, 1 - xx - yy + zz], -1),
        ],
        -2,
    )
    pivot = torch.diagonal(rows, dim1=-2, dim2=-1).argmax(-1)
    row = torch.gather(rows, -2, pivot[..., None, None].expand(*pivot.shape, 1, 4)).squeeze(-2)
    quaternion = row / row.norm(dim=-1, keepdim=True)
    quaternion = torch.where(quaternion[..., :1] < 0, -quaternion, quaternion)
    w, axis = quaternion[..., 0], quaternion[..., 1:]
    squared = (axis * axis).sum(-1)
    small = squared < _SMALL**2
    sine = torch.where(small, torch.ones_like(squared), squared).sqrt()
    # angle / sin(angle / 2); for a small sine the half angle is asin(s) = s + s^3/6 + 3 s^5/40.
    scale = torch.where(small, 2 + squared / 3 + 3 * squared**2 / 20, 2 * torch.atan2(sine, w) / sine)
    return scale[..., None] * axis


def head_to_camera(head_pose: Tensor) -> Tensor:
    """Rigid transforms of head poses: ``x_camera = R x_head + t``.

    Args:
        head_pose: (..., 6) rotation vector in radians, translation in metres.

    Returns:
        (..., 3, 4) matrices [R | t].

    Raises:
        ShapeError: the last extent is not 6.
    """
    if head_pose.shape[-1:] != (6,):
        raise ShapeError(f"head poses have shape {tuple(head_pose.shape)}, expected (..., 6)")
    return torch.cat([rotation_matrix(head_pose[..., :3]), head_pose[..., 3:, None]], -1)
