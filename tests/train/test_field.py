"""Training steps of the field: frames that go through the network together learn what they learn one by one."""

from __future__ import annotations

import pytest
import torch

from dfanerf_rt.clip.format import Clip
from dfanerf_rt.field.config import CONDITION_DIM, FieldConfig
from dfanerf_rt.train.field import FieldTrainConfig, FieldTrainer
from dfanerf_rt.train.loop import Loop

SIZES = {"n_levels": 4, "log2_table_size": 10, "max_resolution": 32, "occupancy_resolution": 16, "n_steps": 24}


def one_step(clip: Clip, alone: bool) -> tuple[dict[str, float], dict[str, torch.Tensor]]:
    """Losses, and every gradient, of the first step on three frames."""
    condition = torch.randn(len(clip.meta.train_frames), CONDITION_DIM, generator=torch.Generator().manual_seed(1))
    trainer = FieldTrainer(
        clip,
        condition,
        None,
        FieldConfig(n_blend=0, concat=True, **SIZES),
        FieldTrainConfig(n_steps=5, frames_per_step=3),
        seed=1,  # with 0 a sample lies at the kink of a ReLU, where sums in another order take the other side
    )
    with torch.no_grad():
        for value in (trainer.field.pose_weight, trainer.field.condition_weight):
            value.normal_(generator=torch.Generator().manual_seed(2))
    if alone:
        trainer._groups = lambda frames: [[frame] for frame in frames]  # type: ignore[method-assign]
    losses = trainer.step(Loop(5, 60.0))
    named = {**dict(trainer.field.named_parameters()), "refinement": trainer.refinement, "colour": trainer.colour}
    return losses, {name: value.grad.to_dense() for name, value in named.items() if value.grad is not None}


def test_frames_together_and_alone(tiny_clip: Clip) -> None:
    together, alone = (one_step(tiny_clip, apart) for apart in (False, True))
    assert together[0].keys() == alone[0].keys() and together[0]["samples"] == alone[0]["samples"] > 1000
    assert together[0]["loss"] == pytest.approx(alone[0]["loss"], rel=1e-5)
    assert together[1].keys() == alone[1].keys()
    assert float(together[1]["refinement"].norm()) > 0.0
    for name, gradient in together[1].items():
        assert float((gradient - alone[1][name]).norm()) <= 1e-4 * float(alone[1][name].norm()) + 1e-9, name


def test_a_frames_pose_moves_in_its_own_steps_alone(tiny_clip: Clip) -> None:
    condition = torch.randn(len(tiny_clip.meta.train_frames), CONDITION_DIM, generator=torch.Generator().manual_seed(1))
    trainer = FieldTrainer(tiny_clip, condition, None, FieldConfig(**SIZES), FieldTrainConfig(n_steps=9))
    moved = []
    for step in range(3):
        before = trainer.refinement.detach().clone()
        trainer.step(Loop(9, 60.0, step=step))
        moved.append((trainer.refinement.detach() - before).abs().amax(1) > 0.0)
    assert [int(rows.sum()) for rows in moved] == [1, 1, 1]
    # and by no more than the learning rate, in radians and 0.1 m
    assert float(trainer.refinement.detach().abs().max()) <= 3 * trainer.config.learning_rate_frame + 1e-9
