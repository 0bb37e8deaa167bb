"""What a microphone hears while nobody speaks: digital silence, the noise of a room, a breath."""

from __future__ import annotations

import numpy as np

from dfanerf_rt.audio.acoustics import NoiseKind, apply_response, at_level, band_limits, noise, random_response
from dfanerf_rt.audio.speech import SAMPLE_RATE_HZ

DIGITAL_SHARE = 0.15
ROOM_DBFS = (-90.0, -42.0)
BREATH_SHARE = 0.5
BREATH_DBFS = (-65.0, -38.0)
BREATH_S = (0.2, 1.0)
BREATH_LOW_HZ, BREATH_HIGH_HZ = (150.0, 1200.0), (1800.0, 7000.0)
_KINDS: tuple[NoiseKind, ...] = ("white", "pink", "brown", "hum")


def nobody_speaks(n_samples: int, random: np.random.Generator) -> np.ndarray:
    """Silence as a lip model has to know it: (n_samples,) float32 at 16 kHz.

    Nothing at all, or the noise of a room between -90 and -42 dBFS (RMS), white to brown or hum, coloured by a
    microphone; half of the rooms hold someone who breathes, between -65 and -38 dBFS.
    """
    if random.random() < DIGITAL_SHARE or n_samples == 0:
        return np.zeros(n_samples, np.float32)
    room = noise(_KINDS[int(random.integers(len(_KINDS)))], n_samples, random)
    sound = at_level(apply_response(room, *random_response(random, 12.0, 2.0)), random.uniform(*ROOM_DBFS))
    start = int(random.uniform(0.0, 1.0) * SAMPLE_RATE_HZ)
    breathes = random.random() < BREATH_SHARE
    while breathes and start < n_samples:
        breath = _breath(random)[: n_samples - start]
        sound[start : start + len(breath)] += breath
        start += len(breath) + int(random.uniform(0.2, 2.5) * SAMPLE_RATE_HZ)
    return sound


def _breath(random: np.random.Generator) -> np.ndarray:
    """Noise in a band of the vocal tract that swells and fades."""
    n_samples = int(random.uniform(*BREATH_S) * SAMPLE_RATE_HZ)
    band = band_limits(float(random.uniform(*BREATH_LOW_HZ)), float(random.uniform(*BREATH_HIGH_HZ)), 18.0)
    air = apply_response(noise("white", n_samples, random), *band)
    peak = random.uniform(0.2, 0.8)
    at = np.linspace(0.0, 1.0, n_samples)
    swell = np.sin(0.5 * np.pi * np.minimum(at / peak, (1.0 - at) / (1.0 - peak))) ** 2
    return (at_level(air, random.uniform(*BREATH_DBFS)) * swell).astype(np.float32)
