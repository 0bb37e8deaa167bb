"""A field in the shape of a head and shoulders, made by formula: what benchmarks and tests render without an avatar.

Its cost is that of a trained one: rays meet about as many occupied samples before they become opaque.
"""

from __future__ import annotations

import dataclasses
import math

import torch

from dfanerf_rt.avatar import Avatar, AvatarMeta
from dfanerf_rt.field.config import FieldConfig
from dfanerf_rt.field.field import ConditionalField
from dfanerf_rt.ops.camera import Camera
from dfanerf_rt.ops.hash_encode import HashGridConfig
from dfanerf_rt.ops.render_field import FoldedField

AABB = ((-0.27, -0.20, -0.16), (0.27, 0.34, 0.20))
ELLIPSOIDS = (
    ((0.0, -0.03, 0.0), (0.078, 0.125, 0.105)),
    ((0.0, 0.14, 0.03), (0.055, 0.12, 0.06)),
    ((0.0, 0.30, 0.05), (0.23, 0.12, 0.10)),
)
"""Centre and radii of head, neck and shoulders, metres in the head's frame."""
SHELL_M = 0.010
"""Space this far outside the surface counts as occupied, as an occupancy grid's cells do."""
RAW_SIGMA_AT_SURFACE = 3.0
RAW_SIGMA_PER_M = 300.0
STEPS_THROUGH_BOX = 128
HIDDEN = 64


def head_field(
    seed: int = 0, grid: HashGridConfig | None = None, occupancy_resolution: int = 64, turn_rad: float = 0.15
) -> FoldedField:
    """A head and shoulders with random colours, 0.8 m away; the head is turned against the torso.

    One dense level of the table holds the distance to the surface, which the network hands on as density; all other
    features and weights are random and give the colours.

    Args:
        seed: of the colours.
        grid: sizes of the hash grid; the usual ones where it is None.
        occupancy_resolution: cells along an axis.
        turn_rad: yaw of the head; at 0, head and torso move as one.
    """
    grid = grid or HashGridConfig()
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int, scale: float) -> torch.Tensor:
        return torch.randn(*shape, generator=generator) * scale

    aabb = torch.tensor(AABB)
    table = normal(grid.n_entries, grid.n_features, scale=0.5)
    level_number, level = max((i, level) for i, level in enumerate(grid.levels) if not level.hashed)
    points = _grid_points(level.resolution, 0.5, level.scale)
    table[level.offset : level.offset + len(points), 0] = -surface_distance(_metres(points, aabb)) * 10.0

    first = normal(HIDDEN, grid.n_output, scale=(2.0 / grid.n_output) ** 0.5)
    second = normal(HIDDEN, HIDDEN, scale=(2.0 / HIDDEN) ** 0.5)
    last = normal(4, HIDDEN, scale=4.0 * HIDDEN**-0.5)
    # Hidden units 0 and 1 carry the positive and the negative part of the distance through both layers.
    first[:2] = 0.0
    first[0, level_number * grid.n_features], first[1, level_number * grid.n_features] = 1.0, -1.0
    second[:2] = 0.0
    second[0, 0] = second[1, 1] = 1.0
    last[0] = 0.0
    last[0, 0], last[0, 1] = RAW_SIGMA_PER_M / 10.0, -RAW_SIGMA_PER_M / 10.0

    cells = _grid_points(occupancy_resolution, -0.5, occupancy_resolution)
    distance = surface_distance(_metres(cells, aabb)).reshape((occupancy_resolution,) * 3)
    cell_m = float((aabb[1] - aabb[0]).max()) / occupancy_resolution
    occupancy = (distance < SHELL_M + 0.5 * cell_m).permute(2, 1, 0).contiguous().to(torch.uint8)
    sine, cosine = math.sin(turn_rad), math.cos(turn_rad)
    head = torch.tensor([[cosine, 0.0, sine, 0.0], [0.0, 1.0, 0.0, 0.0], [-sine, 0.0, cosine, 0.8]])
    torso = torch.tensor([[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.8]])
    return FoldedField(
        grid=grid,
        table=table,
        weights=(first, second, last),
        biases=(torch.zeros(HIDDEN), torch.zeros(HIDDEN), torch.tensor([RAW_SIGMA_AT_SURFACE, 0.0, 0.0, 0.0])),
        aabb=aabb,
        head_to_camera=head,
        torso_to_camera=torso,
        neck=torch.tensor([0.0, -1.0, 0.0, 0.12]) / 0.012,
        occupancy=occupancy,
        near_m=0.8 + AABB[0][2],
        far_m=1.2,
        step_m=(AABB[1][2] - AABB[0][2]) / STEPS_THROUGH_BOX,
    )


def head_camera(width: int = 256, height: int | None = None) -> Camera:
    """A camera that sees the head of :func:`head_field` as clips show theirs: shoulders cut off, air above."""
    height = height or width
    return Camera(width, height, 1.75 * width, 0.5 * width, 0.42 * height)


def head_avatar(width: int = 256, config: FieldConfig | None = None, seed: int = 0) -> Avatar:
    """An avatar whose field is :func:`head_field`, with random tables to mix and a random background.

    Args:
        width: of its square pictures, pixels.
        config: sizes of its field; the usual ones where it is None.
        seed: of all that is random.
    """
    config = config or FieldConfig(n_steps=STEPS_THROUGH_BOX, occupancy_resolution=128)
    shape = head_field(seed, config.grid, config.occupancy_resolution)
    generator = torch.Generator().manual_seed(seed)
    field = ConditionalField(config, shape.aabb, generator)
    with torch.no_grad():
        field.table.copy_(shape.table)
        field.blend_tables.normal_(0.0, 0.02, generator=generator)
        field.condition_weight.normal_(0.0, 0.02, generator=generator)
        for number, (weight, bias) in enumerate(zip(shape.weights, shape.biases, strict=True), 1):
            getattr(field, f"w{number}").copy_(weight)
            getattr(field, f"b{number}").copy_(bias)
        field.neck.copy_(shape.neck)
        field.occupancy.copy_(shape.occupancy)
    camera = head_camera(width)
    meta = AvatarMeta(
        name="synthetic head",
        width=camera.width,
        height=camera.height,
        focal_px=camera.focal_px,
        cx=camera.cx,
        cy=camera.cy,
        fps=25.0,
        licence="CC0-1.0",
        consent="nobody was filmed",
        field=dataclasses.asdict(config),
    )
    background = torch.randint(0, 256, (width, width, 3), generator=generator).to(torch.uint8)
    return Avatar(meta, {**field.state(), "background.image": background})


def surface_distance(points: torch.Tensor) -> torch.Tensor:
    """Signed distance to the surface in metres, negative inside (to first order): points (N, 3) to (N,)."""
    nearest = torch.full(points.shape[:1], math.inf)
    for centre, radii in ELLIPSOIDS:
        scaled = (points - torch.tensor(centre)) / torch.tensor(radii)
        length = scaled.norm(dim=1).clamp_min(1e-6)
        slope = (scaled / torch.tensor(radii)).norm(dim=1).clamp_min(1e-6)
        nearest = torch.minimum(nearest, length * (length - 1.0) / slope)
    return nearest


def _grid_points(resolution: int, offset: float, scale: float) -> torch.Tensor:
    """u of all grid points, x fastest: (resolution^3, 3)."""
    axis = (torch.arange(resolution, dtype=torch.float32) - offset) / scale
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    return torch.stack([x, y, z], dim=-1).reshape(-1, 3)


def _metres(u: torch.Tensor, aabb: torch.Tensor) -> torch.Tensor:
    return aabb[0] + u * (aabb[1] - aabb[0])
