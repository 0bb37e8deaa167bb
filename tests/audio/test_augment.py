"""Sound as microphones deliver it: nothing moves in time, levels are those asked for, the seed decides all."""

from __future__ import annotations

import numpy as np
import pytest

from dfanerf_rt.audio.acoustics import apply_response, band_limits, noise, random_response, reverberate, speech_level
from dfanerf_rt.audio.augment import AugmentConfig, augment, drop, resample_speech, set_gain
from dfanerf_rt.audio.codecs import CODECS, available_codecs, through_codec
from dfanerf_rt.audio.speech import SAMPLE_RATE_HZ, Phoneme, Speech, synthesize
from dfanerf_rt.errors import AudioError

CLICK = 9_001


@pytest.fixture
def click() -> np.ndarray:
    samples = np.zeros(SAMPLE_RATE_HZ, np.float32)
    samples[CLICK] = 0.9
    return samples


@pytest.fixture(scope="module")
def voice() -> np.ndarray:
    return synthesize("My mother baked five big apple pies above the shop.").samples


def lag(before: np.ndarray, after: np.ndarray) -> int:
    """Samples by which ``after`` is late."""
    size = 1 << (2 * before.size).bit_length()
    correlation = np.fft.irfft(np.fft.rfft(after, size) * np.conj(np.fft.rfft(before, size)), size)
    index = int(correlation.argmax())
    return index - size if index > size // 2 else index


def gain_at(samples: np.ndarray, frequency_hz: float) -> float:
    """Gain in decibels of a click's spectrum."""
    return 20 * float(np.log10(np.abs(np.fft.rfft(samples))[round(frequency_hz)] / 0.9))


def test_filters_leave_a_click_where_it_is(click: np.ndarray) -> None:
    random = np.random.default_rng(0)
    for response in (band_limits(300.0, 3400.0), band_limits(60.0, 2200.0), random_response(random, 12.0, 3.0)):
        assert abs(int(np.abs(apply_response(click, *response)).argmax()) - CLICK) <= 1


def test_a_response_has_the_gains_asked_for(click: np.ndarray) -> None:
    heard = apply_response(click, *band_limits(400.0, 3200.0))
    assert [gain_at(heard, f) for f in (200.0, 400.0, 1000.0, 3200.0, 6400.0)] == pytest.approx(
        [-36, 0, 0, 0, -36], abs=0.6
    )


def test_the_direct_sound_comes_first_and_untouched(click: np.ndarray) -> None:
    heard = reverberate(click, 0.5, 3.0, np.random.default_rng(1))
    assert np.abs(heard[: CLICK + 15] - click[: CLICK + 15]).max() < 1e-3
    tail = heard[CLICK + 15 :].astype(np.float64) ** 2
    assert 10 * np.log10(0.9**2 / tail.sum()) == pytest.approx(3.0, abs=0.7)
    # By the definition of RT60 a fifth of it is 12 dB.
    early, late = tail[800:1600].sum(), tail[2400:3200].sum()
    assert 10 * np.log10(early / late) == pytest.approx(12.0, abs=4.0)


@pytest.mark.parametrize("kind", ["white", "pink", "brown", "hum", "babble"])
def test_noise_has_unit_power_and_its_colour(kind: str, voice: np.ndarray) -> None:
    made = noise(kind, 65_536, np.random.default_rng(2), [voice, voice[::-1]])
    assert made.dtype == np.float32 and np.sqrt(np.mean(made**2)) == pytest.approx(1.0, abs=1e-3)
    power = np.abs(np.fft.rfft(made)) ** 2
    octaves = [power[low : 2 * low].mean() for low in (1024, 8192)]
    slope_db = 10 * np.log10(octaves[1] / octaves[0]) / 3
    if kind in ("white", "pink", "brown"):
        assert slope_db == pytest.approx({"white": 0.0, "pink": -3.0, "brown": -6.0}[kind], abs=0.5)


@pytest.mark.parametrize("name", ["mulaw", *CODECS])
def test_codecs_keep_time_and_length(name: str, voice: np.ndarray) -> None:
    if name not in available_codecs():
        pytest.skip(f"the installed FFmpeg has no encoder for {name}")
    for bit_rate in CODECS[name].bit_rates if name in CODECS else (None,):
        heard = through_codec(voice, name, bit_rate)
        assert heard.dtype == np.float32 and heard.shape == voice.shape and np.abs(heard).max() <= 1.0
        assert abs(lag(voice, heard)) <= 0.002 * SAMPLE_RATE_HZ
        assert np.corrcoef(voice, heard)[0, 1] > 0.5
        assert not np.array_equal(voice, heard)


def test_gain_scales_the_peak_and_clips_above_full_scale(voice: np.ndarray) -> None:
    assert np.abs(set_gain(voice, -20.0)).max() == pytest.approx(0.1)
    loud = set_gain(voice, 6.0)
    assert (np.abs(loud) == 1.0).sum() > 10 and np.abs(loud).max() == 1.0
    assert not set_gain(np.zeros(8), 3.0).any()


def test_dropouts_are_short_and_the_rest_stays(voice: np.ndarray) -> None:
    heard = drop(voice, 3, np.random.default_rng(4))
    lost = (heard != voice).sum()
    assert 0 < lost <= 3 * 0.030 * SAMPLE_RATE_HZ
    assert not heard[heard != voice].any()


def test_noise_is_as_loud_as_asked(voice: np.ndarray) -> None:
    only = {"reverberation_share": 0, "response_share": 0, "band_share": 0, "codec_share": 0, "dropout_share": 0}
    config = AugmentConfig(noise_share=1.0, snr_db=(20.0, 20.0), clip_share=0.0, **only)
    heard = augment(voice, np.random.default_rng(5), config)
    scale = float(heard @ voice / (voice @ voice))
    rest = heard - scale * voice
    assert 20 * np.log10(scale * speech_level(voice) / np.sqrt(np.mean(rest**2))) == pytest.approx(20.0, abs=0.3)


def test_augmented_sounds_keep_time_and_follow_from_the_seed(voice: np.ndarray) -> None:
    others = [voice[::-1].copy()]
    seen = set()
    for seed in range(40):
        heard = augment(voice, np.random.default_rng(seed), babble=others)
        assert heard.dtype == np.float32 and heard.shape == voice.shape
        assert np.isfinite(heard).all() and 0.0 < np.abs(heard).max() <= 1.0
        assert abs(lag(voice, heard)) <= 0.002 * SAMPLE_RATE_HZ, seed
        np.testing.assert_array_equal(heard, augment(voice, np.random.default_rng(seed), babble=others))
        seen.add(heard.tobytes())
    assert len(seen) == 40


def test_resampling_moves_pitch_and_times_together() -> None:
    tone = np.sin(2 * np.pi * 500.0 * np.arange(16_000) / SAMPLE_RATE_HZ).astype(np.float32)
    spoken = Speech(tone, (Phoneme("a", 0, 4_000), Phoneme("m", 4_000, 16_000)), "am")
    quick = resample_speech(spoken, 1.25)
    assert quick.samples.size == 12_800
    assert [(p.start_sample, p.end_sample) for p in quick.phonemes] == [(0, 3_200), (3_200, 12_800)]
    assert np.abs(np.fft.rfft(quick.samples)).argmax() * SAMPLE_RATE_HZ / 12_800 == pytest.approx(625.0, abs=2.0)
    with pytest.raises(AudioError, match="factor is 3"):
        resample_speech(spoken, 3.0)


def test_an_unknown_codec_is_refused(voice: np.ndarray) -> None:
    with pytest.raises(AudioError, match="unknown codec 'gsm'; expected mulaw, opus"):
        through_codec(voice, "gsm")
