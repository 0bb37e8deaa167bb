"""The occupancy grid during training: which cells hold anything, in any expression, that any ray can see.

Densities are kept as by nerfacc's estimator (``OccGridEstimator``), but chance comes from a generator, so that a seed
means something and processes stay in step. Two things are added that it cannot know: cells that every matte shows to be
empty are carved away before training starts, and cells that lie hidden behind a surface are let go of, so that no
samples are spent inside the head.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from dfanerf_rt.face.rotation import head_to_camera
from dfanerf_rt.field.field import ConditionalField
from dfanerf_rt.ops.march_rays import RaySamples
from dfanerf_rt.train.rays import FrameStore
from dfanerf_rt.train.team import Team

UPDATE_EVERY = 16
REFINEMENT = 4
"""Cells of the avatar's grid along one cell of the training's: the fine ones are only sorted out at the end."""
OCCUPIED_ALPHA = 0.02
SEEN_TRANSMITTANCE = 1e-2
SEEN_DECAY = 0.85
DENSITY_DECAY = 0.85
FIRST_ALPHA = 0.1


def flat_cells(positions: torch.Tensor, resolution: int) -> torch.Tensor:
    """(N,) index into a flattened (R, R, R) grid of the cells that positions (N, 3) in the unit cube lie in."""
    cells = (positions * resolution).long().clamp_(0, resolution - 1)
    return (cells[:, 0] * resolution + cells[:, 1]) * resolution + cells[:, 2]


class DensityGrid:
    """Which cells of a cubic grid hold anything, by the densities that were met in them.

    Args:
        resolution: cells along a side.
        device: where it is kept.
    """

    def __init__(self, resolution: int, device: torch.device | str = "cpu") -> None:
        self.resolution = resolution
        self.alphas = torch.zeros(resolution**3, device=device)
        """(R^3,) opacity of a step through each cell, fading; negative where nothing can ever be."""
        self.occupied = torch.zeros(resolution**3, dtype=torch.bool, device=device)
        """(R^3,)."""

    def corners(self, cells: torch.Tensor) -> torch.Tensor:
        """(N, 3) int64 place in the grid of flat cells (N,)."""
        size = self.resolution
        return torch.stack([cells // (size * size), cells // size % size, cells % size], dim=-1)

    @torch.no_grad()
    def look(self, alpha: Callable[[torch.Tensor], torch.Tensor], generator: torch.Generator) -> None:
        """Look at random places in a quarter of the cells, and in as many occupied ones.

        Args:
            alpha: opacity (N,) at positions (N, 3) in the unit cube.
            generator: of the grid's device.

        Source:
            nerfacc 0.5.3, ``OccGridEstimator._update`` behind its warm-up.
        """
        device, total = self.alphas.device, len(self.alphas)
        count = total // 4
        anywhere = torch.randint(total, (count,), generator=generator, device=device)
        anywhere = anywhere[self.alphas[anywhere] >= 0.0]
        occupied = torch.nonzero(self.occupied)[:, 0]
        if count < len(occupied):
            occupied = occupied[torch.randint(len(occupied), (count,), generator=generator, device=device)]
        cells = torch.cat([anywhere, occupied])
        places = self.corners(cells)
        inside = torch.rand(places.shape, generator=generator, device=device)
        found = alpha((places + inside) / self.resolution)
        self.alphas[cells] = torch.maximum(self.alphas[cells] * DENSITY_DECAY, found)

    @torch.no_grad()
    def decide(self) -> None:
        """Take cells as occupied that are more opaque than the mean, or than ``OCCUPIED_ALPHA`` where that is less."""
        least = self.alphas[self.alphas >= 0].mean().clamp(max=OCCUPIED_ALPHA)
        self.occupied = self.alphas > least


class OccupancyKeeper:
    """Keeps a :class:`DensityGrid` over the field's unit cube; ``field.occupancy`` becomes its coarse grid.

    Args:
        field: whose occupancy is kept.
        generator: of all chance, of the field's device.
        team: processes whose grids are kept in step.
    """

    def __init__(self, field: ConditionalField, generator: torch.Generator, team: Team | None = None) -> None:
        self.field, self.generator, self.team = field, generator, team or Team()
        self.resolution = max(1, field.config.occupancy_resolution // REFINEMENT)
        device = field.aabb.device
        self.grid = DensityGrid(self.resolution, device)
        self.seen = torch.ones(self.resolution**3, device=device)

    @torch.no_grad()
    def carve(
        self, store: FrameStore, head_poses: torch.Tensor, focal: tuple[float, float, float], known: torch.Tensor
    ) -> float:
        """Drop cells that fall outside the matte in nearly all frames that see them; returns the share kept.

        Args:
            store: the training frames.
            head_poses: (T, 6) of those frames.
            focal: focal length, cx and cy in pixels.
            known: (K,) int64 on the CPU, the frames whose matte can be believed.
        """
        field, size, device = self.field, self.resolution, self.seen.device
        centres = (self.grid.corners(torch.arange(size**3, device=device)) + 0.5) / size
        points = field.aabb[0] + centres * (field.aabb[1] - field.aabb[0])
        weight = torch.sigmoid(points @ field.neck[:3] + field.neck[3])[:, None]
        radius = float((field.aabb[1] - field.aabb[0]).max()) / size
        hits = torch.zeros(len(points), device=device)
        chosen = known[torch.linspace(0, len(known) - 1, min(len(known), 40)).long().unique()]
        for index in chosen.tolist():
            pose = head_poses[index]
            head, torso = (head_to_camera(placed) for placed in (field.placed_head(pose), field.placed_torso(pose)))
            place = weight * (points @ head[:, :3].t() + head[:, 3]) + (1 - weight) * (
                points @ torso[:, :3].t() + torso[:, 3]
            )
            depth = place[:, 2].clamp_min(0.05)
            x = focal[0] * place[:, 0] / depth + focal[1]
            y = focal[0] * place[:, 1] / depth + focal[2]
            reach = max(1, int(2 * focal[0] * radius / float(depth.mean())))
            grown = torch.nn.functional.max_pool2d(
                store.mattes[index].float()[None, None], 2 * reach + 1, stride=1, padding=reach
            )[0, 0]
            inside = (x > -reach) & (x < store.width + reach) & (y > -reach) & (y < store.height + reach)
            column, row = x.long().clamp(0, store.width - 1), y.long().clamp(0, store.height - 1)
            hits += inside & (grown[row, column] > 25)
        kept = hits > 0.05 * len(chosen)
        self.grid.alphas[:] = torch.where(kept, FIRST_ALPHA, -1.0)
        self.grid.occupied[:] = kept
        self._publish()
        return float(kept.float().mean())

    @torch.no_grad()
    def note_visibility(self, positions: torch.Tensor, samples: RaySamples, weights: torch.Tensor) -> None:
        """Remember which cells light has reached: (N, 3) positions in the unit cube, and weights of the samples."""
        stopped = torch.cumsum(weights, 0) - weights
        light = 1.0 - (stopped - stopped[samples.offsets[samples.ray]])
        self.seen.scatter_reduce_(0, flat_cells(positions, self.resolution), light, reduce="amax")

    @torch.no_grad()
    def update(self, step: int, density: Callable[[torch.Tensor], torch.Tensor], hide_unseen: bool) -> None:
        """Look at ``density`` (positions (N, 3) in the unit cube to (N,) 1/m) every few steps."""
        if step % UPDATE_EVERY:
            return
        step_m = self.field.step_m
        self.grid.look(lambda places: density(places) * step_m, self.generator)
        self.team.largest_(self.grid.alphas)
        self.grid.decide()
        if hide_unseen:
            self.team.largest_(self.seen)
            self.grid.occupied &= self.seen > SEEN_TRANSMITTANCE
            self.seen *= SEEN_DECAY
        self._publish()

    def _publish(self) -> None:
        # One cell of margin: a surface that moves with the next expression must not be cut off.
        shape = (1, *(self.resolution,) * 3)
        occupied = torch.nn.functional.max_pool3d(self.grid.occupied.view(shape).float(), 3, stride=1, padding=1)
        known = self.grid.alphas.view(shape) >= 0
        self.field.occupancy = ((occupied > 0) & known)[0].to(torch.uint8)
