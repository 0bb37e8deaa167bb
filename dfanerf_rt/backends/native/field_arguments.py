"""What the native renderers take of a field, by the names of their C++ methods."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from dfanerf_rt.field.field import ConditionalField
    from dfanerf_rt.ops.render_field import FoldedField


def plain(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor as C++ reads it: contiguous, and without a gradient."""
    return tensor.detach().contiguous()


def folded_network(folded: FoldedField) -> list[torch.Tensor]:
    """Three weights and three biases of a folded field."""
    return [plain(tensor) for tensor in (*folded.weights, *folded.biases)]


def field_network(field: ConditionalField) -> list[torch.Tensor]:
    """The same of a conditional field."""
    return [plain(tensor) for tensor in (field.w1, field.w2, field.w3, field.b1, field.b2, field.b3)]


def field_constants(field: ConditionalField) -> dict[str, Any]:
    """Everything else of a conditional field that folding needs."""
    return {
        "condition_mean": plain(field.condition_mean),
        "condition_std": plain(field.condition_std),
        "pose_mean": plain(field.pose_mean),
        "pose_std": plain(field.pose_std),
        "condition_weight": plain(field.condition_weight) if field.config.concat else None,
        "pose_weight": plain(field.pose_weight),
        "mixer_weight": plain(field.mixer_weight),
        "head_follow": plain(field.head_follow),
        "torso_follow": plain(field.torso_follow),
        "neck": plain(field.neck),
        "step_m": field.step_m,
        "base": plain(field.table),
        "tables": plain(field.blend_tables),
    }


def placement(folded: FoldedField) -> dict[str, Any]:
    """Poses, neck and range of a folded field, in host memory."""
    return {
        "head_to_camera": plain(folded.head_to_camera).cpu(),
        "torso_to_camera": plain(folded.torso_to_camera).cpu(),
        "neck": plain(folded.neck).cpu(),
        "near_far_step_m": (folded.near_m, folded.far_m, folded.step_m),
    }
