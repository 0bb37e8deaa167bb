"""Makes clean synthesised speech sound like what microphones deliver, without moving it in time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dfanerf_rt.audio.acoustics import (
    NoiseKind,
    apply_response,
    band_limits,
    noise,
    random_response,
    reverberate,
    speech_level,
)
from dfanerf_rt.audio.codecs import CODECS, available_codecs, through_codec
from dfanerf_rt.audio.speech import SAMPLE_RATE_HZ, Phoneme, Speech
from dfanerf_rt.errors import AudioError

BANDS_HZ: dict[str, tuple[float, float]] = {
    "telephone": (300.0, 3400.0),
    "am": (100.0, 4500.0),
    "dull": (60.0, 2200.0),
    "bright": (500.0, 8000.0),
}
"""Pass bands, by what sounds so."""


@dataclass(frozen=True)
class AugmentConfig:
    """How often each thing happens to a voice, and how strongly."""

    noise_share: float = 0.7
    snr_db: tuple[float, float] = (0.0, 40.0)
    """Drawn mostly from the upper part: the larger of two draws."""
    reverberation_share: float = 0.4
    rt60_s: tuple[float, float] = (0.1, 0.8)
    direct_db: tuple[float, float] = (-3.0, 15.0)
    """Direct sound over reflections."""
    response_share: float = 0.7
    tilt_db: float = 12.0
    ripple_db: float = 2.5
    band_share: float = 0.2
    codec_share: float = 0.25
    dropout_share: float = 0.05
    """Of the sounds that lose packets at all; each then loses 1 to 4 of 10 to 30 ms."""
    gain_db: tuple[float, float] = (-30.0, 6.0)
    """Peak above full scale; the part above 0 clips."""
    clip_share: float = 0.06


def augment(
    samples: np.ndarray,
    random: np.random.Generator,
    config: AugmentConfig | None = None,
    babble: Sequence[np.ndarray] = (),
) -> np.ndarray:
    """Room, noise, microphone, level, codec and lost packets, each by chance.

    Args:
        samples: (N,) float, 16 kHz.
        babble: other voices, for noise of people; without any there is none of it.

    Returns:
        (N,) float32 in [-1, 1]; every sound at the time at which it was.
    """
    config = config or AugmentConfig()
    heard = samples.astype(np.float32)
    if random.uniform() < config.reverberation_share:
        heard = reverberate(heard, random.uniform(*config.rt60_s), random.uniform(*config.direct_db), random)
    if random.uniform() < config.noise_share:
        kinds: tuple[NoiseKind, ...] = ("white", "pink", "brown", "hum", "babble")
        kind = kinds[int(random.choice(5, p=(0.15, 0.35, 0.2, 0.1, 0.2)))]
        kind = "pink" if kind == "babble" and not babble else kind
        snr_db = max(random.uniform(*config.snr_db), random.uniform(*config.snr_db))
        level = speech_level(heard) * 10.0 ** (-snr_db / 20.0)
        heard = heard + level * noise(kind, heard.size, random, babble)
    if random.uniform() < config.response_share:
        heard = apply_response(heard, *random_response(random, config.tilt_db, config.ripple_db))
    if random.uniform() < config.band_share:
        low_hz, high_hz = BANDS_HZ[str(random.choice(list(BANDS_HZ)))]
        heard = apply_response(heard, *band_limits(low_hz, high_hz))
    heard = set_gain(heard, _gain_db(random, config))
    if random.uniform() < config.codec_share:
        name = str(random.choice(available_codecs()))
        bit_rate = int(random.choice(CODECS[name].bit_rates)) if name in CODECS else None
        heard = through_codec(heard, name, bit_rate)
    if random.uniform() < config.dropout_share:
        heard = drop(heard, int(random.integers(1, 5)), random)
    return heard


def set_gain(samples: np.ndarray, gain_db: float) -> np.ndarray:
    """Scale so that the peak is ``gain_db`` above full scale, and clip; (N,) float32 in [-1, 1]."""
    peak = float(np.abs(samples).max(initial=0.0))
    if peak == 0.0:
        return samples.astype(np.float32)
    return np.clip(samples * (10.0 ** (gain_db / 20.0) / peak), -1.0, 1.0).astype(np.float32)


def drop(samples: np.ndarray, times: int, random: np.random.Generator) -> np.ndarray:
    """Lose 10 to 30 ms at each of some random places; the sound goes on where it would have."""
    kept = samples.astype(np.float32).copy()
    for _ in range(times):
        length = int(random.uniform(0.010, 0.030) * SAMPLE_RATE_HZ)
        start = int(random.integers(0, max(1, kept.size - length)))
        kept[start : start + length] = 0.0
    return kept


def resample_speech(speech: Speech, factor: float) -> Speech:
    """Play faster by ``factor``: pitch and formants go up by it, and times shrink by it.

    With a voice's own rate and pitch set to ``1 / factor`` what is left is a change of formants alone, as of a
    shorter vocal tract.

    Raises:
        AudioError: ``factor`` is not between 0.5 and 2.
    """
    import soxr

    if not 0.5 <= factor <= 2.0:
        raise AudioError(f"factor is {factor}, expected 0.5 to 2")
    if factor == 1.0:
        return speech
    samples = np.clip(soxr.resample(speech.samples, SAMPLE_RATE_HZ * factor, SAMPLE_RATE_HZ), -1.0, 1.0)
    edges = [round(phoneme.end_sample / factor) for phoneme in speech.phonemes[:-1]] + [samples.size]
    phonemes, start = [], 0
    for phoneme, end in zip(speech.phonemes, edges, strict=True):
        if end > start:
            phonemes.append(Phoneme(phoneme.name, start, end))
            start = end
    return Speech(samples.astype(np.float32), tuple(phonemes), speech.text)


def _gain_db(random: np.random.Generator, config: AugmentConfig) -> float:
    low, high = config.gain_db
    if random.uniform() < config.clip_share:
        return float(random.uniform(max(low, 0.0), max(high, 0.0)))
    return float(random.uniform(low, min(high, -0.5)))
