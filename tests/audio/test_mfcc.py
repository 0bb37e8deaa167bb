from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dfanerf_rt.audio.mfcc import MfccConfig, StreamingMfcc, mfcc
from dfanerf_rt.audio.sources import load_audio
from dfanerf_rt.errors import ShapeError


def _sound(seconds: float, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    t = np.arange(int(16_000 * seconds)) / 16_000
    voiced = sum(np.sin(2 * np.pi * 140 * k * t) / k for k in range(1, 20)) * (0.5 + 0.5 * np.sin(2 * np.pi * 3 * t))
    return (0.1 * voiced + 0.01 * random.standard_normal(len(t))).astype(np.float32)


def _librosa_mfcc(sound: np.ndarray, config: MfccConfig) -> np.ndarray:
    librosa = pytest.importorskip("librosa")
    mel = librosa.feature.melspectrogram(
        y=sound.astype(np.float64), sr=16_000, n_fft=config.window_samples, hop_length=config.hop_samples, center=False,
        n_mels=config.n_mels, fmin=config.low_hz, fmax=config.high_hz, power=2.0,
    )  # fmt: skip
    decibel = librosa.power_to_db(mel, amin=config.floor_power, top_db=None)
    return librosa.feature.mfcc(S=decibel, n_mfcc=config.n_coefficients).T


def _chirp() -> np.ndarray:
    t = np.arange(24_000) / 16_000
    return 0.5 * np.sin(2 * np.pi * (20.0 * t + 0.5 * 5300.0 * t**2))  # 20 Hz to 8 kHz in 1.5 s


SOUNDS = {
    "voiced": _sound(1.5),
    "noise": np.random.default_rng(1).uniform(-1.0, 1.0, 16_000),
    "quiet noise": np.random.default_rng(2).uniform(-1e-4, 1e-4, 16_000),
    "chirp": _chirp(),
    "digital silence": np.zeros(8_000),
    "constant": np.full(8_000, 0.5),
    "voiced with an offset": _sound(1.0) + 0.5,
    "clipped square": np.clip(3.0 * np.sin(2 * np.pi * 233.0 * np.arange(16_000) / 16_000), -1.0, 1.0),
    "speech, then digital silence": np.concatenate([_sound(0.5), np.zeros(8_000)]),
    "one sample": np.eye(1, 4_000, 1_234)[0],
}


@pytest.mark.parametrize("config", [MfccConfig(), MfccConfig(n_coefficients=13, n_mels=26, low_hz=0.0, high_hz=7000.0)])
@pytest.mark.parametrize("name", SOUNDS)
def test_agrees_with_librosa(name: str, config: MfccConfig) -> None:
    sound = SOUNDS[name].astype(np.float32)
    found = mfcc(sound, config)
    expected = _librosa_mfcc(sound, config)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_agrees_with_librosa_on_speech(shared_data: Path) -> None:
    for path in sorted((shared_data / "audio").glob("*.wav")):
        sound = load_audio(path)[: 16_000 * 5]
        np.testing.assert_allclose(mfcc(sound), _librosa_mfcc(sound, MfccConfig()), atol=1e-4, err_msg=path.name)


@pytest.mark.parametrize("offset", [0.5, -0.5, 0.01])
def test_a_constant_offset_changes_nothing(offset: float) -> None:
    """A periodic Hann window keeps a constant within 40 Hz, and the lowest filter begins at 50."""
    sound = _sound(1.0)
    np.testing.assert_allclose(mfcc(sound + np.float32(offset)), mfcc(sound), atol=1e-4)
    np.testing.assert_allclose(mfcc(np.full(800, offset, np.float32)), mfcc(np.zeros(800, np.float32)), atol=1e-4)


@pytest.mark.parametrize("chunk", [1, 7, 160, 399, 400, 401, 1600, 16_000])
def test_any_chunking_gives_the_frames_of_the_whole(chunk: int) -> None:
    sound = _sound(0.4 if chunk == 1 else 1.2)
    stream = StreamingMfcc()
    frames = np.concatenate([stream.push(sound[start : start + chunk]) for start in range(0, len(sound), chunk)])
    np.testing.assert_allclose(frames, mfcc(sound), atol=1e-5)
    assert len(stream.pending) < stream.config.window_samples


def test_empty_chunks_change_nothing() -> None:
    sound = _sound(0.2)
    stream = StreamingMfcc()
    frames = []
    for start in range(0, len(sound), 100):
        frames += [stream.push(sound[start : start + 100]), stream.push(sound[:0])]
        assert frames[-1].shape == (0, 28)
    np.testing.assert_allclose(np.concatenate(frames), mfcc(sound), atol=1e-5)


def test_a_frame_comes_with_its_last_sample() -> None:
    stream = StreamingMfcc()
    sound = _sound(0.1)
    assert len(stream.push(sound[:399])) == 0
    assert len(stream.push(sound[399:400])) == 1
    assert len(stream.push(sound[400:559])) == 0
    assert len(stream.push(sound[559:560])) == 1
    stream.reset()
    assert len(stream.pending) == 0


def test_silence_is_finite_and_only_loudness_remains() -> None:
    config = MfccConfig()
    frame = mfcc(np.zeros(400, np.float32))[0]
    # forty equal dB values: the first orthonormal coefficient is value * sqrt(40), the others vanish
    assert frame[0] == pytest.approx(10.0 * np.log10(config.floor_power) * np.sqrt(40.0), rel=1e-6)
    assert np.abs(frame[1:]).max() < 1e-4


def test_a_gain_moves_only_the_first_coefficient() -> None:
    sound = _sound(0.5)
    change = mfcc(2.0 * sound) - mfcc(sound)
    np.testing.assert_allclose(change[:, 0], 20.0 * np.log10(2.0) * np.sqrt(40.0), rtol=1e-4)
    assert np.abs(change[:, 1:]).max() < 1e-3


def test_short_sound_and_wrong_shape() -> None:
    assert mfcc(np.zeros(399, np.float32)).shape == (0, 28)
    with pytest.raises(ShapeError, match="vector"):
        mfcc(np.zeros((2, 400), np.float32))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_refused_and_not_taken(value: float) -> None:
    sound = _sound(0.1)
    bad = sound.copy()
    bad[700] = value
    stream = StreamingMfcc()
    first = stream.push(sound[:600])
    with pytest.raises(ShapeError, match="NaN or infinity"):
        stream.push(bad[600:])
    np.testing.assert_allclose(np.concatenate([first, stream.push(sound[600:])]), mfcc(sound), atol=1e-5)
    with pytest.raises(ShapeError, match="NaN or infinity"):
        mfcc(bad)
