"""Any sound becomes mono at 16 kHz, the same in any chunks."""

from __future__ import annotations

import numpy as np
import pytest

from dfanerf_rt.audio.intake import HIGHEST_RATE_HZ, LOWEST_RATE_HZ, SoundIntake, to_mono_16k
from dfanerf_rt.audio.mfcc import mfcc
from dfanerf_rt.errors import AudioError

RATES_HZ = (4_000, 8_000, 11_025, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 96_000, 192_000, 768_000)
DELAY_MS = {8_000: 30.0, 11_025: 21.8, 16_000: 0.0, 22_050: 11.0, 24_000: 10.1, 32_000: 7.6}
DELAY_MS |= {44_100: 13.7, 48_000: 12.6, 96_000: 13.9, 192_000: 14.5}
"""The table in the docstring of SoundIntake."""


def noise(n: int, channels: int = 1, seed: int = 0) -> np.ndarray:
    shape = (n, channels) if channels > 1 else (n,)
    return np.random.default_rng(seed).uniform(-0.5, 0.5, shape).astype(np.float32)


def sine(rate_hz: int, pitch_hz: float, seconds: float = 0.5, amplitude: float = 0.5) -> np.ndarray:
    return (amplitude * np.sin(2 * np.pi * pitch_hz * np.arange(round(rate_hz * seconds)) / rate_hz)).astype(np.float32)


def level_and_time(found: np.ndarray, pitch_hz: float) -> tuple[float, float]:
    """Amplitude of a sine at 16 kHz, and how much too late it is in seconds."""
    middle = np.arange(len(found) // 4, 3 * len(found) // 4)
    turns = 2 * np.pi * pitch_hz * middle / 16_000
    basis = np.stack([np.sin(turns), np.cos(turns)], axis=1)
    (a, b), *_ = np.linalg.lstsq(basis, found[middle], rcond=None)
    return float(np.hypot(a, b)), float(-np.arctan2(b, a) / (2 * np.pi * pitch_hz))


def in_chunks(intake: SoundIntake, sound: np.ndarray, sizes: list[int]) -> np.ndarray:
    """Everything that comes out, the sizes taken in turn."""
    parts, start = [], 0
    while start < len(sound):
        size = sizes[len(parts) % len(sizes)]
        parts.append(intake.push(sound[start : start + size]))
        start += size
    return np.concatenate([*parts, intake.flush()])


@pytest.mark.parametrize("rate_hz", RATES_HZ)
def test_any_chunks_give_the_same(rate_hz: int) -> None:
    sound = noise(max(rate_hz // 8, 2500))
    whole = to_mono_16k(sound, rate_hz)
    assert whole.dtype == np.float32 and len(whole) == round(len(sound) * 16_000 / rate_hz)
    generator = np.random.default_rng(rate_hz)
    mixed = [int(size) for size in generator.choice([0, 1, 2, 7, 160, 441, 1023, 4096], 50)] + [1]
    intake = SoundIntake(rate_hz)
    for sizes in ([rate_hz // 1000], [rate_hz // 100], [rate_hz], mixed):
        np.testing.assert_allclose(in_chunks(intake, sound, sizes), whole, atol=1e-6)


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 44_100, 48_000])
def test_single_samples_give_the_same(rate_hz: int) -> None:
    sound = noise(3000, channels=2)
    np.testing.assert_allclose(in_chunks(SoundIntake(rate_hz, 2), sound, [1]), to_mono_16k(sound, rate_hz), atol=1e-6)


@pytest.mark.parametrize("rate_hz", RATES_HZ)
def test_every_sample_keeps_its_time_and_level(rate_hz: int) -> None:
    for pitch_hz in (120.0, 1234.0):
        level, late_s = level_and_time(to_mono_16k(sine(rate_hz, pitch_hz), rate_hz), pitch_hz)
        assert level == pytest.approx(0.5, rel=1e-3)
        assert abs(late_s) < 0.51 / 16_000


@pytest.mark.parametrize("rate_hz", [44_100, 48_000, 192_000])
def test_what_is_kept_and_what_is_cut_off(rate_hz: int) -> None:
    """Flat up to 7.9 kHz; nothing above 8.2 kHz comes back as another pitch."""
    assert level_and_time(to_mono_16k(sine(rate_hz, 7_900.0), rate_hz), 7_900.0)[0] == pytest.approx(0.5, rel=5e-3)
    for pitch_hz in (8_200.0, 9_000.0, 12_000.0, 15_900.0, 20_000.0):
        assert np.abs(to_mono_16k(sine(rate_hz, pitch_hz), rate_hz)[2000:-2000]).max() < 1e-5


@pytest.mark.parametrize("rate_hz", DELAY_MS)
def test_the_delay_is_constant_and_as_documented(rate_hz: int) -> None:
    intake = SoundIntake(rate_hz)
    sound = noise(rate_hz // 5)
    delays_ms = []
    for start in range(0, len(sound), max(1, rate_hz // 8000)):
        intake.push(sound[start : start + max(1, rate_hz // 8000)])
        if start > len(sound) // 2:
            delays_ms.append(1000.0 * intake.delay_s)
    np.testing.assert_allclose(delays_ms, DELAY_MS[rate_hz], atol=0.13)


def test_the_pitch_does_not_drift() -> None:
    """A minute in: the rate is held to better than 1e-8."""
    rate_hz = 44_100
    found = to_mono_16k(sine(rate_hz, 440.0, 61.0), rate_hz)
    early, late = (level_and_time(found[start : start + 16_000], 440.0)[1] for start in (16_000, 59 * 16_000))
    assert abs(late - early) < 1e-6


def test_numbers_of_any_width() -> None:
    sound = noise(4000, channels=2)
    expected = to_mono_16k(sound, 48_000)
    for samples, error in (
        (np.round(sound * 32768.0).astype(np.int16), 3e-5),
        (np.round(sound * 32768.0).astype(">i2"), 3e-5),
        (np.round(sound.astype(np.float64) * 2.0**31).astype(np.int32), 1e-6),
        (sound.astype(np.float64), 1e-6),
        (sound.astype(np.float16), 1e-3),
        (np.asfortranarray(sound), 1e-6),
    ):
        found = to_mono_16k(samples, 48_000)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected, atol=error)
    edges = to_mono_16k(np.array([-32768, 32767, 0], np.int16), 16_000)
    np.testing.assert_allclose(edges, [-1.0, 32767 / 32768, 0.0])


def test_the_sound_itself_passes_unchanged_at_16_khz() -> None:
    sound = noise(1000)
    np.testing.assert_array_equal(to_mono_16k(sound, 16_000), sound)
    np.testing.assert_array_equal(to_mono_16k(sound[:, None], 16_000), sound)


def test_channels_are_averaged_from_their_first_sound_on() -> None:
    left, right = noise(1000), noise(1000, seed=1)
    right[:400] = 0.0
    expected = np.concatenate([left[:400], (left[400:] + right[400:]) / 2])
    stereo = np.stack([left, right], axis=1)
    np.testing.assert_allclose(to_mono_16k(stereo, 16_000), expected, atol=1e-7)
    for size in (1, 399, 400, 401):
        np.testing.assert_allclose(in_chunks(SoundIntake(16_000, 2), stereo, [size]), expected, atol=1e-7)


def test_unused_channels_do_not_make_the_voice_quieter() -> None:
    eight = np.zeros((1000, 8), np.float32)
    eight[:, 5] = noise(1000)
    np.testing.assert_allclose(to_mono_16k(eight, 16_000), eight[:, 5], atol=1e-7)
    assert not to_mono_16k(np.zeros((1000, 8), np.float32), 16_000).any()


def test_a_pause_does_not_end_a_channel() -> None:
    stereo = noise(1000, channels=2)
    stereo[500:, 1] = 0.0
    np.testing.assert_allclose(to_mono_16k(stereo, 16_000), stereo.mean(axis=1), atol=1e-7)


@pytest.mark.parametrize("rate_hz", [16_000, 48_000])
def test_what_is_too_loud_is_clipped(rate_hz: int) -> None:
    found = to_mono_16k(sine(rate_hz, 300.0, amplitude=4.0), rate_hz)
    assert found.max() == 1.0 and found.min() == -1.0
    square = np.sign(sine(rate_hz, 300.0)).astype(np.float32)
    assert np.abs(to_mono_16k(square, rate_hz)).max() == 1.0, "filters ring over the edge"


@pytest.mark.parametrize("rate_hz", [8_000, 44_100, 48_000])
def test_an_offset_is_kept_and_the_features_do_not_see_it(rate_hz: int) -> None:
    voice = sine(rate_hz, 200.0, 1.0, 0.3) + 0.02 * noise(rate_hz)
    plain, shifted = to_mono_16k(voice, rate_hz), to_mono_16k(voice + np.float32(0.4), rate_hz)
    inner = slice(1600, -1600)
    np.testing.assert_allclose(shifted[inner] - plain[inner], 0.4, atol=1e-4)
    np.testing.assert_allclose(mfcc(shifted[inner]), mfcc(plain[inner]), atol=5e-3)


@pytest.mark.parametrize("rate_hz", RATES_HZ)
def test_silence_stays_silence(rate_hz: int) -> None:
    intake = SoundIntake(rate_hz)
    assert not intake.push(np.zeros(rate_hz, np.float32)).any()
    intake.push(noise(rate_hz // 10))
    after = intake.push(np.zeros(rate_hz, np.float32))
    assert np.abs(after[-8000:]).max() < 1e-9
    assert np.isfinite(mfcc(after)).all()
    np.testing.assert_allclose(mfcc(after[-4000:]), mfcc(np.zeros(4000, np.float32)), atol=1e-4)


def test_empty_chunks_and_short_sounds() -> None:
    intake = SoundIntake(48_000, 2)
    for empty in (np.zeros((0, 2), np.float32), np.zeros((0, 2), np.int16)):
        assert intake.push(empty).shape == (0,)
    assert intake.flush().shape == (0,)
    assert [len(to_mono_16k(noise(n), 48_000)) for n in (1, 2, 3, 4, 5)] == [0, 1, 1, 1, 2]
    assert [len(to_mono_16k(noise(n), 8_000)) for n in (1, 2, 3)] == [2, 4, 6]


def test_reset_and_flush_begin_anew() -> None:
    intake = SoundIntake(44_100)
    sound = noise(5000)
    first = np.concatenate([intake.push(sound), intake.flush()])
    intake.push(noise(777, seed=3))
    intake.reset()
    assert intake.n_taken == intake.n_given == 0
    np.testing.assert_array_equal(np.concatenate([intake.push(sound), intake.flush()]), first)


@pytest.mark.parametrize("rate_hz", [0, -48_000, LOWEST_RATE_HZ - 1, HIGHEST_RATE_HZ + 1, 10**12, 44_100.5, None, "x"])
def test_unusable_rates_are_refused(rate_hz: int) -> None:
    with pytest.raises(AudioError, match=r"sampling rate is .* expected a whole number from 4000 to 768000"):
        SoundIntake(rate_hz)


@pytest.mark.parametrize(
    ("samples", "said"),
    [
        (np.zeros(10), r"shape \(10, 1\), expected \(N, 2\)"),
        (np.zeros((10, 3)), r"shape \(10, 3\), expected \(N, 2\)"),
        (np.zeros((2, 10, 2)), "shape"),
        (np.zeros((10, 2), np.uint8), "type uint8, expected int16, int32 or floating point"),
        (np.zeros((10, 2), np.int64), "type int64"),
        (np.zeros((10, 2), np.complex64), "type complex64"),
        (np.full((10, 2), np.nan), "NaN"),
        (np.full((10, 2), -np.inf, np.float32), "infinite"),
        (np.full((10, 2), 3e38, np.float32), r"sound reaches 3e\+38"),
        (np.full((10, 2), -20_000.0), "sound reaches 20000, expected floating-point samples in"),
    ],
)
def test_what_is_no_sound_is_refused_and_not_taken(samples: np.ndarray, said: str) -> None:
    intake = SoundIntake(48_000, 2)
    good = noise(3000, channels=2)
    expected = to_mono_16k(good, 48_000)
    first = intake.push(good[:1000])
    with pytest.raises(AudioError, match=said) as caught:
        intake.push(samples)
    assert "\n" not in str(caught.value)
    np.testing.assert_array_equal(np.concatenate([first, intake.push(good[1000:]), intake.flush()]), expected)


def test_a_number_of_channels_that_cannot_be() -> None:
    for channels in (0, -1, 1.5):
        with pytest.raises(AudioError, match="number of channels"):
            SoundIntake(48_000, channels)  # type: ignore[arg-type]
