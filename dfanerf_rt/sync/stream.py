"""Audio codes of a sound that arrives in chunks, the same as those of the whole sound."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dfanerf_rt.audio.mfcc import StreamingMfcc
from dfanerf_rt.errors import ShapeError
from dfanerf_rt.sync.model import FEATURES_PER_FRAME, FRAME_SAMPLES, AudioEncoder
from dfanerf_rt.threads import one_thread

GLIDE_FRAMES = 10
"""From one step of :meth:`StreamingSync.glide` to the next."""


class StreamingSync:
    """Codes at 25 fps, each as soon as its lookahead has arrived.

    Code k is centred at sample k * 640 of the stream and leaves the :meth:`push` that brings sample
    k * 640 + ``lookahead_samples``. Its state is the pending sound of :class:`StreamingMfcc` and the feature frames
    that the next window still needs; both are bounded.
    """

    def __init__(self, encoder: AudioEncoder) -> None:
        self.encoder = encoder
        self.config = encoder.config
        self.mfcc = StreamingMfcc(self.config.mfcc)
        self.features: NDArray[np.float32]
        self.n_samples = 0
        """Samples of sound taken so far."""
        self.n_codes = 0
        """Codes given so far, and so the number of the next one."""
        self._coming: deque[AudioEncoder] = deque()
        self._next_step = 0
        self.reset()

    @property
    def lookahead_samples(self) -> int:
        """Sound after a frame's time that its code waits for; below 0 where it does without the newest."""
        return round(self.config.effective_lookahead_ms * 16)

    @property
    def lookahead_ms(self) -> float:
        """The same in milliseconds; at most the configured ``lookahead_ms``."""
        return self.config.effective_lookahead_ms

    def push(self, samples: NDArray[np.float32]) -> Tensor:
        """Take any number of samples (N,) in [-1, 1] at 16 kHz; return the codes (n, code_dim) they complete."""
        if self._coming and self.n_codes >= self._next_step:
            self._take(self._coming.popleft())
            self._next_step = self.n_codes + GLIDE_FRAMES
        frames = self.mfcc.push(samples)
        self.n_samples += len(samples)
        if len(frames) == 0:
            return torch.zeros(0, self.config.code_dim)
        self.features = np.concatenate([self.features, frames])
        n = max(0, (len(self.features) - self.config.n_window) // FEATURES_PER_FRAME + 1)
        if n == 0:
            return torch.zeros(0, self.config.code_dim)
        used = FEATURES_PER_FRAME * (n - 1) + self.config.n_window
        with torch.inference_mode(), one_thread():
            codes = self.encoder(torch.from_numpy(self.features[None, :used]))[0].clone()
        self.features = self.features[FEATURES_PER_FRAME * n :].copy()
        self.n_codes += n
        return codes

    def continue_with(self, encoder: AudioEncoder) -> None:
        """Make the codes to come with another encoder: of another lookahead, or another person's.

        The sound so far is kept and no code is lost or doubled: with less lookahead, those that have their sound by
        now leave the next :meth:`push`; with more, the next one waits for it.

        Raises:
            ShapeError: it hears other features, another past, or gives codes of another length; nothing has changed.
        """
        self._take(encoder)
        self._coming.clear()

    def glide(self, encoders: Iterable[AudioEncoder]) -> None:
        """:meth:`continue_with` each of them in turn, ten frames apart, so that no step is seen or heard. What an
        earlier call has left to do is forgotten."""
        self._coming = deque(encoders)
        self._next_step = self.n_codes

    def can_continue_with(self, encoder: AudioEncoder) -> bool:
        """Whether it hears the same features and as much of the past, and gives codes of the same length."""
        ours, theirs = ((c.mfcc, c.n_past, c.code_dim) for c in (self.config, encoder.config))
        return ours == theirs

    def _take(self, encoder: AudioEncoder) -> None:
        if not self.can_continue_with(encoder):
            raise ShapeError(f"an encoder of {encoder.config} cannot go on for one of {self.config}")
        self.encoder, self.config = encoder, encoder.config

    def flush(self) -> Tensor:
        """End the sound: the codes (n, code_dim) of all frames that begin within it, as if silence followed.

        The stream can then only be :meth:`reset`.
        """
        missing = -(-self.n_samples // FRAME_SAMPLES) - self.n_codes
        if missing <= 0:
            return torch.zeros(0, self.config.code_dim)
        last_centre = (self.n_codes + missing - 1) * FRAME_SAMPLES
        silence = max(0, last_centre + self.lookahead_samples - self.n_samples)
        return self.push(np.zeros(silence, np.float32))[:missing]

    def reset(self) -> None:
        """Forget the sound so far; the next sample is sample 0, after silence."""
        self.mfcc.reset()
        self.features = self.mfcc.push(np.zeros(self.config.lead_samples, np.float32))
        self.n_samples = self.n_codes = self._next_step = 0
