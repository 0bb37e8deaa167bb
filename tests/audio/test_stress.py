from __future__ import annotations

import numpy as np
import pytest

from dfanerf_rt.audio.stress import find_pauses, find_stresses, loudness_dbfs, stress_track

RATE = 16_000


def _syllables(*parts: tuple[float, float, float], duration_s: float) -> np.ndarray:
    """Bursts of a 500 Hz tone: (middle in s, length in s, amplitude)."""
    sound = np.zeros(round(duration_s * RATE))
    for middle_s, length_s, amplitude in parts:
        n_samples = round(length_s * RATE)
        start = round(middle_s * RATE) - n_samples // 2
        sound[start : start + n_samples] += (
            amplitude * np.hanning(n_samples) * np.sin(2 * np.pi * 500 * np.arange(n_samples) / RATE)
        )
    return sound


def test_level_of_a_tone() -> None:
    tone = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(RATE) / RATE)
    assert loudness_dbfs(tone)[10:-10] == pytest.approx(20 * np.log10(0.5 / 2**0.5), abs=0.1)
    assert loudness_dbfs(0.5 * np.sin(2 * np.pi * 6000 * np.arange(RATE) / RATE))[10:-10].max() < -60, "hiss"


def test_the_loud_syllable_is_stressed() -> None:
    # Neighbours of the third within 0.8 s: all five; it is 6 dB above four of them, so 4.8 dB above their mean.
    amplitudes = (0.2, 0.2, 0.4, 0.2, 0.2)
    spoken = [(0.5 + 0.2 * index, 0.15, amplitude) for index, amplitude in enumerate(amplitudes)]
    found = find_stresses(_syllables(*spoken, duration_s=2.0))
    assert found.time_s == pytest.approx([0.5, 0.7, 0.9, 1.1, 1.3], abs=0.011)
    assert found.strength == pytest.approx([0.0, 0.0, 1.0, 0.0, 0.0], abs=0.02)
    softer = [(t, length, 0.3 if a == 0.4 else a) for t, length, a in spoken]
    # 3.52 dB above four: 0.8 of that above the mean of five, and 4 dB are full stress.
    assert find_stresses(_syllables(*softer, duration_s=2.0)).strength[2] == pytest.approx(0.704, abs=0.02)


def test_stress_does_not_depend_on_the_level() -> None:
    sound = _syllables((0.5, 0.15, 0.2), (0.8, 0.15, 0.4), (1.1, 0.15, 0.2), duration_s=1.6)
    loud, soft = find_stresses(sound), find_stresses(0.05 * sound)
    assert np.array_equal(loud.time_s, soft.time_s) and loud.strength == pytest.approx(soft.strength, abs=1e-6)


def test_the_track_has_a_pulse_at_the_syllable() -> None:
    sound = _syllables((0.5, 0.15, 0.2), (0.94, 0.15, 0.4), (1.3, 0.15, 0.2), duration_s=1.6)
    track = stress_track(find_stresses(sound), 40, 25.0)
    assert track.shape == (40,) and track.argmax() == 23
    assert track.max() == pytest.approx(find_stresses(sound).strength[1], rel=0.02)
    assert track[30:].max() < 0.01


def test_pauses() -> None:
    sound = _syllables((0.5, 0.2, 0.3), (0.7, 0.2, 0.3), (2.0, 0.2, 0.3), duration_s=2.15)
    pauses = find_pauses(sound)
    # From the beginning, and between the second and the third; the last 50 ms are too short to count.
    assert pauses == pytest.approx(np.array([[0.0, 0.4], [0.8, 1.9]]), abs=0.05)


def test_silence_has_no_syllables_and_is_one_pause() -> None:
    for sound in (np.zeros(RATE), 1e-4 * np.random.default_rng(0).standard_normal(RATE)):
        assert len(find_stresses(sound).time_s) == 0
        assert find_pauses(sound) == pytest.approx(np.array([[0.0, 1.0]]))
    assert len(find_stresses(np.zeros(0)).time_s) == 0 and find_pauses(np.zeros(0)).shape == (0, 2)
