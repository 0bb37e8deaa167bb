"""Generated motion in the live pipeline: it hears each frame's code before the frame, and nothing stops it for long."""

from __future__ import annotations

import gc

import numpy as np
import torch

from dfanerf_rt.audio.sources import FileSource
from dfanerf_rt.live.pipeline import LiveConfig, LivePipeline
from dfanerf_rt.motion.generator import MotionGenerator
from tests.live.doubles import BarRenderer, LevelEncoder, MemorySink
from tests.motion.small_person import small_person


class ListeningMotion:
    """The eye code of a frame is the audio code that was heard last."""

    def __init__(self) -> None:
        self.heard = torch.zeros(32)
        self.frozen: list[int] = []

    def hear(self, code: torch.Tensor) -> None:
        self.heard = code

    def next(self) -> tuple[torch.Tensor, torch.Tensor]:
        self.frozen.append(gc.get_freeze_count())
        return torch.zeros(6), self.heard[:16]


def rising(n_frames: int) -> np.ndarray:
    """Frame k is as loud as k thousandths."""
    return np.repeat(np.arange(n_frames, dtype=np.float32) / 1000, 640)


def test_motion_hears_the_code_of_its_frame_and_what_is_loaded_is_no_garbage() -> None:
    motion, renderer = ListeningMotion(), BarRenderer()
    source, config = FileSource(rising(40), realtime=False), LiveConfig(realtime=False)
    LivePipeline(source, LevelEncoder(), motion, renderer, [MemorySink()], config).run()
    assert len(renderer.folded) == 40 and all(level == eye for level, eye in renderer.folded)
    assert min(motion.frozen) > 1000 and gc.get_freeze_count() == 0


def test_a_generator_in_the_pipeline_moves_as_it_does_by_itself() -> None:
    poses: list[torch.Tensor] = []

    class Renderer(BarRenderer):
        def fold(self, condition: torch.Tensor, head_pose: torch.Tensor) -> None:
            poses.append(head_pose)
            super().fold(condition, head_pose)

    source, config = FileSource(rising(30), realtime=False), LiveConfig(realtime=False)
    LivePipeline(source, LevelEncoder(), MotionGenerator(small_person(), 3), Renderer(), [MemorySink()], config).run()
    alone = MotionGenerator(small_person(), 3)
    for k, pose in enumerate(poses):
        alone.hear(torch.full((32,), k / 1000))
        torch.testing.assert_close(pose, alone.next()[0])
    assert len(poses) == 30
