"""What a room and a microphone do to a voice: noise, reverberation, frequency response; nothing moves in time.

All in numpy: filters are magnitudes in the frequency domain, whose phase is zero, so a click stays on its sample.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from dfanerf_rt.audio.speech import SAMPLE_RATE_HZ

NoiseKind = Literal["white", "pink", "brown", "hum", "babble"]

_SLOPES_DB_PER_OCTAVE = {"white": 0.0, "pink": -3.0, "brown": -6.0}


def apply_response(samples: np.ndarray, frequencies_hz: Sequence[float], gains_db: Sequence[float]) -> np.ndarray:
    """Filter with a response given at a few frequencies, straight in decibels over octaves between them.

    Args:
        samples: (N,) float, 16 kHz.
        frequencies_hz: (K,) ascending, above 0; the first and last gain hold beyond them.
        gains_db: (K,).

    Returns:
        (N,) float32; zero phase.
    """
    # Room for what the filter spreads beyond the ends, so that it does not come back at the other end.
    size = _fast_size(samples.size + SAMPLE_RATE_HZ // 4)
    frequencies = np.fft.rfftfreq(size, 1.0 / SAMPLE_RATE_HZ)
    curve = np.interp(np.log2(np.maximum(frequencies, 1.0)), np.log2(frequencies_hz), gains_db)
    spectrum = np.fft.rfft(samples, size) * 10.0 ** (curve / 20.0)
    return np.fft.irfft(spectrum, size)[: samples.size].astype(np.float32)


def band_limits(low_hz: float, high_hz: float, steepness_db: float = 36.0) -> tuple[list[float], list[float]]:
    """Frequencies and gains for :func:`apply_response` that pass a band and fall by ``steepness_db`` an octave."""
    frequencies = [low_hz / 4, low_hz, high_hz, high_hz * 4]
    return frequencies, [-2 * steepness_db, 0.0, 0.0, -2 * steepness_db]


def random_response(random: np.random.Generator, tilt_db: float, ripple_db: float) -> tuple[list[float], list[float]]:
    """A smooth random response for :func:`apply_response`: a tilt from 60 Hz to 8 kHz, and ripples on it.

    Args:
        tilt_db: the most that 8 kHz may be above or below 60 Hz.
        ripple_db: standard deviation of the ripples, about an octave wide.
    """
    frequencies = np.geomspace(60.0, 8000.0, 8)
    tilt = np.linspace(-0.5, 0.5, 8) * random.uniform(-tilt_db, tilt_db)
    return frequencies.tolist(), (tilt + random.normal(0.0, ripple_db, 8)).tolist()


def noise(
    kind: NoiseKind, n_samples: int, random: np.random.Generator, voices: Sequence[np.ndarray] = ()
) -> np.ndarray:
    """Noise of unit power.

    Args:
        kind: hum is that of the mains, 50 or 60 Hz; babble are other voices at once, each from a random place.
        voices: sounds for babble, at least one; unused otherwise.

    Returns:
        (n_samples,) float32.
    """
    if kind == "babble":
        made = np.zeros(n_samples)
        for voice in voices:
            made += np.roll(np.resize(voice, n_samples), int(random.integers(0, n_samples)))
    elif kind == "hum":
        times = np.arange(n_samples) / SAMPLE_RATE_HZ
        mains_hz = float(random.choice((50.0, 60.0)))
        harmonics = np.arange(1, 9)
        weights = random.uniform(0.0, 1.0, 8) / harmonics
        phases = random.uniform(0.0, 2 * np.pi, 8)
        made = (weights[:, None] * np.sin(2 * np.pi * mains_hz * harmonics[:, None] * times + phases[:, None])).sum(0)
    else:
        size = _fast_size(n_samples)
        spectrum = random.normal(size=size // 2 + 1) + 1j * random.normal(size=size // 2 + 1)
        octaves = np.log2(np.maximum(np.fft.rfftfreq(size, 1.0 / SAMPLE_RATE_HZ), 40.0) / 1000.0)
        made = np.fft.irfft(spectrum * 10.0 ** (_SLOPES_DB_PER_OCTAVE[kind] * octaves / 20.0), size)[:n_samples]
    return (made / max(float(np.sqrt(np.mean(made**2))), 1e-9)).astype(np.float32)


def at_level(samples: np.ndarray, dbfs: float) -> np.ndarray:
    """Scale (N,) to an RMS in decibels of full scale; digital silence stays silent."""
    rms = float(np.sqrt(np.square(samples, dtype=np.float64).mean()))
    return (samples * (10.0 ** (dbfs / 20.0) / max(rms, 1e-12))).astype(np.float32)


def speech_level(samples: np.ndarray) -> float:
    """Root mean square of the 20 ms blocks that are within 30 dB of the loudest; 0 for silence."""
    n_blocks = samples.size // 320
    if n_blocks == 0:
        return float(np.sqrt(np.mean(samples**2))) if samples.size else 0.0
    power = (samples[: n_blocks * 320].reshape(-1, 320).astype(np.float64) ** 2).mean(1)
    return float(np.sqrt(power[power >= 1e-3 * power.max()].mean()))


def reverberate(samples: np.ndarray, rt60_s: float, direct_db: float, random: np.random.Generator) -> np.ndarray:
    """Put a voice into a room: the direct sound untouched and first, then reflections that decay.

    Args:
        samples: (N,) float.
        rt60_s: time in which the reflections fall by 60 dB.
        direct_db: energy of the direct sound over that of the reflections.

    Returns:
        (N,) float32; what rings on past the end is cut.
    """
    n_tail = round(1.1 * rt60_s * SAMPLE_RATE_HZ)
    times = np.arange(n_tail) / SAMPLE_RATE_HZ
    tail = random.normal(size=n_tail) * 10.0 ** (-3.0 * times / rt60_s)
    # The first reflections come from the nearest walls: few, and after 1 to 8 ms.
    first = int(random.uniform(0.001, 0.008) * SAMPLE_RATE_HZ)
    sparse = random.uniform(size=n_tail) < np.clip((times - 0.001) / 0.05, 0.02, 1.0)
    tail *= sparse
    tail[:first] = 0.0
    energy = float(np.sum(tail**2))
    if energy == 0.0:
        return samples.astype(np.float32)
    # Walls swallow high notes first.
    tail = apply_response(tail, [250.0, 8000.0], [0.0, float(random.uniform(-18.0, 0.0))])
    tail[:first] = 0.0
    tail *= 10.0 ** (-direct_db / 20.0) / max(float(np.sqrt(np.sum(tail**2))), 1e-9)
    size = _fast_size(samples.size + n_tail)
    ringing = np.fft.irfft(np.fft.rfft(samples, size) * np.fft.rfft(tail, size), size)[: samples.size]
    return (samples + ringing).astype(np.float32)


def _fast_size(at_least: int) -> int:
    """The next size that the FFT likes: a power of 2, or 3/4 of one."""
    power = 1 << max(at_least - 1, 1).bit_length()
    return power * 3 // 4 if power * 3 // 4 >= at_least else power
