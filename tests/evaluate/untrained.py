"""An avatar whose weights are random: every stage of driving and rendering runs, and the mouth code shows."""

from __future__ import annotations

from dataclasses import asdict

import torch

from dfanerf_rt.attributes.model import AttributeModel
from dfanerf_rt.avatar import Avatar, AvatarMeta
from dfanerf_rt.clip.format import Clip
from dfanerf_rt.field.config import FieldConfig
from dfanerf_rt.field.field import ConditionalField
from dfanerf_rt.sync.model import AudioEncoder, SyncConfig

FIELD = FieldConfig(
    n_levels=4, log2_table_size=10, max_resolution=32, n_blend=2, concat=True, occupancy_resolution=16, n_steps=24
)


def untrained_avatar(clip: Clip) -> Avatar:
    """An avatar with the camera of ``clip``."""
    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        attributes, encoder = AttributeModel(), AudioEncoder(SyncConfig())
    attributes.neutral.copy_(clip.track.landmarks[0])
    field = ConditionalField(FIELD, torch.tensor([[-0.1, -0.15, -0.1], [0.1, 0.15, 0.1]]), generator)
    with torch.no_grad():
        field.table.mul_(100.0)
        field.condition_weight.copy_(0.5 * torch.randn(field.condition_weight.shape, generator=generator))
    meta = clip.meta
    tensors = {
        **field.state(),
        **{f"attributes.{name}": tensor for name, tensor in attributes.state_tensors().items()},
        **{f"sync.{name}": tensor for name, tensor in encoder.state_tensors().items()},
        "background.image": torch.from_numpy(clip.background().copy()),
    }
    camera = (meta.width, meta.height, meta.focal_px, meta.cx, meta.cy, meta.fps)
    stated = {"licence": "CC0-1.0", "consent": "synthetic person"}
    return Avatar(
        AvatarMeta("untrained", *camera, **stated, field=asdict(FIELD), sync=asdict(SyncConfig())),
        {name: tensor.detach().contiguous() for name, tensor in tensors.items()},
    )
