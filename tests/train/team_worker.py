"""One process of a team that trains a small field: run by torchrun, or alone; writes what it ended with.

team_worker.py CLIP OUT STEPS FRAMES_PER_STEP SAMPLES_PER_STEP
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from dfanerf_rt.clip.format import Clip
from dfanerf_rt.field.config import CONDITION_DIM, FieldConfig
from dfanerf_rt.files import save_tensors
from dfanerf_rt.train.field import FieldTrainConfig, FieldTrainer
from dfanerf_rt.train.loop import Loop
from dfanerf_rt.train.team import join_team

SMALL = FieldConfig(
    n_levels=4, log2_table_size=10, max_resolution=32, n_blend=0, concat=True, occupancy_resolution=16, n_steps=24
)


def main(clip_folder: str, out: str, steps: int, frames: int, samples: int) -> None:
    """Train, and write parameters, occupancy, losses and the frames that were looked at."""
    torch.set_num_threads(1)
    clip = Clip(Path(clip_folder))
    condition = torch.randn(len(clip.meta.train_frames), CONDITION_DIM, generator=torch.Generator().manual_seed(1))
    with join_team("cpu") as team:
        config = FieldTrainConfig(n_steps=steps, budget_s=1e6, frames_per_step=frames, samples_per_step=samples)
        trainer = FieldTrainer(clip, condition, None, SMALL, config, team=team)
        looked: list[int] = []
        view = trainer._view
        trainer._view = lambda frame, stride: (looked.append(frame), view(frame, stride))[1]  # type: ignore[method-assign]
        loop, losses = Loop(steps, 1e6), []
        loop.agree(team, False)
        for loop.step in range(steps):
            losses.append(trainer.step(loop)["loss"])
            if loop.agree(team, False):
                raise SystemExit("nobody asked to stop")
        # one process asks, and both hear it
        assert loop.agree(team, should_stop=team.rank == team.size - 1)
        tensors = {name: value.detach() for name, value in trainer.field.state_dict().items()}
        tensors |= {"losses": torch.tensor(losses), "looked": torch.tensor(looked)}
        tensors |= {"refinement": trainer.refinement.detach(), "elapsed": torch.tensor(loop.elapsed_s)}
        save_tensors(Path(out) / f"rank{team.rank}of{team.size}.safetensors", tensors, {})


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], *(int(word) for word in sys.argv[3:]))
