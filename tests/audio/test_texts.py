"""What the corpus says: many languages, the sounds that lips show, endless lines from a seed."""

# ruff: noqa: RUF001 - these are phonetic symbols, not look-alikes by mistake

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest

from dfanerf_rt.audio import festival
from dfanerf_rt.audio.speech import SILENCE
from dfanerf_rt.audio.texts import languages, lines, sentences
from dfanerf_rt.audio.visemes import phoneme_symbols
from dfanerf_rt.audio.voices import available_voices, speak
from dfanerf_rt.errors import AudioError


def test_there_are_many_languages_and_every_festival_voice_has_sentences() -> None:
    assert len(languages()) >= 24
    assert all(len(sentences(language)) >= 8 for language in languages())
    assert all(len(set(sentences(language))) == len(sentences(language)) for language in languages())
    for voice in festival.VOICES.values():
        for sentence in sentences(voice.language):
            sentence.encode(voice.encoding)


def test_lines_are_endless_varied_and_a_function_of_the_seed() -> None:
    first, again, other = (list(islice(lines("en", np.random.default_rng(seed)), 300)) for seed in (1, 1, 2))
    assert first == again != other
    assert len(set(first)) > 200
    assert any(line.endswith("?") for line in first) and any(line.count(",") > 2 for line in first)
    assert any(character.isdigit() for line in first for character in line)
    assert min(len(line.split()) for line in first) == 1


@pytest.mark.parametrize("language", languages())
def test_espeak_speaks_each_language_with_known_phonemes(language: str) -> None:
    assert f"espeak:{language}" in available_voices()
    symbols: set[str] = set()
    for line in sentences(language)[:4]:
        for phoneme in speak(line, f"espeak:{language}").phonemes:
            named = phoneme_symbols(phoneme.name)
            assert named or phoneme.name == SILENCE, phoneme
            symbols |= set(named)
    assert {"m", "p"} <= symbols and symbols & set("uʊɯyo")


def test_an_unknown_language_is_refused() -> None:
    with pytest.raises(AudioError, match="no sentences in the language 'xx'; expected one of en, de"):
        next(lines("xx", np.random.default_rng(0)))
