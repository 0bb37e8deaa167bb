"""Reprojection residuals of the face model, their derivatives, and the normal equations, for many frames at once."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from dfanerf_rt.face.fit_points import FitPoints
from dfanerf_rt.face.rotation import rotation_matrix

N_POSE = 6
REFERENCE_WIDTH_PX = 512.0
"""Residuals are measured in pixels of a picture this wide, so that weights do not depend on --size."""


@dataclass(frozen=True)
class View:
    """Camera of the fit: square pixels, principal point, and the picture's width in pixels."""

    cx: float
    cy: float
    width: float


@dataclass
class Unknowns:
    """Everything the fit looks for."""

    identity: Tensor
    """(K,)."""
    offset: Tensor
    """(M, 3) what this person's landmarks differ from the model's, metres: absorbs what the identity basis cannot say,
    so that expressions need not; it is not part of the track."""
    log_focal: Tensor
    """()."""
    pose: Tensor
    """(T, 6)."""
    expression: Tensor
    """(T, 52)."""

    def frames(self, chosen: Tensor | slice) -> Unknowns:
        """The same with only some frames."""
        return replace(self, pose=self.pose[chosen], expression=self.expression[chosen])


@dataclass(frozen=True)
class Observation:
    """Landmarks seen: points (T, M, 2) in pixels and per-frame trust (T,), 0 where the face was not found."""

    points: Tensor
    trust: Tensor

    def frames(self, chosen: Tensor | slice) -> Observation:
        """The same with only some frames."""
        return Observation(self.points[chosen], self.trust[chosen])


def head_points(points: FitPoints, unknowns: Unknowns) -> Tensor:
    """(T, M, 3) points in the head frame, paper eq. 1 at the landmarks."""
    still = points.mean + unknowns.offset + torch.einsum("k,kmi->mi", unknowns.identity, points.id_basis)
    return still + torch.einsum("tk,kmi->tmi", unknowns.expression, points.exp_basis)


def project(points: FitPoints, unknowns: Unknowns, view: View) -> Tensor:
    """(T, M, 2) pixels."""
    rotation = rotation_matrix(unknowns.pose[:, :3])
    camera = torch.einsum("tij,tmj->tmi", rotation, head_points(points, unknowns)) + unknowns.pose[:, None, 3:]
    focal = unknowns.log_focal.exp()
    centre = torch.tensor([view.cx, view.cy], dtype=camera.dtype)
    return focal * camera[..., :2] / camera[..., 2:].clamp(min=0.05) + centre


def residuals(points: FitPoints, unknowns: Unknowns, seen: Observation, view: View) -> Tensor:
    """(T, M, 2) model minus picture, in pixels at the reference width."""
    return (project(points, unknowns, view) - seen.points) * (REFERENCE_WIDTH_PX / view.width)


def data_cost(points: FitPoints, residual: Tensor, seen: Observation, scale_px: float, strength: float) -> Tensor:
    """(T,) robust cost of each frame: Cauchy over points, squares over closing pairs."""
    squared = (residual**2).sum(-1)
    cost = (points.weight * scale_px**2 * torch.log1p(squared / scale_px**2)).sum(-1)
    gap = residual[:, points.pairs[:, 0]] - residual[:, points.pairs[:, 1]]
    cost = cost + (points.pair_weight * scale_px**2 * torch.log1p((gap**2).sum(-1) / scale_px**2)).sum(-1)
    return 0.5 * strength * seen.trust * cost


@dataclass(frozen=True)
class NormalEquations:
    """Gauss-Newton system of the data term; float64. G counts the K identity coefficients and the log focal length."""

    frame: Tensor
    """(T, 58, 58)."""
    frame_gradient: Tensor
    """(T, 58)."""
    coupling: Tensor | None
    """(T, 58, G)."""
    shared: Tensor | None
    """(G, G)."""
    shared_gradient: Tensor | None
    """(G,)."""


BLOCK_FRAMES = 16
"""Frames linearised at once: their Jacobian then stays in the cache, which is several times faster."""


def normal_equations(
    points: FitPoints, unknowns: Unknowns, seen: Observation, view: View, scale_px: float, strength: float, shared: bool
) -> NormalEquations:
    """Linearise the robust data term at ``unknowns`` (iteratively reweighted Gauss-Newton).

    Args:
        scale_px: Cauchy scale at the reference width.
        strength: factor on the whole data term.
        shared: also derive by identity and focal length.
    """
    blocks = []
    for first in range(0, len(unknowns.pose), BLOCK_FRAMES):
        part = slice(first, first + BLOCK_FRAMES)
        blocks.append(_block(points, unknowns.frames(part), seen.frames(part), view, scale_px, strength, shared))
    hessian, gradient = (torch.cat(parts) for parts in zip(*blocks, strict=True))
    n = N_POSE + unknowns.expression.shape[1]
    if not shared:
        return NormalEquations(hessian, gradient, None, None, None)
    return NormalEquations(
        hessian[:, :n, :n], gradient[:, :n], hessian[:, :n, n:], hessian[:, n:, n:].sum(0), gradient[:, n:].sum(0)
    )


def _block(
    points: FitPoints, unknowns: Unknowns, seen: Observation, view: View, scale_px: float, strength: float, shared: bool
) -> tuple[Tensor, Tensor]:
    """J^T W J and J^T W r of some frames, over pose, expression and, if asked for, identity and log focal length."""
    unit = REFERENCE_WIDTH_PX / view.width
    focal = unknowns.log_focal.exp()
    rotation = rotation_matrix(unknowns.pose[:, :3])
    turned = torch.einsum("tij,tmj->tmi", rotation, head_points(points, unknowns))
    camera = turned + unknowns.pose[:, None, 3:]
    depth = camera[..., 2].clamp(min=0.05)
    slope = camera[..., :2] / depth[..., None]
    per_metre = unit * focal / depth
    projection = torch.zeros(*depth.shape, 2, 3)
    projection[..., 0, 0] = projection[..., 1, 1] = per_metre
    projection[..., 2] = -per_metre[..., None] * slope
    by_head = projection @ rotation[:, None]
    by_turn = -(projection @ _cross(turned)) @ left_jacobian(unknowns.pose[:, :3])[:, None]
    by_expression = torch.einsum("tmij,kmj->tmik", by_head, points.exp_basis)
    blocks = [by_turn, projection, by_expression]
    if shared:
        by_identity = torch.einsum("tmij,kmj->tmik", by_head, points.id_basis)
        blocks += [by_identity, (unit * focal * slope)[..., None]]
    jacobian = torch.cat(blocks, dim=-1)
    residual = residuals(points, unknowns, seen, view)

    trust = (strength * seen.trust)[:, None]
    weight = trust * points.weight / (1.0 + (residual**2).sum(-1) / scale_px**2)
    first, second = points.pairs[:, 0], points.pairs[:, 1]
    gap = residual[:, first] - residual[:, second]
    gap_weight = trust * points.pair_weight / (1.0 + (gap**2).sum(-1) / scale_px**2)
    jacobian = torch.cat([jacobian, jacobian[:, first] - jacobian[:, second]], dim=1).flatten(1, 2)
    stacked = torch.cat([residual, gap], dim=1).flatten(1, 2)
    root = torch.cat([weight, gap_weight], dim=1).sqrt().repeat_interleave(2, dim=1)
    jacobian, stacked = jacobian * root[..., None], stacked * root
    hessian = (jacobian.transpose(1, 2) @ jacobian).double()
    gradient = torch.einsum("tnk,tn->tk", jacobian, stacked).double()
    return hessian, gradient


def fit_offset(
    points: FitPoints, unknowns: Unknowns, seen: Observation, view: View, scale_px: float, strength: float, std_m: float
) -> Tensor:
    """The personal offset of each landmark given everything else: (M, 3), by one 3x3 solve a landmark.

    Upper and lower points that meet in a closed mouth share their offset: otherwise a mouth that is always a little
    open would be taken for a closed one.
    """
    unit = REFERENCE_WIDTH_PX / view.width
    rotation = rotation_matrix(unknowns.pose[:, :3])
    camera = torch.einsum("tij,tmj->tmi", rotation, head_points(points, unknowns)) + unknowns.pose[:, None, 3:]
    depth = camera[..., 2].clamp(min=0.05)
    per_metre = unit * unknowns.log_focal.exp() / depth
    projection = torch.zeros(*depth.shape, 2, 3)
    projection[..., 0, 0] = projection[..., 1, 1] = per_metre
    projection[..., 2] = -per_metre[..., None] * camera[..., :2] / depth[..., None]
    by_head = projection @ rotation[:, None]
    residual = residuals(points, unknowns, seen, view)
    weight = strength * seen.trust[:, None] * points.weight / (1.0 + (residual**2).sum(-1) / scale_px**2)
    hessian = torch.einsum("tm,tmij,tmik->mjk", weight, by_head, by_head)
    right = torch.einsum("tm,tmij,tmi->mj", weight, by_head, residual)
    right = right - torch.einsum("mjk,mk->mj", hessian, unknowns.offset)
    prior = strength * float(seen.trust.sum()) / std_m**2
    offset = -torch.linalg.solve(hessian + prior * torch.eye(3), right)
    for (a, b), lips in zip(points.pairs.tolist(), points.lip_pairs.tolist(), strict=True):
        if lips:
            offset[a] = offset[b] = 0.5 * (offset[a] + offset[b])
    return offset


def left_jacobian(rotation: Tensor) -> Tensor:
    """(..., 3, 3) J with R(r + dr) = R(J dr) R(r) to first order. Source: Barfoot 2017, eq. 7.77b."""
    squared = (rotation**2).sum(-1)[..., None, None]
    angle = squared.sqrt().clamp(min=1e-4)
    small = squared < 1e-4
    first = torch.where(small, 0.5 - squared / 24, (1 - angle.cos()) / angle**2)
    second = torch.where(small, 1 / 6 - squared / 120, (angle - angle.sin()) / angle**3)
    cross = _cross(rotation)
    return torch.eye(3, dtype=rotation.dtype) + first * cross + second * (cross @ cross)


def _cross(vector: Tensor) -> Tensor:
    x, y, z = vector.unbind(-1)
    zero = torch.zeros_like(x)
    return torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).unflatten(-1, (3, 3))
