"""Mouth shapes of phonemes: what each sound needs is there at its time, whatever stands beside it."""

# ruff: noqa: RUF001 - these are phonetic symbols, not look-alikes by mistake

from __future__ import annotations

import numpy as np
import pytest

from dfanerf_rt.audio.speech import SAMPLE_RATE_HZ, Phoneme, synthesize
from dfanerf_rt.audio.visemes import ARTICULATORS, articulation, phoneme_symbols, viseme_track
from dfanerf_rt.face.arkit import ARKIT_INDEX


def _spell(*parts: tuple[str, int]) -> tuple[Phoneme, ...]:
    """Phonemes of given names and lengths in ms."""
    phonemes, start = [], 0
    for name, length_ms in parts:
        end = start + length_ms * 16
        phonemes.append(Phoneme(name, start, end))
        start = end
    return tuple(phonemes)


def _at_centre(track: np.ndarray, phoneme: Phoneme, unit: str) -> float:
    """A unit in the frame during which a phoneme has its centre."""
    frame = int((phoneme.start_sample + phoneme.end_sample) / 2 * 25 / SAMPLE_RATE_HZ)
    return float(track[min(frame, len(track) - 1), ARKIT_INDEX[unit]])


@pytest.mark.parametrize(
    ("name", "symbols"),
    [("ˈaɪ", "aɪ"), ("tʃ", "tʃ"), ("iː", "i"), ("ɔ̃", "ɔ"), ("i:", "i"), ("_", ""), ("@", "ə"), ("tS", "tʃ"), ("5", "")],
)
def test_symbols_of_names(name: str, symbols: str) -> None:
    assert phoneme_symbols(name) == symbols


@pytest.mark.parametrize(
    ("voice", "text"),
    [
        ("en", "Maybe Peter moved the blue boat, while my mother bought a big map and five purple apples."),
        ("de", "Im Februar backen Mama und Papa ein paar Brote, und über den Bäumen wird es schön."),
        ("zh", "爸爸妈妈不怕我们跑步，朋友们都喜欢看书。"),
        ("es", "Mi papá compró pan y un poco de sopa para Pablo, como un bombón."),
        ("fr", "Pourquoi manger un bon plat de pommes avec beaucoup de beurre, madame?"),
    ],
)
def test_a_sentence_closes_and_rounds_where_it_must(voice: str, text: str) -> None:
    spoken = synthesize(text, voice)
    track = viseme_track(spoken.phonemes, spoken.samples.size)
    assert track.shape == (int(np.ceil(spoken.samples.size / 640)), 52)
    assert track.dtype == np.float32
    assert track.min() >= 0.0 and track.max() <= 1.0
    n_closed = n_rounded = 0
    for phoneme in spoken.phonemes:
        symbols = phoneme_symbols(phoneme.name)
        if symbols in ("m", "b", "p"):
            jaw = _at_centre(track, phoneme, "jawOpen")
            assert jaw < 0.12, f"{phoneme}: jaw {jaw:.2f}"
            assert _at_centre(track, phoneme, "mouthClose") > 0.9 * jaw
            assert _at_centre(track, phoneme, "mouthPressLeft") > 0.06
            n_closed += 1
        if symbols in ("u", "y", "w") and phoneme.end_sample - phoneme.start_sample > 60 * 16:
            assert _at_centre(track, phoneme, "mouthPucker") > 0.5, phoneme
            n_rounded += 1
        if symbols in ("f", "v"):
            assert _at_centre(track, phoneme, "mouthRollLower") > 0.4, phoneme
    assert n_closed >= 5
    assert n_rounded >= 1
    assert track[:, ARKIT_INDEX["jawOpen"]].max() > 0.33


def test_open_vowels_open_and_spread_vowels_spread() -> None:
    phonemes = _spell(("_", 200), ("a", 200), ("_", 200), ("iː", 200), ("_", 200), ("uː", 200), ("_", 200))
    track = viseme_track(phonemes, phonemes[-1].end_sample)
    assert _at_centre(track, phonemes[1], "jawOpen") > 0.5
    assert _at_centre(track, phonemes[3], "jawOpen") < 0.25
    assert (
        _at_centre(track, phonemes[3], "mouthStretchLeft") > 0.15 > _at_centre(track, phonemes[1], "mouthStretchLeft")
    )
    assert _at_centre(track, phonemes[5], "mouthPucker") > 0.8 > 0.1 > _at_centre(track, phonemes[3], "mouthPucker")


def test_neighbours_colour_a_consonant() -> None:
    """The t of "utu" is rounded, that of "iti" is not: lips take the shape of the vowels around (coarticulation)."""
    rounded = _spell(("u", 120), ("t", 60), ("u", 120))
    spread = _spell(("i", 120), ("t", 60), ("i", 120))
    pucker = [_at_centre(viseme_track(p, p[-1].end_sample), p[1], "mouthPucker") for p in (rounded, spread)]
    assert pucker[0] > 0.5 > 0.05 > pucker[1]


def test_dominance_is_the_weighted_mean_of_cohen_and_massaro() -> None:
    """Two vowels, seen half way between them: equal dominances give the mean of the targets."""
    phonemes = _spell(("a", 100), ("i", 100))
    middle = articulation(phonemes, np.array([0.1]))[0, ARTICULATORS.index("jaw")]
    assert middle == pytest.approx((0.62 + 0.14) / 2, abs=2e-3)
    # At the centre of "a" its dominance is 1, and that of "i" is exp(-(100 - 30) / 40).
    other = np.exp(-70 / 40)
    centre = articulation(phonemes, np.array([0.05]))[0, ARTICULATORS.index("jaw")]
    assert centre == pytest.approx((0.62 + other * 0.14) / (1 + other), abs=2e-3)


def test_silence_closes_softly() -> None:
    phonemes = _spell(("a", 200), ("_", 600), ("a", 200))
    track = viseme_track(phonemes, phonemes[-1].end_sample)
    middle = track[12]
    assert middle[ARKIT_INDEX["jawOpen"]] < 0.02
    assert middle[ARKIT_INDEX["mouthPressLeft"]] < 0.05
    steps = np.abs(np.diff(track[:, ARKIT_INDEX["jawOpen"]]))
    assert steps.max() < 0.35, "a jump instead of a movement"


def test_no_phonemes_is_a_closed_mouth() -> None:
    track = viseme_track((), SAMPLE_RATE_HZ)
    assert track.shape == (25, 52)
    assert float(track[:, ARKIT_INDEX["jawOpen"]].max()) < 0.01
    assert float(track.max()) < 0.05  # what brings the lips of the neutral face together
