"""The occupancy grid during training: which cells hold anything, in any expression, that any ray can see.

nerfacc's estimator keeps the densities. Two things are added that it cannot know: cells that every matte shows to be
empty are carved away before training starts, and cells that lie hidden behind a surface are let go of, so that no
samples are spent inside the head.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from dfanerf_rt.face.rotation import head_to_camera
from dfanerf_rt.field.field import ConditionalField
from dfanerf_rt.ops.march_rays import RaySamples
from dfanerf_rt.train.rays import FrameStore

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


class OccupancyKeeper:
    """Wraps ``nerfacc.OccGridEstimator`` over the field's unit cube; ``field.occupancy`` becomes its coarse grid."""

    def __init__(self, field: ConditionalField) -> None:
        from nerfacc import OccGridEstimator

        self.field = field
        self.resolution = max(1, field.config.occupancy_resolution // REFINEMENT)
        self.estimator: Any = OccGridEstimator([0.0, 0.0, 0.0, 1.0, 1.0, 1.0], resolution=self.resolution, levels=1)
        self.seen = torch.ones(self.resolution**3)

    @torch.no_grad()
    def carve(self, store: FrameStore, head_poses: torch.Tensor, focal: tuple[float, float, float]) -> float:
        """Drop cells that fall outside the matte in nearly all frames that see them; returns the share kept.

        Args:
            store: the training frames.
            head_poses: (T, 6) of those frames.
            focal: focal length, cx and cy in pixels.
        """
        field, size = self.field, self.resolution
        centres = (self.estimator.grid_coords.float() + 0.5) / size
        points = field.aabb[0] + centres * (field.aabb[1] - field.aabb[0])
        weight = torch.sigmoid(points @ field.neck[:3] + field.neck[3])[:, None]
        radius = float((field.aabb[1] - field.aabb[0]).max()) / size
        hits = torch.zeros(len(points))
        chosen = torch.linspace(0, len(store) - 1, min(len(store), 40)).long().unique()
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
        self.estimator.occs[:] = torch.where(kept, FIRST_ALPHA, -1.0)
        self.estimator.binaries[0] = kept.view(size, size, size)
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
        """Let the estimator look at ``density`` (positions (N, 3) in the unit cube to (N,) 1/m) every few steps."""
        if step % UPDATE_EVERY:
            return
        step_m = self.field.step_m
        self.estimator.eval()  # its own update insists on training mode for schedules that are kept here
        self.estimator._update(
            step=step,
            occ_eval_fn=lambda u: density(u)[:, None] * step_m,
            occ_thre=OCCUPIED_ALPHA,
            ema_decay=DENSITY_DECAY,
            warmup_steps=0,
        )
        if hide_unseen:
            visible = (self.seen > SEEN_TRANSMITTANCE).view(1, *(self.resolution,) * 3).float()
            self.estimator.binaries &= visible > 0
            self.seen *= SEEN_DECAY
        self._publish()

    def _publish(self) -> None:
        # One cell of margin: a surface that moves with the next expression must not be cut off.
        occupied = torch.nn.functional.max_pool3d(self.estimator.binaries.float(), 3, stride=1, padding=1)
        known = self.estimator.occs.view_as(self.estimator.binaries) >= 0
        coarse = ((occupied > 0) & known)[0].to(torch.uint8)
        self.field.occupancy = coarse
