"""What the live pipeline is made of: the interfaces of its stages, and what passes between them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from dfanerf_rt.audio.ring import SAMPLE_RATE_HZ, AudioChunk

if TYPE_CHECKING:
    import torch

FPS = 25
FRAME_SAMPLES = SAMPLE_RATE_HZ // FPS
"""Frame k shows the sound from sample ``k * FRAME_SAMPLES`` on."""


class AudioSource(Protocol):
    """A microphone or a file, see ``dfanerf_rt.audio.sources``."""

    @property
    def dropped_samples(self) -> int:
        """Samples lost so far."""

    def start(self) -> None:
        """Set the sample clock to zero."""

    def read(self) -> AudioChunk | None:
        """The next chunk, None at the end."""

    def stop(self) -> None:
        """End; called from another thread than ``read``."""


class SpeechEncoder(Protocol):
    """Sound in, audio codes at 25 a second out: ``dfanerf_rt.sync.stream.StreamingSync``."""

    def push(self, samples: np.ndarray) -> Any:
        """Take (n,) float32 samples; return the (m, 32) codes that they complete, m may be 0."""

    def reset(self) -> None:
        """Forget the sound so far; the next sample is sample 0, after silence."""


class Motion(Protocol):
    """Head pose and eyes, one call a frame."""

    def hear(self, code: torch.Tensor) -> None:
        """Take the audio code of the next frame, before :meth:`next`."""

    def next(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Head pose (6,) and eye code (16,)."""


class Renderer(Protocol):
    """``dfanerf_rt.render.session.RenderSession``."""

    @property
    def width(self) -> int:
        """Pixels."""

    @property
    def height(self) -> int:
        """Pixels."""

    def fold(self, condition: torch.Tensor, head_pose: torch.Tensor) -> Any:
        """Set the condition (48,) and the head pose (6,) of the next picture."""

    def render(self, out: torch.Tensor | None = None) -> torch.Tensor:
        """The picture into ``out``, (H, W, 3) uint8 sRGB, which the caller owns."""


@dataclass(frozen=True)
class FrameRequest:
    """A frame to be rendered."""

    index: int
    """Number of the frame; its pts is ``index / FPS``."""
    condition: torch.Tensor
    """(48,) f_c = [audio_code, eye_code]."""
    head_pose: torch.Tensor
    """(6,)."""
    captured_s: float
    """Monotonic time at which the newest sound that shaped the frame was captured."""
    sound_s: float
    """Monotonic time at which the sound that the frame belongs to was captured: sample ``index * FRAME_SAMPLES``."""
    renderer: Renderer
    """Whose picture it is."""


@dataclass(frozen=True)
class Frame:
    """A rendered frame."""

    index: int
    image: np.ndarray
    """(H, W, 3) uint8 sRGB."""
    captured_s: float
    sound_s: float

    @property
    def pts_s(self) -> float:
        """Place on the time line of the sound, seconds."""
        return self.index / FPS


class Sink(Protocol):
    """Where frames and sound go. All calls come from one thread, the sink's own (``dfanerf_rt.live.outlets``)."""

    @property
    def name(self) -> str:
        """What reports call it."""

    def write_audio(self, chunk: AudioChunk) -> None:
        """Take sound; chunks come in order."""

    def write_frame(self, frame: Frame) -> None:
        """Take a picture; they come in order, with gaps where frames were dropped."""

    def close(self) -> None:
        """All is written; finish."""

    def abort(self) -> None:
        """Give up and leave nothing half-written."""
