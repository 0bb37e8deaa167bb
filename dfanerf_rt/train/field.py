"""Photometric training of the conditional field (paper eq. 11), head and torso at once."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from torch import nn

from dfanerf_rt.clip.format import Clip
from dfanerf_rt.clip.judgement import Judgement
from dfanerf_rt.errors import ClipError
from dfanerf_rt.field.config import FieldConfig
from dfanerf_rt.field.field import ConditionalField, field_values
from dfanerf_rt.ops.composite_rays import composite_rays
from dfanerf_rt.ops.march_rays import RaySamples, march_rays, march_space, sample_positions
from dfanerf_rt.ops.render_field import FoldedField
from dfanerf_rt.train.loop import Loop
from dfanerf_rt.train.occupancy import OccupancyKeeper
from dfanerf_rt.train.rays import FrameStore, SamplingConfig
from dfanerf_rt.train.structure import structural_loss
from dfanerf_rt.train.team import Team
from dfanerf_rt.train.thin import thin_samples
from dfanerf_rt.train.tighten import telling_frames, tighten_occupancy

MIN_RAYS_PER_FRAME = 128
LEAST_RAYS_A_PATCH = 4
NO_NECK_Y_M = 100.0
INNER_LIPS = (62, 66)
POSE_UNITS = (1.0, 1.0, 1.0, 0.1, 0.1, 0.1)
"""Radians, and lengths of 0.1 m, which is how far the face lies from the axes it turns about."""
COARSE_TO_FINE = ((0.1, 4), (0.25, 2))
"""Steps along the ray are this many times longer until that share of the training: while the occupancy grid is still
full, more rays teach more than more samples."""
MOST_TIMES_OFTENER = 30.0
"""A clip without a blink has no closed eyes to look at, however seldom."""


@dataclass(frozen=True)
class FieldTrainConfig:
    """Settings of the field's training."""

    n_steps: int = 12_000
    budget_s: float = 900.0
    frames_per_step: int = 1
    samples_per_step: int = 25_000
    """Rays are added or left out so that a step costs about this many samples, whatever the occupancy."""
    max_rays_per_frame: int = 4096
    learning_rate_table: float = 1e-2
    learning_rate_blend: float = 1e-3
    """Of the tables that are blended: a step moves what a frame sees by the sum of theirs, and at the rate of the table
    under them the face would be fog for long."""
    learning_rate_mlp: float = 2e-3
    learning_rate_follow: float = 2e-3
    """Of the maps by which head and torso follow the pose, in radians and 0.1 m."""
    learning_rate_frame: float = 1e-3
    """Of each frame's own pose (in radians and 0.1 m) and colour, in the steps that look at that frame."""
    learning_rate_floor: float = 0.03
    """Learning rates decay exponentially to this share."""
    condition_noise: float = 0.1
    """Standard deviation of noise on the condition, in units of the field's ``condition_std``."""
    audio_share: float = 0.5
    """Share of steps whose mouth is driven by the audio code instead of the tracked mouth code."""
    matte_weight: float = 0.05
    distortion_weight: float = 5e-4
    structure_weight: float = 0.03
    """Of the structural loss over a patch, which keeps edges sharp."""
    structure_from: float = 0.5
    """Share of the training after which the structural loss counts: before, it keeps fog from becoming surfaces."""
    colour_weight: float = 1.0
    """Pulls each frame's own gain and offset of colour, which take up drifting light and exposure, to none."""
    refine_colour: bool = True
    pose_weight: float = 1.0
    """Pulls each frame's refined pose towards the tracked one (per radian^2 and per (0.1 m)^2)."""
    blink_share: float = 0.1
    """Share of the steps that go to closed eyes beside what chance would give them: blinks are short."""
    open_share: float = 1.0
    """How much oftener a frame with the most open mouth comes up: teeth and tongue show in few."""
    other_background_share: float = 0.25
    """Share of steps that put another colour behind the person, in the truth as in the render, by the matte: hair that
    has learned to be half the studio's wall would show it before any other."""
    occupancy_of_all: bool = True
    """Keep what any expression fills; otherwise what that of the first frame does."""
    own_torso: bool = True
    """Below the neck, follow the head by a map of its own; otherwise all is one rigid head."""
    refine_pose: bool = True
    """Refine each frame's pose, and the map by which the head follows it: the map is kept in the avatar."""
    least_weight: float = 2e-3
    """Samples that weigh less are mostly left out of the step (of those, ``light_share`` stay)."""
    light_share: float = 0.05
    hide_unseen_after_steps: int = 200
    """Steps after which cells behind surfaces are let go of."""
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of the network's products while it learns; weights, gradients of weights and compositing are always float32."""


@dataclass(frozen=True)
class _View:
    """Rays through pixels of one frame, and where they are sampled."""

    frame: int
    pixels: torch.Tensor
    """(n,) flat indices; the last ``patch_px`` squared of them are a patch."""
    n_patch: int
    other: torch.Tensor | None
    """(3,) a colour to put behind the person in place of the background."""
    condition: torch.Tensor
    head_pose: torch.Tensor
    folded: FoldedField
    samples: RaySamples
    positions: torch.Tensor
    """(N, 3) of the samples, in the unit cube; differentiable."""
    cost: float
    """Of all of it, in samples."""


def field_box(clip: Clip) -> torch.Tensor:
    """(2, 3) box in head coordinates that the picture shows at the head's depth, metres."""
    meta, pose = clip.meta, clip.track.head_pose
    centre = pose[:, 3:].median(0).values
    front, back = -0.17, 0.16
    deepest = float(centre[2]) + back
    low = torch.tensor([(0 - meta.cx) / meta.focal_px * deepest, (0 - meta.cy) / meta.focal_px * deepest, 0.0])
    high = torch.tensor(
        [(meta.width - meta.cx) / meta.focal_px * deepest, (meta.height - meta.cy) / meta.focal_px * deepest, 0.0]
    )
    box = torch.stack([low - centre, high - centre])
    box[:, :2] += torch.tensor([[-0.01], [0.01]])
    box[0, 2], box[1, 2] = front, back
    # Hair and shoulders end well before half a metre from the head; what lies beyond is background.
    return box.clamp(-0.45, 0.45)


def _openness(landmarks_px: torch.Tensor) -> torch.Tensor:
    """(T,) distance of the inner lips as a share of its 95th percentile, 0 to 1; landmarks (T, 68, 2)."""
    opening = (landmarks_px[:, INNER_LIPS[0]] - landmarks_px[:, INNER_LIPS[1]]).norm(dim=-1)
    return (opening / opening.quantile(0.95).clamp_min(1e-3)).clamp(0.0, 1.0)


def _blink_weight(closure: torch.Tensor, share: float) -> torch.Tensor:
    """(T,) how much oftener frames come up than with open eyes, so that ``share`` of all steps is for closed ones.

    The third power of the closure (T,) leaves out eyes that are open and were measured a little narrow.
    """
    closed = closure**3
    times = share / (1.0 - share) * len(closed) / float(closed.sum().clamp_min(1e-6))
    return closed * min(times, MOST_TIMES_OFTENER)


class FieldTrainer:
    """One field in training: its optimisers, refined poses and occupancy grid.

    Args:
        clip: the prepared clip.
        condition: (T, 48) tracked mouth codes and eye codes of all training frames.
        audio_code: (T, 32) codes from sound for the same frames, or None for a silent clip.
        judgement: frames that are left out, and where the background moves; all is well by default.
        team: this process, its device and its peers.

    Raises:
        ClipError: no training frame can be learned from.
    """

    def __init__(
        self,
        clip: Clip,
        condition: torch.Tensor,
        audio_code: torch.Tensor | None,
        field_config: FieldConfig,
        config: FieldTrainConfig,
        seed: int = 0,
        judgement: Judgement | None = None,
        team: Team | None = None,
    ) -> None:
        self.config = config
        self.team = team = team or Team()
        self.device = device = team.device
        self.dtype = torch.bfloat16 if config.precision == "bfloat16" else torch.float32
        self.generator = torch.Generator().manual_seed(seed)
        frames, meta = clip.meta.train_frames, clip.meta
        judgement = judgement or Judgement.faultless(meta.n_frames, meta.height, meta.width)
        self.good = judgement.pictured(frames)
        """(T,) bool on the CPU: frames that are learned from."""
        self.known = torch.nonzero(self.good)[:, 0]
        """(K,) their numbers."""
        if not len(self.known):
            raise ClipError(f"{clip.root}: none of the {len(frames)} training frames can be learned from")
        self.store = FrameStore(clip, frames, config.sampling, judgement.moving, device, judgement.eyes_trusted)
        self.condition = condition.to(device)
        self.audio_code = None if audio_code is None else audio_code.to(device)
        opening = _openness(clip.track.landmarks_px[frames.start : frames.stop])
        blinks = _blink_weight(self.store.closure, config.blink_share)
        self.frame_share = (1.0 + blinks + config.open_share * opening) * self.good
        self.tracked_pose = clip.track.head_pose[frames.start : frames.stop].to(device)
        self.field = ConditionalField(field_config, field_box(clip), self.generator).to(device)
        chin = clip.track.landmarks[frames.start : frames.stop, 8, 1].median()
        neck_y_m = float(chin) + 0.03 if config.own_torso else NO_NECK_Y_M
        self.field.set_statistics(self.condition[self.good], self.tracked_pose[self.good], neck_y_m)
        self.frame_generator = self.generator
        """Chooses frames, on all processes alike; everything else differs between them."""
        if team.size > 1:
            self.frame_generator = torch.Generator().manual_seed(seed + 1)
            self.generator.manual_seed(seed + 1_000_003 * team.rank)
        self.draws = self.generator
        """Draws rays and noise where the tensors are."""
        if device.type != "cpu":
            self.draws = torch.Generator(device).manual_seed(int(torch.randint(1 << 62, (), generator=self.generator)))
        self.pose_units = torch.tensor(POSE_UNITS, device=device)
        self.rays_per_frame, self.fraction = 256, 0.0
        self.refinement = nn.Parameter(torch.zeros_like(self.tracked_pose))
        """(T, 6) of each frame's pose, in units of :data:`POSE_UNITS`."""
        self.colour = nn.Parameter(torch.zeros_like(self.tracked_pose))
        """(T, 6) logarithm of the gain, and offset, of each frame's red, green and blue."""
        self.optimizer = self._optimizer()
        # A dense optimiser would go on moving a frame's pose, by momentum, in the many steps that do not look at it.
        self.frame_optimizer = torch.optim.SparseAdam([self.refinement, self.colour], lr=config.learning_rate_frame)
        self.base_rates = {
            name: [group["lr"] for group in optimizer.param_groups] for name, optimizer in self.optimizers.items()
        }
        self.occupancy = OccupancyKeeper(self.field, self.draws, team)
        focal = (meta.focal_px, meta.cx, meta.cy)
        self.kept = self.occupancy.carve(self.store, self.tracked_pose, focal, self.known)
        team.broadcast([*self.field.parameters(), *self.field.buffers()])

    def _optimizer(self) -> torch.optim.Adam:
        net, config = self.field, self.config
        tables = [net.table, net.blend_tables]
        follow = [
            *([net.torso_follow] if config.own_torso else []),
            *([net.head_follow] if config.refine_pose else []),
        ]
        apart = [net.neck, net.head_follow, net.torso_follow, *tables]
        layers = [value for value in net.parameters() if not any(value is other for other in apart)]
        return torch.optim.Adam(
            [
                {"params": [net.table], "lr": config.learning_rate_table},
                *([{"params": [net.blend_tables], "lr": config.learning_rate_blend}] if net.config.n_blend else []),
                {"params": [value for value in layers if value.numel()], "lr": config.learning_rate_mlp},
                *([{"params": follow, "lr": config.learning_rate_follow}] if follow else []),
                *([{"params": [net.neck], "lr": 0.05}] if config.own_torso else []),
            ],
            betas=(0.9, 0.99),
            eps=1e-15,
            fused=True,
        )

    @property
    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """By the names under which checkpoints keep their moments."""
        return {"adam": self.optimizer, "frames": self.frame_optimizer}

    def head_pose(self, frame: int) -> torch.Tensor:
        """(6,) refined pose of a training frame."""
        if not self.config.refine_pose:
            return self.tracked_pose[frame]
        return self.tracked_pose[frame] + self._of_frame(self.refinement, frame) * self.pose_units

    @staticmethod
    def _of_frame(values: torch.Tensor, frame: int) -> torch.Tensor:
        """Row ``frame`` of ``values``, whose gradient is sparse."""
        return torch.nn.functional.embedding(torch.tensor(frame, device=values.device), values, sparse=True)

    def _take_step(self) -> None:
        """All optimisers, those of the linear maps in units in which radians and metres move pixels alike."""
        maps = [self.field.head_follow, self.field.torso_follow]
        before = [value.detach().clone() for value in maps]
        self.optimizer.step()
        with torch.no_grad():
            for value, old in zip(maps, before, strict=True):
                value.copy_(old + (value - old) * (self.pose_units[:, None] / self.pose_units))
        self.frame_optimizer.step()

    def frame_condition(self, frame: int) -> torch.Tensor:
        """(48,) condition of a training frame, with the mouth now and then driven by the sound, and noise."""
        condition = self.condition[frame]
        if self.audio_code is not None and float(torch.rand((), generator=self.generator)) < self.config.audio_share:
            condition = torch.cat([self.audio_code[frame], condition[self.audio_code.shape[1] :]])
        noise = torch.randn(condition.shape, generator=self.draws, device=self.device) * self.config.condition_noise
        return condition + noise * self.field.condition_std

    def step(self, loop: Loop) -> dict[str, float]:
        """One optimisation step; returns the losses."""
        config = self.config
        for name, optimizer in self.optimizers.items():
            for group, base in zip(optimizer.param_groups, self.base_rates[name], strict=True):
                group["lr"] = base * loop.decay(config.learning_rate_floor)
            optimizer.zero_grad(set_to_none=True)
        n_frames = min(config.frames_per_step * self.team.size, len(self.known))
        every = torch.multinomial(self.frame_share, n_frames, generator=self.frame_generator).tolist()
        frames = self.team.part(every)
        self.fraction = loop.fraction
        stride = next((wide for until, wide in COARSE_TO_FINE if loop.fraction < until), 1)
        scalars = {"loss": 0.0, "mse": 0.0, "samples": 0.0}
        for together in self._groups(frames):
            views = [self._view(frame, stride) for frame in together]
            losses = []
            for view, (sigma, raw_rgb) in zip(views, self._values(views), strict=True):
                loss, found = self._loss(view, sigma, raw_rgb)
                losses.append(loss / len(frames))
                for name, value in found.items():
                    scalars[name] = scalars.get(name, 0.0) + value / (1 if name == "samples" else len(frames))
            torch.stack(losses).sum().backward()  # type: ignore[no-untyped-call]
        self.team.average_gradients(self.field.parameters())
        self.team.average_rows([self.refinement, self.colour], every)
        self._take_step()
        scalars = self.team.mean(scalars)
        wanted = self.rays_per_frame * config.samples_per_step / max(scalars["samples"], 1.0)
        smoothed = 0.8 * self.rays_per_frame + 0.2 * wanted
        self.rays_per_frame = int(min(max(smoothed, MIN_RAYS_PER_FRAME), config.max_rays_per_frame))
        self.occupancy.update(loop.step, self._density, loop.step > config.hide_unseen_after_steps)
        return scalars

    def tighten(self) -> float:
        """Let go of all cells that show in no training picture; returns the share of cells that is left."""
        told = telling_frames(self.condition[self.good], self.tracked_pose[self.good])
        frames = self.known[told].tolist()
        pose = torch.stack([self.head_pose(frame).detach() for frame in frames])
        return tighten_occupancy(self.field, self.condition[frames], pose, self.store.directions, self.draws)

    def _groups(self, frames: list[int]) -> list[list[int]]:
        """Frames whose samples go through the network together: all, or each alone where it has tables of its own."""
        return [[frame] for frame in frames] if self.field.config.n_blend else [frames]

    def _view(self, frame: int, stride: int) -> _View:
        config, patch = self.config, torch.zeros(0, dtype=torch.int64, device=self.device)
        # While rays are few, those of one place would teach the field that place alone.
        enough = self.rays_per_frame >= LEAST_RAYS_A_PATCH * config.sampling.patch_px**2
        if config.structure_weight and self.fraction >= config.structure_from and enough:
            patch = self.store.patch(frame, self.draws)
        pixels = torch.cat([self.store.sample(frame, self.rays_per_frame - len(patch), self.draws), patch])
        condition, pose = self.frame_condition(frame), self.head_pose(frame)
        folded = self.field.fold(condition, pose)
        folded = replace(folded, step_m=folded.step_m * stride)
        directions = self.store.directions[pixels]
        offset = torch.rand(len(pixels), generator=self.draws, device=self.device)
        # Rays of a patch are sampled alike: noise between neighbours would be taken for the structure of the picture.
        offset[len(pixels) - len(patch) :] = offset[-1]
        samples = march_rays(folded, directions, offset)
        least, share = config.least_weight, config.light_share
        seen = thin_samples(folded, directions, samples, least, share, self.draws, self.dtype)
        self.occupancy.note_visibility(seen.positions, samples, seen.weights)
        positions = sample_positions(march_space(folded, directions), seen.samples)
        other = None
        if float(torch.rand((), generator=self.generator)) < config.other_background_share:
            other = torch.rand(3, generator=self.draws, device=self.device)
        return _View(frame, pixels, len(patch), other, condition, pose, folded, seen.samples, positions, seen.cost)

    def _values(self, views: list[_View]) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Density and colour before its sigmoid at the samples of each view."""
        if len(views) == 1:
            return [field_values(views[0].folded, views[0].positions, self.dtype)]
        counts = [len(view.positions) for view in views]
        sigma, raw_rgb = self.field.values_of_frames(
            torch.cat([view.positions for view in views]),
            torch.arange(len(views), dtype=torch.int32).repeat_interleave(torch.tensor(counts)).to(self.device),
            torch.stack([view.condition for view in views]),
            torch.stack([view.head_pose for view in views]),
            self.dtype,
        )
        return list(zip(sigma.split(counts), raw_rgb.split(counts), strict=True))

    def _loss(self, view: _View, sigma: torch.Tensor, raw_rgb: torch.Tensor) -> tuple[torch.Tensor, dict[str, float]]:
        config, samples = self.config, view.samples
        colour, matte, background = self.store.targets(view.frame, view.pixels)
        if view.other is not None:
            colour = colour + (1.0 - matte)[:, None] * (view.other - background)
            background = view.other.expand_as(background)
        out = composite_rays(sigma, torch.sigmoid(raw_rgb), samples, view.folded.step_m)
        picture = out.rgb + out.transmittance[:, None] * background
        if config.refine_colour:
            gain, offset = self._of_frame(self.colour, view.frame).view(2, 3)
            picture = picture * gain.exp() + offset
        error = picture - colour
        mse = error.square().mean()
        matte_loss = (1.0 - out.transmittance - matte).square().mean()
        loss = mse + 0.02 * error.abs().mean() + config.matte_weight * matte_loss
        loss = loss + config.distortion_weight * out.distortion.mean()
        if view.n_patch:
            side = math.isqrt(view.n_patch)
            shown, wanted = (value[-view.n_patch :].view(side, side, 3) for value in (picture, colour))
            loss = loss + config.structure_weight * structural_loss(shown, wanted)
        if config.refine_colour:
            loss = loss + config.colour_weight * (gain.square().sum() + offset.square().sum())
        if config.refine_pose:
            loss = loss + config.pose_weight * self._of_frame(self.refinement, view.frame).square().sum()
        return loss, {"loss": float(loss.detach()), "mse": float(mse.detach()), "samples": view.cost}

    def _density(self, positions: torch.Tensor) -> torch.Tensor:
        """(N,) density of positions in the unit cube for the expression of a random training frame."""
        chosen = torch.randint(len(self.known), (), generator=self.generator) if self.config.occupancy_of_all else 0
        frame = int(self.known[chosen])
        folded = self.field.fold(self.frame_condition(frame), self.head_pose(frame).detach())
        return field_values(folded, positions, self.dtype)[0]
