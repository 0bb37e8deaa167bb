"""The last step of the field's training: keep only the cells of the occupancy grid that show in some picture.

While it learns, the field needs room around its surfaces. Once it has learned, a cell whose samples weigh nothing in
any training picture, be it in front of a surface or behind it, only costs time.
"""

from __future__ import annotations

import torch

from dfanerf_rt.field.field import ConditionalField, field_values
from dfanerf_rt.ops.composite_rays import composite_rays
from dfanerf_rt.ops.march_rays import march_rays, march_space, sample_positions

LEAST_WEIGHT = 1.5e-2
"""A cell stays where one of its samples weighs more than this. On the presenter it leaves out a third of the samples,
for less than 0.01 dB."""
FRAMES = 48
RAYS_PER_FRAME = 12_000


def telling_frames(condition: torch.Tensor, head_pose: torch.Tensor) -> list[int]:
    """Frames that between them show every extreme: spread over the clip, and both ends of each code and pose.

    Args:
        condition: (T, 48).
        head_pose: (T, 6).
    """
    spread = torch.linspace(0, len(condition) - 1, min(len(condition), FRAMES)).long()
    values = torch.cat([condition, head_pose], dim=1)
    return torch.cat([spread, values.argmax(0), values.argmin(0)]).unique().tolist()


@torch.no_grad()
def tighten_occupancy(
    field: ConditionalField,
    condition: torch.Tensor,
    head_pose: torch.Tensor,
    directions: torch.Tensor,
    generator: torch.Generator,
) -> float:
    """Clear cells of ``field.occupancy`` that show in none of the frames, with a margin of one cell.

    Args:
        field: the trained field.
        condition: (T, 48) of the frames to look at.
        head_pose: (T, 6) of the same frames.
        directions: (P, 3) unit directions of all pixels, of which a random part is looked at in each frame.

    Returns:
        The share of cells that is left.
    """
    size = field.config.occupancy_resolution
    most = torch.zeros(size**3)
    for values, pose in zip(condition, head_pose, strict=True):
        folded = field.fold(values, pose)
        chosen = directions[torch.randint(len(directions), (RAYS_PER_FRAME,), generator=generator)]
        samples = march_rays(folded, chosen, torch.rand(len(chosen), generator=generator))
        positions = sample_positions(march_space(folded, chosen), samples)
        out = composite_rays(*field_values(folded, positions), samples, folded.step_m)
        cells = (positions * size).long().clamp_(0, size - 1)
        flat = (cells[:, 0] * size + cells[:, 1]) * size + cells[:, 2]
        most.scatter_reduce_(0, flat, out.weights, reduce="amax")
    shown = (most > LEAST_WEIGHT).view(1, size, size, size).float()
    grown = torch.nn.functional.max_pool3d(shown, 3, stride=1, padding=1)[0] > 0
    field.occupancy &= grown.to(torch.uint8)
    return float(field.occupancy.float().mean())
