"""The conditional radiance field F_theta (paper eq. 10) and its fold.

The condition [audio code, eye code] and the head pose are constant over a frame. Whatever depends on them alone is
computed once a frame (:meth:`ConditionalField.fold`): concatenating a constant to the MLP's input adds a bias to its
first layer, and a mixture of hash tables is one hash table. What remains per sample is a static field.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from dfanerf_rt.backends.reference.render_field import MAX_RAW_SIGMA
from dfanerf_rt.errors import AvatarError, ShapeError
from dfanerf_rt.face.rotation import head_to_camera
from dfanerf_rt.field.config import CONDITION_DIM, HEAD_POSE_DIM, MOUTH_CODE_DIM, FieldConfig
from dfanerf_rt.files import check_tensors, from_json_object
from dfanerf_rt.ops.condition_layer import condition_layer
from dfanerf_rt.ops.hash_encode import hash_encode
from dfanerf_rt.ops.mlp import mlp
from dfanerf_rt.ops.render_field import FoldedField

if TYPE_CHECKING:
    from dfanerf_rt.avatar import Avatar

NECK_SOFTNESS_M = 0.012
"""Distance over which a sample passes from the head's frame to the torso's, before training."""
MAX_STANDARD_DEVIATIONS = 3.0
"""Conditions outside the training range are pulled back to it: the field has seen nothing there."""


class ConditionalField(nn.Module):
    """Colour and density at a point, given what the person says, blinks, and how the head is turned.

    A sample is placed in the head's frame above the neck and in the torso's frame below it, with a learned soft
    plane between. Both frames follow the head pose by a learned linear map: the torso because it moves less, the head
    because a tracker's poses and the motion of the pictures differ by nearly such a map.

    Args:
        config: sizes.
        aabb: (2, 3) the box that is modelled, head coordinates, metres.
    """

    occupancy: torch.Tensor
    aabb: torch.Tensor
    condition_mean: torch.Tensor
    condition_std: torch.Tensor
    pose_mean: torch.Tensor
    pose_std: torch.Tensor

    def __init__(self, config: FieldConfig, aabb: torch.Tensor, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.config = config
        entries, features, hidden = config.grid.n_entries, config.n_features, config.hidden

        def uniform(*shape: int, bound: float) -> nn.Parameter:
            return nn.Parameter((torch.rand(*shape, generator=generator) * 2 - 1) * bound)

        def kaiming(rows: int, columns: int) -> nn.Parameter:
            return uniform(rows, columns, bound=math.sqrt(6.0 / columns))

        self.table = uniform(entries, features, bound=1e-2)
        self.blend_tables = uniform(config.n_blend, entries, features, bound=1e-4)
        self.mixer_weight = uniform(config.n_blend, CONDITION_DIM, bound=1.0 / math.sqrt(CONDITION_DIM))
        self.w1, self.b1 = kaiming(hidden, config.grid.n_output), nn.Parameter(torch.zeros(hidden))
        self.w2, self.b2 = kaiming(hidden, hidden), nn.Parameter(torch.zeros(hidden))
        self.w3, self.b3 = kaiming(4, hidden), nn.Parameter(torch.tensor([2.0, 0.0, 0.0, 0.0]))
        self.condition_weight = nn.Parameter(torch.zeros(hidden, CONDITION_DIM if config.concat else 0))
        self.pose_weight = nn.Parameter(torch.zeros(hidden, HEAD_POSE_DIM))
        self.neck = nn.Parameter(torch.tensor([0.0, -1.0, 0.0, 0.1]) / NECK_SOFTNESS_M)
        self.head_follow = nn.Parameter(torch.eye(HEAD_POSE_DIM))
        self.torso_follow = nn.Parameter(torch.zeros(HEAD_POSE_DIM, HEAD_POSE_DIM))

        self.register_buffer("aabb", aabb.float())
        self.register_buffer("condition_mean", torch.zeros(CONDITION_DIM))
        self.register_buffer("condition_std", torch.ones(CONDITION_DIM))
        self.register_buffer("pose_mean", torch.tensor([0.0, 0.0, 0.0, 0.0, 0.0, 0.8]))
        self.register_buffer("pose_std", torch.ones(HEAD_POSE_DIM))
        resolution = config.occupancy_resolution
        self.register_buffer("occupancy", torch.ones(resolution, resolution, resolution, dtype=torch.uint8))

    @property
    def step_m(self) -> float:
        """Distance between samples along a ray."""
        return float(self.aabb[1, 2] - self.aabb[0, 2]) / self.config.n_steps

    @torch.no_grad()
    def set_statistics(self, condition: torch.Tensor, head_pose: torch.Tensor, neck_y_m: float) -> None:
        """Take normalisation, and the directions that the blended tables start from, from the training frames.

        ``condition_std`` is the standard deviation, or more where a frame would lie beyond three of them.

        Args:
            condition: (T, 48).
            head_pose: (T, 6).
            neck_y_m: height of the soft plane between head and torso, head coordinates (y points down).
        """
        std = condition.std(0)
        mouth, eyes = slice(0, MOUTH_CODE_DIM), slice(MOUTH_CODE_DIM, CONDITION_DIM)
        # A dimension that hardly moves carries tracking noise: it must not be blown up to unit variance.
        for part in (mouth, eyes):
            std[part] = std[part].clamp_min(0.25 * float(std[part].max().clamp_min(1e-3)))
        # A blink is rare and far from the mean: cut off at a few deviations, closed eyes would be the same input as
        # half closed ones, and be learned as their average.
        std = std.maximum((condition - condition.mean(0)).abs().amax(0) / MAX_STANDARD_DEVIATIONS)
        self.condition_mean.copy_(condition.mean(0))
        self.condition_std.copy_(std)
        self.pose_mean.copy_(head_pose.mean(0))
        self.pose_std.copy_(head_pose.std(0).clamp_min(1e-3))
        self.neck.copy_(torch.tensor([0.0, -1.0, 0.0, neck_y_m]) / NECK_SOFTNESS_M)
        n_eyes = self.config.n_blend // 4
        normal = self.normalise_condition(condition)
        self.mixer_weight.zero_()
        for part, first, count in (
            (mouth, 0, self.config.n_blend - n_eyes),
            (eyes, self.config.n_blend - n_eyes, n_eyes),
        ):
            if count:
                values = normal[:, part] - normal[:, part].mean(0)
                _, scale, directions = torch.linalg.svd(values, full_matrices=False)
                deviation = (scale[:count] / math.sqrt(len(values))).clamp_min(0.2)
                self.mixer_weight[first : first + count, part] = directions[:count] / deviation[:, None]

    def normalise_condition(self, condition: torch.Tensor) -> torch.Tensor:
        """(..., 48) in units of ``condition_std``, limited to three of them, where all that training has seen lies."""
        scaled = (condition - self.condition_mean) / self.condition_std
        return scaled.clamp(-MAX_STANDARD_DEVIATIONS, MAX_STANDARD_DEVIATIONS)

    def normalise_pose(self, head_pose: torch.Tensor) -> torch.Tensor:
        """The same for (..., 6) poses, where they enter the network in place of a view direction."""
        scaled = (head_pose - self.pose_mean) / self.pose_std
        return scaled.clamp(-MAX_STANDARD_DEVIATIONS, MAX_STANDARD_DEVIATIONS)

    def placed_head(self, head_pose: torch.Tensor) -> torch.Tensor:
        """(6,) pose of the head's frame for a head pose (6,)."""
        return self.pose_mean + self.head_follow @ (head_pose - self.pose_mean)

    def placed_torso(self, head_pose: torch.Tensor) -> torch.Tensor:
        """(6,) pose of the torso's frame for a head pose (6,)."""
        return self.pose_mean + self.torso_follow @ (head_pose - self.pose_mean)

    def fold(self, condition: torch.Tensor, head_pose: torch.Tensor) -> FoldedField:
        """Everything that one frame needs, with condition and pose folded in; differentiable.

        Args:
            condition: (48,) f_c = [audio code (or mouth code), eye code].
            head_pose: (6,) rotation vector in radians, translation in metres.

        Raises:
            ShapeError: on other shapes.
        """
        if condition.shape != (CONDITION_DIM,) or head_pose.shape != (HEAD_POSE_DIM,):
            found = f"{tuple(condition.shape)} and {tuple(head_pose.shape)}"
            raise ShapeError(f"condition and head_pose have shapes {found}, expected (48,) and (6,)")
        normal, pose = self.normalise_condition(condition), self.normalise_pose(head_pose)
        bias = self.b1 + self.pose_weight @ pose
        if self.config.concat:
            bias = bias + self.condition_weight @ normal
        table: torch.Tensor = self.table
        if self.config.n_blend:
            table = _mix_tables(self.table, self.blend_tables, self.mixer_weight @ normal)
        head = head_to_camera(self.placed_head(head_pose))
        near, far = self._range(head)
        return FoldedField(
            grid=self.config.grid,
            table=table,
            weights=(self.w1, self.w2, self.w3),
            biases=(bias, self.b2, self.b3),
            aabb=self.aabb,
            head_to_camera=head,
            torso_to_camera=head_to_camera(self.placed_torso(head_pose)),
            neck=self.neck,
            occupancy=self.occupancy,
            near_m=near,
            far_m=far,
            step_m=self.step_m,
        )

    def values_of_frames(
        self,
        positions: torch.Tensor,
        frame: torch.Tensor,
        condition: torch.Tensor,
        head_pose: torch.Tensor,
        dtype: torch.dtype = torch.float32,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """What :func:`field_values` gives for each frame's fold, for samples of several frames at once; differentiable.

        Only a field without blended tables can do so: its frames share one table (paper eq. 10, concatenation alone).

        Args:
            positions: (N, 3) in the unit cube.
            frame: (N,) int32, row of ``condition`` and ``head_pose`` that a sample belongs to.
            condition: (B, 48).
            head_pose: (B, 6).
            dtype: of the second layer's product; float32 by default, or torch.bfloat16.

        Raises:
            ShapeError: the field blends tables, or on other shapes.
        """
        if self.config.n_blend:
            raise ShapeError(f"the field blends {self.config.n_blend} tables a frame; fold its frames one by one")
        normal = self.normalise_condition(condition)[:, : self.condition_weight.shape[1]]
        known = torch.cat([normal, self.normalise_pose(head_pose)], dim=1)
        wide = torch.cat([self.w1, self.condition_weight, self.pose_weight], dim=1)
        features = hash_encode(positions, self.table, self.config.grid)
        hidden = condition_layer(features, known, frame, wide, self.b1)
        w2, b2 = (value.to(dtype) for value in (self.w2, self.b2))
        hidden = torch.addmm(b2, hidden.to(w2.dtype), w2.t()).relu()
        return _density_and_colour(torch.addmm(self.b3, hidden.to(self.b3.dtype), self.w3.t()))

    @torch.no_grad()
    def _range(self, head: torch.Tensor) -> tuple[float, float]:
        """Distances between which rays meet the box."""
        corners = torch.cartesian_prod(*self.aabb.t().unbind(0))
        seen = corners @ head[:, :3].t() + head[:, 3]
        depth = float(seen[:, 2].min())
        return max(depth, 0.05), float(seen.norm(dim=-1).max())

    def state(self) -> dict[str, torch.Tensor]:
        """Tensors for the avatar: tables in half precision, occupancy as bits."""
        tensors = {f"field.{name}": value.detach() for name, value in self.named_parameters()}
        for name in ("aabb", "condition_mean", "condition_std", "pose_mean", "pose_std"):
            tensors[f"field.{name}"] = getattr(self, name)
        for name in ("field.table", "field.blend_tables"):
            tensors[name] = tensors[name].half()
        tensors["occupancy.bits"] = pack_occupancy(self.occupancy)
        return tensors

    @classmethod
    def from_avatar(cls, avatar: Avatar) -> ConditionalField:
        """The trained field of an avatar, in float32.

        Raises:
            AvatarError: a tensor is missing or of another shape than the metadata says.
        """
        config = from_json_object(FieldConfig, avatar.meta.field, f"{avatar.where}: field settings", AvatarError)
        if config.hidden < 1 or config.n_steps < 1:
            raise AvatarError(f"{avatar.where}: hidden {config.hidden}, n_steps {config.n_steps}; expected 1 or more")
        try:
            field = cls(config, torch.zeros(2, 3))
        except (TypeError, ValueError, RuntimeError) as fault:
            raise AvatarError(f"{avatar.where}: damaged field settings ({fault})") from fault
        bits = avatar.section("occupancy").get("bits")
        n_bytes = (config.occupancy_resolution**3 + 7) // 8
        if bits is None or bits.dtype != torch.uint8 or tuple(bits.shape) != (n_bytes,):
            found = "missing" if bits is None else f"{bits.dtype} {tuple(bits.shape)}"
            raise AvatarError(f"{avatar.where}: tensor 'occupancy.bits' is {found}, expected uint8 ({n_bytes},)")
        occupancy = unpack_occupancy(bits, config.occupancy_resolution)
        stored: dict[str, torch.Tensor] = {**avatar.section("field"), "occupancy": occupancy}
        tensors = {
            name: value.to(torch.float32) if value.is_floating_point() else value for name, value in stored.items()
        }
        expected: dict[str, tuple[int | None, ...]] = {
            name: tuple(value.shape) for name, value in field.state_dict().items()
        }
        check_tensors(avatar.where, tensors, expected, AvatarError)
        field.load_state_dict({name: tensors[name] for name in expected})
        return field.requires_grad_(False)


def field_values(
    folded: FoldedField, positions: torch.Tensor, dtype: torch.dtype = torch.float32
) -> tuple[torch.Tensor, torch.Tensor]:
    """Density (N,) in 1/m and colour before its sigmoid (N, 3) at (N, 3) in the unit cube; differentiable.

    With ``dtype`` torch.bfloat16 the hidden layers' products are of that type; table, weights and results stay float32.
    """
    features = hash_encode(positions, folded.table, folded.grid)
    return _density_and_colour(mlp(features, folded.weights, folded.biases, dtype))


def _density_and_colour(raw: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return raw[:, 0].clamp_max(MAX_RAW_SIGMA).exp(), raw[:, 1:]


def pack_occupancy(occupancy: torch.Tensor) -> torch.Tensor:
    """(R, R, R) uint8 to (ceil(R^3 / 8),) uint8: a bit a cell, the lowest bit first."""
    return torch.from_numpy(np.packbits(occupancy.cpu().numpy().reshape(-1) != 0, bitorder="little"))


def unpack_occupancy(bits: torch.Tensor, resolution: int) -> torch.Tensor:
    """The inverse of :func:`pack_occupancy`."""
    cells = np.unpackbits(bits.cpu().numpy(), count=resolution**3, bitorder="little")
    return torch.from_numpy(cells).view(resolution, resolution, resolution)


def _mix_tables(base: torch.Tensor, tables: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    return base + (weights @ tables.flatten(1)).view_as(base)
