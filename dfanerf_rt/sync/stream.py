"""Audio codes of a sound that arrives in chunks, the same as those of the whole sound."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dfanerf_rt.audio.mfcc import StreamingMfcc
from dfanerf_rt.sync.model import FEATURES_PER_FRAME, FRAME_SAMPLES, AudioEncoder
from dfanerf_rt.threads import one_thread


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
        self.n_samples = self.n_codes = 0
