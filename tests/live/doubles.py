"""Cheap stages for tests of timing: no field, no trained encoder. What they show can be worked out by hand."""

from __future__ import annotations

import time

import numpy as np
import torch

from dfanerf_rt.audio.ring import AudioChunk
from dfanerf_rt.live.stages import Frame

FRAME_SAMPLES = 640


class LevelEncoder:
    """Code k = the loudest sample of sound [k*640, (k+1)*640), in all entries."""

    def __init__(self, lookahead_frames: int = 0) -> None:
        self.held = np.zeros(0, np.float32)
        self.extra = lookahead_frames * FRAME_SAMPLES

    def reset(self) -> None:
        self.held = np.zeros(0, np.float32)

    def push(self, samples: np.ndarray) -> torch.Tensor:
        self.held = np.concatenate([self.held, samples])
        codes = []
        while len(self.held) >= FRAME_SAMPLES + self.extra:
            codes.append(np.full(32, np.abs(self.held[:FRAME_SAMPLES]).max(), np.float32))
            self.held = self.held[FRAME_SAMPLES:]
        return torch.from_numpy(np.stack(codes)) if codes else torch.zeros(0, 32)


class CountingMotion:
    """The eye code of frame k is k."""

    def __init__(self) -> None:
        self.k = 0

    def hear(self, code: torch.Tensor) -> None:
        pass

    def next(self) -> tuple[torch.Tensor, torch.Tensor]:
        self.k += 1
        return torch.zeros(6), torch.full((16,), float(self.k - 1))


class BarRenderer:
    """White where the sound is loud (level > 0.25), black elsewhere; takes ``render_s`` for a picture."""

    def __init__(self, width: int = 64, height: int = 48, render_s: float = 0.0) -> None:
        self.width, self.height, self.render_s = width, height, render_s
        self.folded: list[tuple[float, float]] = []

    def fold(self, condition: torch.Tensor, head_pose: torch.Tensor) -> None:
        assert condition.shape == (48,) and head_pose.shape == (6,)
        self.folded.append((float(condition[0]), float(condition[32])))

    def render(self, out: torch.Tensor | None = None) -> torch.Tensor:
        if self.render_s:
            time.sleep(self.render_s)
        value = 255 if self.folded[-1][0] > 0.25 else 0
        out = torch.empty(self.height, self.width, 3, dtype=torch.uint8) if out is None else out
        return out.fill_(value)


class MemorySink:
    """Keeps everything."""

    def __init__(self, name: str = "memory") -> None:
        self.name = name
        self.frames: list[int] = []
        self.levels: list[int] = []
        self.delivered_s: list[float] = []
        self.sound: list[np.ndarray] = []
        self.captured_s: list[float] = []
        self.ended = ""

    def write_audio(self, chunk: AudioChunk) -> None:
        assert chunk.start == sum(map(len, self.sound))
        self.sound.append(chunk.samples)
        self.captured_s.append(chunk.captured_s)

    def write_frame(self, frame: Frame) -> None:
        self.frames.append(frame.index)
        self.levels.append(int(frame.image[0, 0, 0]))
        self.delivered_s.append(time.monotonic())

    def close(self) -> None:
        self.ended += "closed"

    def abort(self) -> None:
        self.ended += "aborted"
