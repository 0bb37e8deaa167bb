"""What ``--preset`` means: sizes and time of each stage."""

from __future__ import annotations

from dataclasses import dataclass, field

from dfanerf_rt.field.config import FieldConfig
from dfanerf_rt.train.field import FieldTrainConfig
from dfanerf_rt.train.person_motion import PersonalTraining


@dataclass(frozen=True)
class Preset:
    """Settings of a whole training."""

    field_config: FieldConfig = field(default_factory=FieldConfig)
    field_training: FieldTrainConfig = field(default_factory=FieldTrainConfig)
    sync_budget_s: float = 90.0
    motion: PersonalTraining = field(default_factory=PersonalTraining)


PRESETS: dict[str, Preset] = {
    "tiny": Preset(
        field_config=FieldConfig(
            n_levels=8, log2_table_size=12, max_resolution=64, n_blend=4, occupancy_resolution=32, n_steps=48
        ),
        field_training=FieldTrainConfig(n_steps=200, budget_s=120.0, samples_per_step=10_000),
        sync_budget_s=5.0,
        motion=PersonalTraining(budget_s=1.0, simulated_s=40.0),
    ),
    "preview": Preset(),
    "standard": Preset(
        field_config=FieldConfig(log2_table_size=16, max_resolution=512, n_blend=3, concat=True, n_steps=160),
        field_training=FieldTrainConfig(
            n_steps=60_000, budget_s=3000.0, samples_per_step=50_000, max_rays_per_frame=8192
        ),
        sync_budget_s=180.0,
    ),
    "full": Preset(
        field_config=FieldConfig(log2_table_size=16, max_resolution=512, n_blend=3, concat=True, n_steps=192),
        field_training=FieldTrainConfig(
            n_steps=30_000,
            budget_s=420.0,
            samples_per_step=400_000,
            max_rays_per_frame=65_536,
            precision="bfloat16",
        ),
        sync_budget_s=120.0,
    ),
}
"""``tiny`` is for tests: it shows that every stage runs, not what the result looks like. Tables and their number
are such that an avatar stays under 10 MB: 8.6 to 9.1 were measured of ``preview``, 9.3 are expected of the others.
Where there are three, too few for mouth and eyes, the condition is also concatenated.

Memory. All training frames are held as bytes, with the indices of the person's pixels: about 5 bytes a pixel and frame.
Peak resident memory of the field's training, 455 frames at 256x256 on the CPU: ``preview`` 0.8 GB (60 steps),
``standard`` 0.9 GB (12 steps). ``full`` is for a GPU, or several by torchrun; neither its memory nor its time has been
measured yet (``benchmarks/bench_train.py`` does so).
"""
