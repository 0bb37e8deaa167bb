"""The last step of the field's training: keep only the cells of the occupancy grid that show in some picture.

While it learns, the field needs room around its surfaces. Once it has learned, a cell whose samples weigh nothing in
any training picture, be it in front of a surface or behind it, only costs time.
"""

from __future__ import annotations

import torch

from dfanerf_rt.field.field import ConditionalField, field_values
from dfanerf_rt.ops.composite_rays import composite_rays
from dfanerf_rt.ops.march_rays import march_rays, march_space, sample_positions
from dfanerf_rt.train.occupancy import flat_cells

LEAST_WEIGHT = 2e-3
"""A cell stays where one of its samples weighs more than this."""
FRAMES = 300
"""So many, because a pose that none of them shows would find holes in the hair and at the shoulders."""
COARSE_RAYS_PER_FRAME = 6_000
FINE_RAYS_PER_FRAME = 30_000


def telling_frames(condition: torch.Tensor, head_pose: torch.Tensor) -> list[int]:
    """Frames that between them show every extreme: spread over the clip, and both ends of each code and pose.

    Args:
        condition: (T, 48).
        head_pose: (T, 6).
    """
    spread = torch.linspace(0, len(condition) - 1, min(len(condition), FRAMES)).long()
    values = torch.cat([condition, head_pose], dim=1).cpu()
    return torch.cat([spread, values.argmax(0), values.argmin(0)]).unique().tolist()


@torch.no_grad()
def tighten_occupancy(
    field: ConditionalField,
    condition: torch.Tensor,
    head_pose: torch.Tensor,
    directions: torch.Tensor,
    generator: torch.Generator,
) -> float:
    """Refine ``field.occupancy`` to the field's own resolution, and keep the cells that show in one of the frames.

    Gaps of a cell between them are filled, and six neighbours of each kept: rays between those that were looked at may
    meet them.

    Args:
        field: the trained field.
        condition: (T, 48) of the frames to look at.
        head_pose: (T, 6) of the same frames.
        directions: (P, 3) unit directions of all pixels, of which a random part is looked at in each frame.
        generator: of the device of all these.

    Returns:
        The share of cells that is left.
    """
    size = field.config.occupancy_resolution
    views = list(zip(condition, head_pose, strict=True))
    # A first look at half the resolution sorts out most cells with few rays; the many rays then have less to do.
    for resolution, n_rays in ((max(size // 2, 1), COARSE_RAYS_PER_FRAME), (size, FINE_RAYS_PER_FRAME)):
        most = _most_weight(field, views, directions, resolution, n_rays, generator)
        coarse = field.occupancy[None, None].float()
        known = torch.nn.functional.interpolate(coarse, size=(resolution,) * 3, mode="nearest")[0, 0]
        field.occupancy = (_with_margin(most > LEAST_WEIGHT) & (known > 0)).to(torch.uint8)
    return float(field.occupancy.float().mean())


def _most_weight(
    field: ConditionalField,
    views: list[tuple[torch.Tensor, torch.Tensor]],
    directions: torch.Tensor,
    resolution: int,
    n_rays: int,
    generator: torch.Generator,
) -> torch.Tensor:
    """(R, R, R): the largest weight of any sample in every cell."""
    device = directions.device
    most = torch.zeros(resolution**3, device=device)
    for condition, head_pose in views:
        folded = field.fold(condition, head_pose)
        chosen = directions[torch.randint(len(directions), (n_rays,), generator=generator, device=device)]
        samples = march_rays(folded, chosen, torch.rand(len(chosen), generator=generator, device=device))
        positions = sample_positions(march_space(folded, chosen), samples)
        out = composite_rays(*field_values(folded, positions), samples, folded.step_m)
        most.scatter_reduce_(0, flat_cells(positions, resolution), out.weights, reduce="amax")
    return most.view(resolution, resolution, resolution)


def _with_margin(cells: torch.Tensor) -> torch.Tensor:
    """(R, R, R) bool: the cells, what lies in gaps of a cell between them, and the six neighbours of each."""
    grown = torch.nn.functional.max_pool3d(cells[None].float(), 3, stride=1, padding=1)
    closed = torch.nn.functional.max_pool3d(-grown, 3, stride=1, padding=1)[0] < 0
    kept = closed.clone()
    for axis in range(3):
        n = cells.shape[axis] - 1
        kept.narrow(axis, 0, n).logical_or_(closed.narrow(axis, 1, n))
        kept.narrow(axis, 1, n).logical_or_(closed.narrow(axis, 0, n))
    return kept
