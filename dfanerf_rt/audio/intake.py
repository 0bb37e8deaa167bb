"""Sound of any rate, width and number of channels → mono float32 at 16 kHz, as it streams.

Files and microphones pass through here, so that a sound gives the same samples, and the same features, however it
comes: a whole file is a stream with one push.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dfanerf_rt.audio.ring import SAMPLE_RATE_HZ
from dfanerf_rt.errors import AudioError

LOWEST_RATE_HZ = 4_000
HIGHEST_RATE_HZ = 768_000
MOST_OVER = 256.0
"""Floating-point sound that reaches this many times full scale was never scaled to [-1, 1]: it is refused."""

_FULL_SCALE = {"int16": 2.0**15, "int32": 2.0**31}
# From a rate above 16 kHz, soxr's variable-rate mode puts the sound out 1.6 samples late (1.9 if the rate is 16 kHz
# times a power of two): the delay of its last filter. Silence before the sound makes them 2, which are left out.
_LAG_SAMPLES = 1.613
_LEFT_OUT_SAMPLES = 2


class SoundIntake:
    """Converts one sound; any chunking of it gives the same samples.

    Output sample k is the sound at k / 16000 s, to within half a sample (31 us). Nothing else is done to the sound: an
    offset stays (the features do not see it), and only what is louder than full scale is clipped.

    *Channels* are averaged. One counts from its first sample that is not exactly zero, so that the unused inputs of
    an interface, or the empty side of a stereo file, do not make the voice quieter.

    *Resampling* is soxr's, in its variable-rate mode held at one rate. Its fixed-rate modes work in blocks, which is
    what makes them late; this one gives each sample as soon as it can. From the arrival of a sample to its output,
    milliseconds (for comparison: the longest wait with soxr's "LQ" and "MQ", as measured by pushing 0.25 ms chunks):

    ======= ===== ==== =====     ======= ===== ==== =====
    rate Hz  here  LQ    MQ      rate Hz  here  LQ    MQ
    ======= ===== ==== =====     ======= ===== ==== =====
      8,000  30.0   61   118      32,000   7.6   31    59
     11,025  21.8    2    85      44,100  13.7   22    42
     16,000   0      0     0      48,000  12.6   20    38
     22,050  11.0   22    41      96,000  13.9   20    38
     24,000  10.1   20    38     192,000  14.5   20    38
    ======= ===== ==== =====     ======= ===== ==== =====

    It passes everything up to 7.9 kHz and keeps 100 dB away what would alias, from 8.15 kHz on. The MFCC of two
    recordings at 48 kHz differ from those after soxr's "VHQ" by 0.4 dB (rms; 6 % of a coefficient's spread), because
    that one cuts off from 7.3 kHz on (0.06 dB where the filters end at 7 kHz); by 3.4 dB (39 %) with "LQ", which cuts
    off from 6 kHz on, by 3 dB (28 %) with "QQ", which aliases, and by 0.02 dB with "MQ".

    State: :attr:`n_taken`, :attr:`n_given`, :attr:`heard`, and the last milliseconds of sound inside soxr; none of it
    grows.

    Args:
        rate_hz: of the sound that comes, 4,000 to 768,000.
        channels: of the sound that comes.

    Raises:
        AudioError: a rate or number of channels that cannot be.
    """

    def __init__(self, rate_hz: int, channels: int = 1) -> None:
        if not isinstance(rate_hz, int | np.integer) or not LOWEST_RATE_HZ <= rate_hz <= HIGHEST_RATE_HZ:
            raise AudioError(
                f"sampling rate is {rate_hz} Hz, expected a whole number from {LOWEST_RATE_HZ} to {HIGHEST_RATE_HZ}"
            )
        if not isinstance(channels, int | np.integer) or channels < 1:
            raise AudioError(f"number of channels is {channels}, expected 1 or more")
        self.rate_hz = int(rate_hz)
        self.channels = int(channels)
        self.n_taken = 0
        """Samples taken so far, at their own rate."""
        self.n_given = 0
        """Samples given so far, at 16 kHz."""
        self.heard: NDArray[np.bool_]
        """(channels,) which of them have held something else than zero."""
        self._resampler: Any = None
        self._to_leave_out = 0
        self.reset()

    @property
    def delay_s(self) -> float:
        """Length of the sound that was taken and is not given yet; after a push, what the conversion holds back."""
        return self.n_taken / self.rate_hz - self.n_given / SAMPLE_RATE_HZ

    def push(self, samples: NDArray[Any]) -> NDArray[np.float32]:
        """Take sound, give what it completes.

        Args:
            samples: (N, channels), or (N,) of one channel; int16, int32, or floating point with full scale at 1. Any
                N, also 0.

        Returns:
            (n,) float32 in [-1, 1], mono, 16 kHz.

        Raises:
            AudioError: another shape or type, NaN, infinity, or numbers that are no sound in [-1, 1]. Nothing was
                taken then.
        """
        mono = self._mono(self._checked(np.asarray(samples)))
        self.n_taken += len(mono)
        return self._give(self._resampled(mono))

    def flush(self) -> NDArray[np.float32]:
        """End the sound: its last samples (n,), as if silence followed; in all, its length at 16 kHz, rounded.

        The intake is then as new.
        """
        parts = []
        due = (2 * self.n_taken * SAMPLE_RATE_HZ + self.rate_hz) // (2 * self.rate_hz)
        while (missing := due - self.n_given) > 0:
            parts.append(self._give(self._resampled(np.zeros(self.rate_hz // 10, np.float32))[:missing]))
        self.reset()
        return np.concatenate(parts) if parts else np.zeros(0, np.float32)

    def reset(self) -> None:
        """Forget the sound so far; the next sample is sample 0."""
        self.n_taken = self.n_given = self._to_leave_out = 0
        self.heard = np.zeros(self.channels, np.bool_)
        if self.rate_hz == SAMPLE_RATE_HZ:
            return
        import soxr

        # The quality is that of the variable-rate mode whatever is asked for.
        self._resampler = soxr.ResampleStream(self.rate_hz, SAMPLE_RATE_HZ, 1, dtype="float32", quality="HQ", vr=True)
        if self.rate_hz > SAMPLE_RATE_HZ:
            self._to_leave_out = _LEFT_OUT_SAMPLES
            ahead_s = (_LEFT_OUT_SAMPLES - _LAG_SAMPLES) / SAMPLE_RATE_HZ
            self._resampled(np.zeros(round(ahead_s * self.rate_hz), np.float32))

    def _checked(self, samples: NDArray[Any]) -> NDArray[np.float32]:
        """(N, channels), full scale at 1."""
        if samples.ndim == 1:
            samples = samples[:, None]
        if samples.ndim != 2 or samples.shape[1] != self.channels:
            expected = f"(N, {self.channels})" + (" or (N,)" if self.channels == 1 else "")
            raise AudioError(f"sound has shape {samples.shape}, expected {expected}")
        if samples.dtype.name in _FULL_SCALE:
            return (samples * (1.0 / _FULL_SCALE[samples.dtype.name])).astype(np.float32)
        if samples.dtype.kind != "f":
            raise AudioError(f"sound is of type {samples.dtype}, expected int16, int32 or floating point")
        if samples.size:
            low, high = float(samples.min()), float(samples.max())
            if not (np.isfinite(low) and np.isfinite(high)):
                raise AudioError("sound holds samples that are NaN or infinite; write it again from its source")
            if max(-low, high) >= MOST_OVER:
                raise AudioError(f"sound reaches {max(-low, high):g}, expected floating-point samples in [-1, 1]")
        return samples.astype(np.float32, copy=False)

    def _mono(self, sound: NDArray[np.float32]) -> NDArray[np.float32]:
        """(N, channels) → (N,): the mean of the channels heard so far."""
        if self.channels == 1:
            return np.ascontiguousarray(sound[:, 0])
        # float64, so that the sum does not depend on the order in which numpy takes the channels
        total = sound.sum(axis=1, dtype=np.float64)
        if self.heard.all() or not len(sound):
            return (total / self.channels).astype(np.float32)
        heard = np.logical_or.accumulate(np.concatenate([self.heard[None], sound != 0.0]), axis=0)[1:]
        self.heard = heard[-1].copy()
        return (total / np.maximum(heard.sum(axis=1), 1)).astype(np.float32)

    def _resampled(self, mono: NDArray[np.float32]) -> NDArray[np.float32]:
        if self.rate_hz == SAMPLE_RATE_HZ:
            return mono
        out = self._resampler.resample_chunk(mono)
        left_out = min(self._to_leave_out, len(out))
        self._to_leave_out -= left_out
        return out[left_out:]

    def _give(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        self.n_given += len(samples)
        return np.clip(samples, -1.0, 1.0)


def to_mono_16k(samples: NDArray[Any], rate_hz: int) -> NDArray[np.float32]:
    """A whole sound through :class:`SoundIntake`: (N,) or (N, channels) → (n,) float32 in [-1, 1].

    Raises:
        AudioError: from :class:`SoundIntake`.
    """
    samples = np.asarray(samples)
    intake = SoundIntake(rate_hz, samples.shape[1] if samples.ndim == 2 else 1)
    return np.concatenate([intake.push(samples), intake.flush()])
