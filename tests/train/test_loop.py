"""The loop's schedule, and checkpoints that restore exactly what was there."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from dfanerf_rt.errors import DfanerfError
from dfanerf_rt.train.checkpoint import load_checkpoint, save_checkpoint
from dfanerf_rt.train.loop import Loop


def test_whichever_ends_first() -> None:
    loop = Loop(n_steps=100, budget_s=1e6)
    loop.step = 50
    assert loop.fraction == pytest.approx(0.5)
    late = Loop(n_steps=100, budget_s=10.0, step=1, spent_s=10.0)
    assert late.done


def test_rate_rises_then_decays_to_the_floor() -> None:
    loop = Loop(n_steps=1000, budget_s=1e6)
    assert loop.decay(0.1, warmup_steps=10) == pytest.approx(0.1, rel=1e-3)
    loop.step = 1000
    assert loop.decay(0.1) == pytest.approx(0.1)


def trained(steps: int) -> tuple[nn.Linear, torch.optim.Adam]:
    torch.manual_seed(0)
    module = nn.Linear(3, 2)
    optimizer = torch.optim.Adam(module.parameters(), lr=0.1)
    run(module, optimizer, steps)
    return module, optimizer


def run(module: nn.Linear, optimizer: torch.optim.Adam, steps: int) -> None:
    for _ in range(steps):
        optimizer.zero_grad()
        module(torch.ones(4, 3)).square().sum().backward()
        optimizer.step()


def test_continued_training_equals_uninterrupted(tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    straight, _ = trained(7)
    module, optimizer = trained(4)
    save_checkpoint(path, {"m": module}, {"o": optimizer}, {"x": torch.arange(3)}, {"fingerprint": "f", "step": 4})
    fresh, adam = trained(0)
    tensors, metadata = load_checkpoint(path, {"m": fresh}, {"o": adam}, "f")
    run(fresh, adam, 3)
    assert torch.equal(fresh.weight, straight.weight)
    assert tensors["x"].tolist() == [0, 1, 2] and metadata["step"] == 4


def test_foreign_checkpoints_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    module, optimizer = trained(1)
    save_checkpoint(path, {"m": module}, {"o": optimizer}, {}, {"fingerprint": "one"})
    with pytest.raises(DfanerfError, match="other settings"):
        load_checkpoint(path, {"m": module}, {"o": optimizer}, "another")
    with pytest.raises(DfanerfError, match="does not fit"):
        load_checkpoint(path, {"m": nn.Linear(2, 2)}, {"o": optimizer}, "one")
