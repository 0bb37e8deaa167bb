"""Whether lips do what phonemes ask for: closed at m, b, p, rounded at u and o."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from dfanerf_rt.audio.speech import SAMPLE_RATE_HZ, SILENCE, Phoneme
from dfanerf_rt.audio.visemes import phoneme_symbols

BILABIAL = frozenset("mbp")
ROUNDED = frozenset("uʊo")
CLOSED_SHARE = 0.15
"""Lips are closed where they are open by less than this share of the speaker's mean opening."""


def frames_of(phoneme: Phoneme, n_frames: int, fps: float = 25.0) -> slice:
    """Frames exposed, in whole or in part, while a phoneme sounds; frame k is exposed from k / fps to (k + 1) / fps."""
    first = int(phoneme.start_sample * fps / SAMPLE_RATE_HZ)
    last = int(np.ceil(phoneme.end_sample * fps / SAMPLE_RATE_HZ))
    return slice(min(first, n_frames), min(last, n_frames))


def speech_mean(values: np.ndarray, phonemes: Sequence[Phoneme]) -> float:
    """Mean of (T,) over the frames in which something is said; NaN where nothing is."""
    spoken = np.zeros(len(values), bool)
    for phoneme in phonemes:
        if phoneme.name != SILENCE:
            spoken[frames_of(phoneme, len(values))] = True
    return float(values[spoken].mean()) if spoken.any() else float("nan")


def closures(opening: np.ndarray, phonemes: Sequence[Phoneme], mean_opening: float) -> list[bool]:
    """For each m, b and p: whether the lips close during it.

    Args:
        opening: (T,) gap between the inner lips.
        phonemes: with times in samples.
        mean_opening: of this speaker while speaking, see :func:`speech_mean`.
    """
    return [
        bool(opening[frames].min() < CLOSED_SHARE * mean_opening)
        for phoneme, frames in _spoken(phonemes, len(opening))
        if BILABIAL & set(phoneme_symbols(phoneme.name)[:1])
    ]


def roundings(width: np.ndarray, phonemes: Sequence[Phoneme], mean_width: float) -> list[bool]:
    """For each u and o: whether the mouth is narrower than usual, on average over the sound.

    Args:
        width: (T,) distance of the corners of the mouth.
        phonemes: with times in samples.
        mean_width: of this speaker while speaking.
    """
    return [
        bool(width[frames].mean() < mean_width)
        for phoneme, frames in _spoken(phonemes, len(width))
        if ROUNDED & set(phoneme_symbols(phoneme.name)[:1])
    ]


def _spoken(phonemes: Sequence[Phoneme], n_frames: int) -> Iterator[tuple[Phoneme, slice]]:
    for phoneme in phonemes:
        frames = frames_of(phoneme, n_frames)
        if phoneme.name != SILENCE and frames.stop > frames.start:
            yield phoneme, frames
