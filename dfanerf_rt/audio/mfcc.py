"""Mel-frequency cepstral coefficients that stream: any chunking of the sound gives the frames of the whole file.

The definition is librosa's (``librosa.feature.mfcc``: periodic Hann window, power spectrum, Slaney mel filters, dB,
orthonormal DCT-II) with ``center=False``: frame i is made of samples [i*hop, i*hop + window) and nothing else. Two
things of librosa's default cannot stream and are left out: the padding at both ends, and ``top_db``, which depends on
the loudest frame of the whole file. There are no delta coefficients; the convolution that reads the frames makes its
own.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from dfanerf_rt.errors import ShapeError

SAMPLE_RATE_HZ = 16_000


@dataclass(frozen=True)
class MfccConfig:
    """Framing and filter bank; sizes in samples at 16 kHz."""

    hop_samples: int = 160
    """Distance between frames: 10 ms."""
    window_samples: int = 400
    """Length of a frame and of its Fourier transform: 25 ms."""
    n_mels: int = 40
    n_coefficients: int = 28
    low_hz: float = 50.0
    """Lower edge of the filter bank; keeps out hum and a microphone's constant offset."""
    high_hz: float = 8000.0
    floor_power: float = 1e-7
    """Mel power below this counts as this (librosa's ``amin``): digital silence is a finite, moderate value."""

    @property
    def latency_samples(self) -> int:
        """Samples from the centre of a frame to the newest sample it needs: 12.5 ms."""
        return self.window_samples // 2

    @property
    def frame_hz(self) -> float:
        """Frames per second."""
        return SAMPLE_RATE_HZ / self.hop_samples


class StreamingMfcc:
    """Feature frames of a sound that arrives in chunks.

    Frame i is centred at sample ``i * hop_samples + window_samples / 2`` and comes out of the :meth:`push` that brings
    its last sample. The only state is :attr:`pending`, the samples that later frames still need.
    """

    def __init__(self, config: MfccConfig | None = None) -> None:
        self.config = config or MfccConfig()
        self.pending: NDArray[np.float32] = np.zeros(0, np.float32)

    def push(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Take any number of samples (N,) in [-1, 1] at 16 kHz; return the frames (n, n_coefficients) they complete.

        Raises:
            ShapeError: ``samples`` is not a vector of finite real numbers. Nothing was taken then.
        """
        frames, self.pending = mfcc_step(samples, self.pending, self.config)
        return frames

    def reset(self) -> None:
        """Forget the sound so far."""
        self.pending = np.zeros(0, np.float32)


def mfcc_step(
    samples: NDArray[np.float32], pending: NDArray[np.float32], config: MfccConfig
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """One step of the stream as a function: (N,) new samples, the pending ones → frames (n, D), pending samples."""
    samples = np.asarray(samples)
    if samples.ndim != 1 or samples.dtype.kind not in "fiu":
        raise ShapeError(f"samples: found shape {samples.shape} of {samples.dtype}, expected a vector of real numbers")
    if not np.isfinite(samples).all():
        raise ShapeError("samples: found NaN or infinity, expected sound in [-1, 1]")
    sound = np.concatenate([pending, samples.astype(np.float32, copy=False)])
    n_frames = max(0, (len(sound) - config.window_samples) // config.hop_samples + 1)
    if n_frames == 0:
        return np.zeros((0, config.n_coefficients), np.float32), sound
    # A view; numpy's own ways to make one take as long as a frame's Fourier transform and filter bank together.
    strides = (config.hop_samples * sound.itemsize, sound.itemsize)
    windows: NDArray[np.float32] = np.ndarray((n_frames, config.window_samples), sound.dtype, sound, 0, strides)
    frames = _coefficients(windows, config)
    return frames, sound[n_frames * config.hop_samples :].copy()


def mfcc(samples: NDArray[np.float32], config: MfccConfig | None = None) -> NDArray[np.float32]:
    """Coefficients of a whole sound.

    Args:
        samples: (N,) in [-1, 1] at 16 kHz, mono.
        config: framing; the default when None.

    Returns:
        (T, n_coefficients) float32 at 100 Hz, T = (N - window) // hop + 1, or 0 rows for less than a window. The
        same as ``librosa.feature.mfcc(..., center=False, dct_type=2, norm="ortho")`` without ``top_db``, transposed.
    """
    frames, _ = mfcc_step(samples, np.zeros(0, np.float32), config or MfccConfig())
    return frames


def _coefficients(windows: NDArray[np.float32], config: MfccConfig) -> NDArray[np.float32]:
    hann, filters, dct = _tables(config)
    # float64, so that the sum in the matrix product does not depend on how many frames come at once
    power = np.abs(np.fft.rfft(windows * hann, axis=1)) ** 2
    decibel = 10.0 * np.log10(np.maximum(power @ filters, config.floor_power))
    return (decibel @ dct).astype(np.float32)


@lru_cache(maxsize=8)
def _tables(config: MfccConfig) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Window (W,), mel filters (W/2+1, M), DCT (M, D)."""
    n_window, n_mels = config.window_samples, config.n_mels
    hann = 0.5 - 0.5 * np.cos(2.0 * np.pi * np.arange(n_window) / n_window)
    edges_hz = _mel_to_hz(np.linspace(_hz_to_mel(config.low_hz), _hz_to_mel(config.high_hz), n_mels + 2))
    bins_hz = np.fft.rfftfreq(n_window, 1.0 / SAMPLE_RATE_HZ)[:, None]
    low, centre, high = edges_hz[:-2], edges_hz[1:-1], edges_hz[2:]
    triangles = np.minimum((bins_hz - low) / (centre - low), (high - bins_hz) / (high - centre))
    filters = np.maximum(0.0, triangles) * (2.0 / (high - low))
    rows = np.arange(config.n_coefficients)
    dct = np.cos(np.pi * rows * (np.arange(n_mels)[:, None] + 0.5) / n_mels) * np.sqrt(2.0 / n_mels)
    dct[:, 0] /= np.sqrt(2.0)
    return hann, filters, dct


def _hz_to_mel(hz: float) -> float:
    """Slaney's mel scale: linear below 1 kHz, logarithmic above."""
    if hz < 1000.0:
        return hz * 3.0 / 200.0
    return 15.0 + 27.0 * float(np.log(hz / 1000.0) / np.log(6.4))


def _mel_to_hz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(mel < 15.0, mel * 200.0 / 3.0, 1000.0 * np.exp(np.log(6.4) / 27.0 * (mel - 15.0)))
