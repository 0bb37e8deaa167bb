"""A whole avatar made by formula: a head-shaped field whose colours follow the sound, and an untrained encoder."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import torch

from dfanerf_rt.avatar import Avatar, AvatarMeta
from dfanerf_rt.field.config import FieldConfig
from dfanerf_rt.field.field import ConditionalField
from dfanerf_rt.motion.person import PersonalMotion
from dfanerf_rt.render.synthetic import head_camera, head_field
from dfanerf_rt.sync.model import AudioEncoder, SyncConfig


def write_head_avatar(path: Path, width: int = 64, person: PersonalMotion | None = None) -> Path:
    """Write the avatar, ``width`` px square, with two seconds of recorded motion, and ``person`` where given."""
    head = head_field()
    config = FieldConfig(n_blend=2, concat=True, occupancy_resolution=head.occupancy.shape[0])
    generator = torch.Generator().manual_seed(0)
    field = ConditionalField(config, head.aabb, generator)
    with torch.no_grad():
        field.table.copy_(head.table)
        for name, value in zip(("w1", "w2", "w3", "b1", "b2", "b3"), (*head.weights, *head.biases), strict=True):
            getattr(field, name).copy_(value)
        # Units 0 and 1 carry the shape; the others, which carry the colours, follow the condition.
        field.condition_weight[2:].copy_(torch.randn(config.hidden - 2, 48, generator=generator) * 0.3)
        field.neck.copy_(head.neck)
        field.occupancy.copy_(head.occupancy)
    torch.manual_seed(0)
    encoder = AudioEncoder(SyncConfig())
    encoder.feature_std.fill_(50.0)
    with torch.no_grad():
        encoder.head[-1].weight.mul_(30.0)  # so that sound is seen in the code of untrained weights
    turn = torch.linspace(0, 4 * torch.pi, 50)
    pose = torch.zeros(50, 6)
    pose[:, 1], pose[:, 5] = 0.1 * torch.sin(turn), 0.8
    camera = head_camera(width)
    background = torch.full((width, width, 3), 90, dtype=torch.uint8)
    tensors = {
        **field.state(),
        **encoder.state_tensors("sync."),
        **(person.state_tensors("motion.") if person else {}),
        "motion.recorded_pose": pose,
        "motion.recorded_eye_code": torch.zeros(50, 16),
        "background.image": background,
    }
    meta = AvatarMeta(
        name="head by formula",
        width=width,
        height=width,
        focal_px=camera.focal_px,
        cx=camera.cx,
        cy=camera.cy,
        fps=25.0,
        licence="CC0-1.0",
        consent="synthetic person",
        field=asdict(config),
        sync=asdict(encoder.config),
        motion=person.settings if person else {},
    )
    Avatar(meta, {name: value.detach().contiguous() for name, value in tensors.items()}).save(path)
    return path
