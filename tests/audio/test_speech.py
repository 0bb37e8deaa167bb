"""Synthesised speech: times that cover the sound, refusals that say how to mend, threads that do not mix."""

# ruff: noqa: RUF001 - these are phonetic symbols, not look-alikes by mistake

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from dfanerf_rt.audio import speech
from dfanerf_rt.audio.speech import SAMPLE_RATE_HZ, SILENCE, synthesize
from dfanerf_rt.errors import AudioError


@pytest.mark.parametrize(
    ("voice", "text", "expected"),
    [
        ("en", "My mother baked a big pie.", ["m", "b", "p"]),
        ("de", "Fünf schöne Bäume.", ["f", "n", "ʃ", "b"]),
        ("zh", "你好", ["n", "i", "ɑu"]),
        ("es", "El perro come pan.", ["p", "e", "k"]),
        ("fr", "Un bon vin blanc.", ["b", "ɔ̃", "v"]),
    ],
)
def test_phonemes_cover_the_sound(voice: str, text: str, expected: list[str]) -> None:
    spoken = synthesize(text, voice)
    assert spoken.samples.dtype == np.float32
    assert 0.1 < np.abs(spoken.samples).max() <= 1.0
    assert spoken.phonemes[0].start_sample == 0
    assert spoken.phonemes[-1].end_sample == spoken.samples.size
    for before, after in zip(spoken.phonemes, spoken.phonemes[1:], strict=False):
        assert before.start_sample < before.end_sample == after.start_sample
    names = iter(phoneme.name for phoneme in spoken.phonemes)
    assert all(any(name == wanted for name in names) for wanted in expected), "not in this order"


def test_a_pause_is_quiet_and_a_vowel_is_not() -> None:
    spoken = synthesize("Papa. Papa.", "en")
    loudness = {True: 0.0, False: 0.0}
    for phoneme in spoken.phonemes:
        if phoneme.end_sample - phoneme.start_sample < 800 or phoneme.name in ("p", "h"):
            continue
        middle = spoken.samples[phoneme.start_sample + 320 : phoneme.end_sample - 320]
        pause = phoneme.name == SILENCE
        loudness[pause] = max(loudness[pause], float(np.sqrt(np.mean(middle**2))))
    assert loudness[False] > 10 * loudness[True]


def test_rate_shortens_and_voice_changes_the_sound() -> None:
    slow, fast = (
        synthesize("One two three four five six.", rate_wpm=120),
        synthesize("One two three four five six.", rate_wpm=240),
    )
    assert 1.5 < slow.samples.size / fast.samples.size < 2.5
    assert 0.2 < slow.samples.size / SAMPLE_RATE_HZ < 6.0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"voice": "nowhere-at-all"}, "no voice 'nowhere-at-all'"),
        ({"rate_wpm": 20}, "expected 80 to 450"),
        ({"pitch": 101}, "expected 0 to 100"),
    ],
)
def test_refusals_say_what_is_wrong(arguments: dict, says: str) -> None:
    with pytest.raises(AudioError, match=says):
        synthesize("hello", **arguments)


def test_a_missing_library_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise OSError(name)

    monkeypatch.setattr(speech, "_library", None)
    monkeypatch.setattr(speech.ctypes, "CDLL", absent)
    with pytest.raises(AudioError, match="apt install espeak-ng"):
        synthesize("hello")


def test_threads_do_not_mix_their_sentences() -> None:
    texts = ["one", "one two three four", "a much longer sentence about boats and bees and pies"] * 3
    alone = {text: [phoneme.name for phoneme in synthesize(text).phonemes if phoneme.name != SILENCE] for text in texts}
    with ThreadPoolExecutor(6) as pool:
        for text, spoken in zip(texts, pool.map(synthesize, texts), strict=True):
            assert spoken.text == text
            assert [phoneme.name for phoneme in spoken.phonemes if phoneme.name != SILENCE] == alone[text]


@pytest.mark.parametrize("voice", ["en", "en+f2"])
def test_a_stop_begins_with_its_closure(voice: str) -> None:
    spoken = synthesize("Papa, a papa.", voice)
    stops = [phoneme for phoneme in spoken.phonemes if phoneme.name.lstrip("ˈˌ") == "p"]
    assert len(stops) == 4
    for stop in stops:
        middle = (stop.start_sample + stop.end_sample) // 2
        closure = spoken.samples[stop.start_sample + 160 : middle - 80]
        burst = spoken.samples[middle : stop.end_sample]
        assert closure.size > 160 and np.sqrt(np.mean(closure**2)) < 0.5 * np.sqrt(np.mean(burst**2))
