"""Lips while nobody speaks: digital silence, a quiet room, breath; after speech and alone."""

from __future__ import annotations

import numpy as np
from lips_measures import Predict, Scores, opening_and_width
from lips_speech import Spoken
from numpy.typing import NDArray
from torch import Tensor

from dfanerf_rt.attributes.model import AttributeModel
from dfanerf_rt.audio.acoustics import apply_response, at_level, band_limits, noise
from dfanerf_rt.audio.speech import SAMPLE_RATE_HZ, SILENCE
from dfanerf_rt.sync.model import FRAME_SAMPLES

QUIET_S = 5.0
MIN_OPENING_MM = 0.1
"""Lips that open less than this while speaking do not speak."""
CLOSED_AFTER_S = 0.2
PINK_DBFS, BREATH_DBFS = -50.0, -45.0
BREATH_S, BREATH_EVERY_S = 0.8, 1.6
BREATH_BAND_HZ = 400.0, 3000.0


def speech_of(spoken: Spoken) -> NDArray[np.float32]:
    """An utterance up to the end of its last phoneme."""
    ends = [phoneme.end_sample for phoneme in spoken.phonemes if phoneme.name != SILENCE]
    return spoken.samples[: max(ends, default=0)]


def quiet_sounds() -> dict[str, NDArray[np.float32]]:
    """Five seconds each of what a microphone hears while nobody speaks. RMS levels in dB of full scale."""
    n = round(QUIET_S * SAMPLE_RATE_HZ)
    random = np.random.default_rng(0)
    burst = apply_response(noise("white", n, random), *band_limits(*BREATH_BAND_HZ))
    n_burst = round(BREATH_S * SAMPLE_RATE_HZ)
    breath = np.zeros(n, np.float32)
    for start in range(0, n - n_burst + 1, round(BREATH_EVERY_S * SAMPLE_RATE_HZ)):
        shaped = burst[start : start + n_burst] * np.sin(np.pi * np.arange(n_burst) / n_burst) ** 2
        breath[start : start + n_burst] = at_level(shaped, BREATH_DBFS)
    pink = at_level(noise("pink", n, random), PINK_DBFS)
    return {"digital": np.zeros(n, np.float32), "pink": pink, "breath": breath}


def silence_scores(speech: NDArray[np.float32], predict: Predict, attributes: AttributeModel, rest: Tensor) -> Scores:
    """How far lips stay open when speech has ended, and how far noise opens them.

    Every opening is what is above that of the ``rest`` code, as a share of the largest such opening during the speech.
    ``digital_200ms`` is its value 200 ms after the end of the speech, ``digital_spread`` its standard deviation from
    then on, ``*_after`` its maximum from then on, ``*_alone`` its maximum where nothing was said before.

    Args:
        speech: (N,) at 16 kHz; it ends where speaking does.
        predict: the codes.
        attributes: decodes them.
        rest: (mouth_dim,) code of the closed mouth.

    Returns:
        Nothing where the mouth does not open during the speech: there is no share of nothing.
    """
    at_rest = float(opening_and_width(rest[None], attributes)[0][0])

    def opening(sound: NDArray[np.float32]) -> NDArray[np.float32]:
        return opening_and_width(predict(sound, -(-len(sound) // FRAME_SAMPLES)), attributes)[0] - at_rest

    n_spoken = len(speech) // FRAME_SAMPLES
    closed = int(np.ceil((len(speech) + CLOSED_AFTER_S * SAMPLE_RATE_HZ) / FRAME_SAMPLES))
    scores: Scores = {}
    most = float(opening(speech)[:n_spoken].max(initial=0.0))
    if most < MIN_OPENING_MM:
        return scores
    for name, quiet in quiet_sounds().items():
        after = opening(np.concatenate([speech, quiet]))[closed:] / most
        if name == "digital":
            scores["digital_200ms"] = float(after[0]), 1
            scores["digital_spread"] = float(after.std()), len(after)
        scores[f"{name}_after"] = float(after.max()), len(after)
        alone = opening(quiet) / most
        scores[f"{name}_alone"] = float(alone.max()), len(alone)
    return scores


def worst_scores(scores: list[Scores]) -> Scores:
    """The largest of every measure."""
    names = dict.fromkeys(name for each in scores for name in each)
    return {name: max(each[name] for each in scores if name in each) for name in names}
