"""What in a voice a head answers to, found in the sound alone: stressed syllables, and pauses.

A syllable is a peak of the loudness of voiced speech; it is stressed as far as it stands out among its neighbours. That
needs no phonemes, so it is the same for synthesised speech, any language, and real recordings. Noise and breath are
loud too: judge clean sound.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dfanerf_rt.audio.speech import SAMPLE_RATE_HZ

HOP_SAMPLES, WINDOW_SAMPLES = 160, 400
BAND_HZ = (200.0, 3500.0)
"""Vowels are loud here, hiss and hum are not."""
SMOOTH_STEPS = 7
APART_STEPS = 8
"""A syllable is the loudest within 80 ms."""
NEIGHBOURS_S = 0.8
FULL_STRESS_DB = 4.0
"""Above the mean of its neighbours, from 0.8 s before to 0.8 s after, a syllable is fully stressed."""
SYLLABLE_BELOW_DB, SILENCE_BELOW_DB = 25.0, 30.0
"""Below the loudest, no syllable is counted; and nothing is heard."""
PAUSE_S = 0.3
NOBODY_DBFS = -60.0
"""Sound whose loudest part is below this is nobody's voice."""
PULSE_S = 0.08
"""Standard deviation of a syllable's pulse in :func:`stress_track`, about half the length of a stressed syllable."""


@dataclass(frozen=True)
class Stresses:
    """The syllables of a sound."""

    time_s: np.ndarray
    """(n,) ascending, where each is loudest."""
    strength: np.ndarray
    """(n,) in [0, 1]; 0 for a syllable no louder than its neighbours."""


def find_stresses(samples: np.ndarray) -> Stresses:
    """Syllables and their stress in a sound (N,), float, 16 kHz."""
    level = loudness_dbfs(samples)
    top = _top(level)
    highest = np.lib.stride_tricks.sliding_window_view(np.pad(level, APART_STEPS, constant_values=-np.inf), _WIDTH)
    is_peak = (level == highest.max(axis=1)) & (level > top - SYLLABLE_BELOW_DB) & (top > NOBODY_DBFS)
    steps = np.flatnonzero(is_peak)
    # Of a flat peak the first step counts.
    steps = steps[np.diff(steps, prepend=-_WIDTH) > 1]
    time_s, loud = steps * HOP_SAMPLES / SAMPLE_RATE_HZ, level[steps]
    above = np.array([loud[i] - loud[np.abs(time_s - time_s[i]) < NEIGHBOURS_S].mean() for i in range(len(steps))])
    return Stresses(time_s, np.clip(above / FULL_STRESS_DB, 0.0, 1.0))


def stress_track(stresses: Stresses, n_frames: int, fps: float) -> np.ndarray:
    """Stress over video frames: a smooth pulse at each syllable, as high as it is stressed.

    Returns:
        (n_frames,) of 0 and more; frame k is the middle of its exposure, (k + 0.5) / fps.
    """
    track = np.zeros(n_frames)
    reach = round(4 * PULSE_S * fps)
    for time_s, strength in zip(stresses.time_s, stresses.strength, strict=True):
        middle = int(time_s * fps)
        frames = np.arange(max(middle - reach, 0), min(middle + reach + 1, n_frames))
        track[frames] += strength * np.exp(-0.5 * (((frames + 0.5) / fps - time_s) / PULSE_S) ** 2)
    return track


def find_pauses(samples: np.ndarray) -> np.ndarray:
    """Where nothing is heard for 0.3 s or more, as between phrases; the beginning and the end of the sound count.

    Returns:
        (P, 2) start and end in seconds, ascending.
    """
    level = loudness_dbfs(samples)
    top = _top(level)
    silent = level < top - SILENCE_BELOW_DB if top > NOBODY_DBFS else np.ones(len(level), bool)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], silent, [False]]))).reshape(-1, 2)
    spans = edges * HOP_SAMPLES / SAMPLE_RATE_HZ
    spans = np.minimum(spans, len(samples) / SAMPLE_RATE_HZ)
    return np.asarray(spans[spans[:, 1] - spans[:, 0] >= PAUSE_S])


def loudness_dbfs(samples: np.ndarray) -> np.ndarray:
    """(M,) level every 10 ms in dB below a full-scale square wave, between 200 and 3500 Hz, smoothed over 70 ms."""
    n_steps = -(-len(samples) // HOP_SAMPLES)
    padded = np.zeros(max(n_steps - 1, 0) * HOP_SAMPLES + WINDOW_SAMPLES)
    before = WINDOW_SAMPLES // 2
    kept = samples[: len(padded) - before]
    padded[before : before + len(kept)] = kept
    windows = np.lib.stride_tricks.sliding_window_view(padded, WINDOW_SAMPLES)[::HOP_SAMPLES]
    taper = np.hanning(WINDOW_SAMPLES)
    frequency = np.fft.rfftfreq(WINDOW_SAMPLES, 1.0 / SAMPLE_RATE_HZ)
    inside = (frequency >= BAND_HZ[0]) & (frequency <= BAND_HZ[1])
    power = np.concatenate(
        [
            # A minute at a time: spectra of an hour at once would take gigabytes.
            (np.abs(np.fft.rfft(part * taper, axis=1)[:, inside]) ** 2).sum(axis=1)
            for part in np.array_split(windows, max(len(windows) // 6000, 1))
        ]
    )
    power *= 2.0 / (WINDOW_SAMPLES * np.square(taper).sum())
    smooth = np.hanning(SMOOTH_STEPS + 2)[1:-1]
    power = np.convolve(np.pad(power, SMOOTH_STEPS // 2, mode="edge"), smooth / smooth.sum(), "valid")
    return np.asarray(10.0 * np.log10(np.maximum(power, 1e-12)))


_WIDTH = 2 * APART_STEPS + 1


def _top(level: np.ndarray) -> float:
    """How loud the loudest hundredth is."""
    return float(np.percentile(level, 99.0)) if len(level) else NOBODY_DBFS
