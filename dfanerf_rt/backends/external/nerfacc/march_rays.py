"""Samples in occupied space by nerfacc's traversal of an occupancy grid (backend "nerfacc").

nerfacc walks straight rays through a grid. Here head and torso move apart, so that a straight ray is bent where it is
looked up. The occupancy is therefore straightened once a call: a grid over the rays in the head's coordinates, in
which a cell is empty only if no place in it can be read from an occupied cell. What the traversal returns is then a
few samples too many, and the exact test drops those.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import torch

from dfanerf_rt.backends.external.nerfacc import library
from dfanerf_rt.backends.reference.march_rays import unit_positions
from dfanerf_rt.backends.reference.render_field import occupied

if TYPE_CHECKING:
    from dfanerf_rt.backends.reference.march_rays import MarchSpace

MAX_GROWTH = 2
"""Cells of the straightened grid along an axis, at most this many times those of the field's."""
ROUNDING = 1e-4
"""In cells; the traversal and the exact test round differently."""


class StraightGrid(NamedTuple):
    """Occupancy in the coordinates of straight rays."""

    binaries: torch.Tensor
    """(X, Y, Z) bool."""
    aabb: torch.Tensor
    """(6,) lower and upper corner, by the head's frame in units of the field's cube."""


def unavailable_reason(backend: str) -> str | None:
    """Why nerfacc cannot march here, or None if it can."""
    return library.cuda_missing_reason()


def march_rays(
    space: MarchSpace, jitter: torch.Tensor, occupancy: torch.Tensor, near_m: float, step_m: float, n_steps: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """See :func:`dfanerf_rt.ops.march_rays.march_rays`; returns ray, t and offsets."""
    n_rays = len(jitter)
    nerfacc = library.load()
    if n_rays == 0:
        empty = jitter.new_zeros(0)
        return empty.long(), empty, torch.zeros(1, dtype=torch.int64, device=jitter.device)
    grid = straight_grid(space, occupancy, near_m, near_m + n_steps * step_m)
    near = near_m + (jitter - 0.5) * step_m
    _, samples, _ = nerfacc.traverse_grids(
        rays_o=space.head_origin.expand(n_rays, 3),
        rays_d=space.head_slope,
        binaries=grid.binaries[None],
        aabbs=grid.aabb[None],
        near_planes=near,
        far_planes=near + n_steps * step_m,
        step_size=step_m,
    )
    return exact_samples(space, jitter, occupancy, near_m, step_m, n_steps, samples.ray_indices, samples.vals)


def exact_samples(
    space: MarchSpace,
    jitter: torch.Tensor,
    occupancy: torch.Tensor,
    near_m: float,
    step_m: float,
    n_steps: int,
    ray: torch.Tensor,
    t: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Of samples (N,) that a traversal found, those in occupied space, at t = near + (i + jitter) step exactly."""
    ray = ray.long()
    index = ((t - near_m) / step_m - jitter[ray]).round()
    t = near_m + (index + jitter[ray]) * step_m
    kept = occupied(occupancy, unit_positions(space, ray, t)) & (index >= 0) & (index < n_steps)
    ray, t = ray[kept], t[kept]
    counts = torch.bincount(ray, minlength=len(jitter))
    return ray, t, torch.cat([counts.new_zeros(1), counts.cumsum(0)])


def straight_grid(space: MarchSpace, occupancy: torch.Tensor, near_m: float, far_m: float) -> StraightGrid:
    """The occupancy as straight rays meet it between two distances: occupied wherever a bent ray's may be.

    Args:
        space: rays.
        occupancy: (R, R, R) uint8 of the field.
        near_m: nearest distance.
        far_m: farthest distance.
    """
    extent = occupancy.shape[0]
    ends = torch.cat([space.head_origin + distance * space.head_slope for distance in (near_m, far_m)])
    low, high = ends.amin(0), ends.amax(0)
    margin = 1e-3 + 1e-3 * (high - low)
    low, high = low - margin, high + margin
    sizes = [min(MAX_GROWTH * extent, math.ceil(width * extent)) for width in (high - low).tolist()]
    half = 0.5 * (high - low) / torch.tensor(sizes, device=low.device)

    axes = [
        a + (torch.arange(size, device=low.device) + 0.5) * 2.0 * h for a, h, size in zip(low, half, sizes, strict=True)
    ]
    head = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)
    to_torso, to_neck = _frames_by_head(space)
    torso = space.torso_origin + (head - space.head_origin) @ to_torso
    weight = torch.sigmoid(space.neck_origin + (head - space.head_origin) @ to_neck)[..., None]
    place = torso + weight * (head - torso)

    # u = torso + w (head - torso): how far it may move within a cell. The slope of a sigmoid is at most 1/4.
    apart = (head - torso).abs().flatten(0, 2).amax(0)
    reach = torch.maximum(half, half @ to_torso.abs()) + 0.25 * (half @ to_neck.abs()) * apart
    radius = min(extent, int(reach.max() * extent + ROUNDING) + 1)
    grown = torch.nn.functional.pad((occupancy != 0).to(place.dtype), [radius] * 6)[None, None]
    for axis in range(3):  # one axis after another: a cube is the product of three lines
        window, padding = [1, 1, 1], [0, 0, 0]
        window[axis], padding[axis] = 2 * radius + 1, radius
        grown = torch.nn.functional.max_pool3d(grown, window, stride=1, padding=padding)
    cell = (place * extent).floor().long() + radius
    inside = ((cell >= 0) & (cell < extent + 2 * radius)).all(-1)
    cell = cell.clamp_(0, extent + 2 * radius - 1)
    binaries = inside & (grown[0, 0][cell[..., 0], cell[..., 1], cell[..., 2]] > 0)
    return StraightGrid(binaries, torch.cat([low, high]))


def _frames_by_head(space: MarchSpace) -> tuple[torch.Tensor, torch.Tensor]:
    """(3, 3) and (3,): torso slope and neck slope of a ray by its head slope, from the rays themselves.

    Both are linear in it. Where the rays span less than space, any map will do that is right for them.
    """
    slopes = space.head_slope.double()
    wanted = torch.cat([space.torso_slope, space.neck_slope[:, None]], dim=1).double()
    inverse = torch.linalg.pinv(slopes.T @ slopes, rtol=1e-10, hermitian=True)
    solution = (inverse @ (slopes.T @ wanted)).to(space.head_slope.dtype)
    return solution[:, :3], solution[:, 3]
