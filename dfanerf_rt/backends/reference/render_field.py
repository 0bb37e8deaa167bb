"""The renderer in plain torch: the executable specification that every other backend is tested against."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from dfanerf_rt.backends.reference.composite import composite_weights
from dfanerf_rt.backends.reference.hash_encode import hash_encode

if TYPE_CHECKING:
    from dfanerf_rt.ops.camera import Camera
    from dfanerf_rt.ops.render_field import FoldedField

MAX_RAW_SIGMA = 15.0
"""sigma = exp(min(raw, 15)), in 1/m."""
STOP_TRANSMITTANCE = 1e-3
"""A ray stops after the sample that brought its transmittance below this."""
RAYS_PER_CHUNK = 4096
SAMPLES_PER_CHUNK = 1 << 15


def render_field(
    folded: FoldedField, camera: Camera, background: torch.Tensor, out: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """See :func:`dfanerf_rt.ops.render_field.render_field`; any device, inputs checked by the caller."""
    device = folded.table.device
    directions = camera.ray_directions(device).reshape(-1, 3)
    backdrop = background.reshape(-1, 3)
    backdrop = backdrop.float() / 255.0 if backdrop.dtype == torch.uint8 else backdrop
    index = torch.arange(folded.n_steps, device=device, dtype=torch.float32)
    distances = folded.near_m + (index + 0.5) * folded.step_m
    image = torch.empty_like(directions)
    alpha = torch.empty_like(directions[:, 0])
    depth = torch.empty_like(alpha)
    for start in range(0, directions.shape[0], RAYS_PER_CHUNK):
        rays = slice(start, start + RAYS_PER_CHUNK)
        rgb, alpha[rays], depth[rays] = _render_rays(folded, directions[rays], distances)
        image[rays] = rgb + (1.0 - alpha[rays, None]) * backdrop[rays]
    image = image.clamp(0.0, 1.0)
    shape = (camera.height, camera.width)
    if out is None:
        out = image.reshape(*shape, 3)
    elif out.dtype == torch.uint8:
        out.copy_((image * 255.0).round().to(torch.uint8).reshape(*shape, 3))
    else:
        out.copy_(image.reshape(*shape, 3))
    return out, alpha.reshape(shape), depth.reshape(shape)


def field_positions(folded: FoldedField, points_camera: torch.Tensor) -> torch.Tensor:
    """Where the field is read: camera points (..., 3) in metres to u (..., 3), inside the box in [0, 1)."""
    head = _to_frame(folded.head_to_camera, points_camera)
    torso = _to_frame(folded.torso_to_camera, points_camera)
    weight = torch.sigmoid(head @ folded.neck[:3] + folded.neck[3]).unsqueeze(-1)
    point = weight * head + (1.0 - weight) * torso
    return (point - folded.aabb[0]) / (folded.aabb[1] - folded.aabb[0])


def occupied(occupancy: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
    """Whether u (..., 3) lies in the box and in an occupied cell: (...,) bool."""
    extent = occupancy.shape[0]
    inside = ((u >= 0.0) & (u < 1.0)).all(dim=-1)
    cell = (u * extent).long().clamp(0, extent - 1)
    return inside & (occupancy[cell[..., 0], cell[..., 1], cell[..., 2]] != 0)


def field_values(folded: FoldedField, u: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Density (N,) in 1/m and colour (N, 3) at u (N, 3)."""
    hidden = hash_encode(u, folded.table, folded.grid)
    for weight, bias in zip(folded.weights[:2], folded.biases[:2], strict=True):
        hidden = torch.relu(torch.nn.functional.linear(hidden, weight, bias))
    raw = torch.nn.functional.linear(hidden, folded.weights[2], folded.biases[2])
    return torch.exp(raw[:, 0].clamp(max=MAX_RAW_SIGMA)), torch.sigmoid(raw[:, 1:])


def _render_rays(
    folded: FoldedField, directions: torch.Tensor, distances: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    u = field_positions(folded, directions[:, None, :] * distances[None, :, None])
    valid = occupied(folded.occupancy, u)
    sigma = torch.zeros_like(u[..., 0])
    rgb = torch.zeros_like(u)
    active = u[valid]
    if active.shape[0]:
        values = [field_values(folded, part) for part in active.split(SAMPLES_PER_CHUNK)]
        sigma[valid] = torch.cat([density for density, _ in values])
        rgb[valid] = torch.cat([colour for _, colour in values])
    weights, transmittance = composite_weights(sigma, valid, folded.step_m, STOP_TRANSMITTANCE)
    alpha = 1.0 - transmittance
    depth = (weights * distances).sum(dim=-1) / alpha.clamp(min=1e-6)
    return (weights.unsqueeze(-1) * rgb).sum(dim=-2), alpha, depth


def _to_frame(pose: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """R^T (x - t) for row vectors."""
    return (points - pose[:, 3]) @ pose[:, :3]
