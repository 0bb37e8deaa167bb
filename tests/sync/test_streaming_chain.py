"""Sound of any rate → 16 kHz → MFCC → audio codes: streaming equals offline, whatever the chunks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from dfanerf_rt.audio.intake import SoundIntake, to_mono_16k
from dfanerf_rt.audio.mfcc import StreamingMfcc, mfcc
from dfanerf_rt.audio.sources import load_audio
from dfanerf_rt.sync.model import AudioEncoder, SyncConfig, encode_audio
from dfanerf_rt.sync.stream import StreamingSync

CHUNKS_MS = (1, 3, 10, 17, 100, 1000)
TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def encoder() -> AudioEncoder:
    """Not trained, but its codes differ from sound to sound as a trained one's do."""
    torch.manual_seed(0)
    made = AudioEncoder(SyncConfig()).requires_grad_(False)
    made.feature_mean[0] = -200.0
    made.feature_std.fill_(20.0)
    made.head[-1].weight.mul_(100.0)
    return made.eval()


def voice(rate_hz: int, seconds: float) -> np.ndarray:
    """A buzz whose pitch and loudness change, with noise: (N,) float32."""
    t = np.arange(round(rate_hz * seconds)) / rate_hz
    pitch = 2 * np.pi * (120.0 * t - 4.0 * np.cos(2.5 * t))
    buzz = sum(np.sin(k * pitch) / k for k in range(1, 25)) * (0.5 + 0.5 * np.sin(2 * np.pi * 3.0 * t))
    return (0.15 * buzz + 0.01 * np.random.default_rng(0).standard_normal(len(t))).astype(np.float32)


def chunks(sound: np.ndarray, rate_hz: int, chunk_ms: int | None) -> Iterator[np.ndarray]:
    """Pieces of so many milliseconds; of random lengths, some of them empty, when None."""
    generator = np.random.default_rng(7)
    start = 0
    while start < len(sound):
        ms = chunk_ms or float(generator.choice([0.0, 0.1, *CHUNKS_MS[:-1]]))
        length = round(rate_hz * ms / 1000)
        yield sound[start : start + length]
        start += length


@pytest.mark.parametrize("chunk_ms", [*CHUNKS_MS, None])
@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 44_100, 48_000])
def test_streaming_equals_offline(encoder: AudioEncoder, rate_hz: int, chunk_ms: int | None) -> None:
    stereo = np.stack([voice(rate_hz, 2.3), 0.5 * voice(rate_hz, 2.3)[::-1]], axis=1)
    recorded = np.round(stereo * 32767.0).astype(np.int16)
    sound = to_mono_16k(recorded, rate_hz)
    intake, features, codes = SoundIntake(rate_hz, 2), StreamingMfcc(encoder.config.mfcc), StreamingSync(encoder)
    found: list[tuple[np.ndarray, torch.Tensor]] = []
    for chunk in chunks(recorded, rate_hz, chunk_ms):
        samples = intake.push(chunk)
        found.append((features.push(samples), codes.push(samples)))
    samples = intake.flush()
    found += [(features.push(samples), codes.push(samples)), (features.push(samples[:0]), codes.flush())]
    frames = np.concatenate([frames for frames, _ in found])
    np.testing.assert_allclose(frames, mfcc(sound, encoder.config.mfcc), atol=TOLERANCE)
    expected = encode_audio(encoder, sound)
    assert expected.shape == (58, encoder.config.code_dim)  # 2.3 s at 25 frames a second, rounded up
    assert expected.std(dim=0).max() > 0.1
    torch.testing.assert_close(torch.cat([each for _, each in found]), expected, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("chunk_ms", [10, 1000, None])
def test_streaming_equals_offline_on_speech(encoder: AudioEncoder, shared_data: Path, chunk_ms: int | None) -> None:
    import soundfile

    path = shared_data / "audio" / "german_9s.wav"
    recorded, rate_hz = soundfile.read(path, dtype="int32", always_2d=True)
    intake, codes = SoundIntake(rate_hz, recorded.shape[1]), StreamingSync(encoder)
    found = [codes.push(intake.push(chunk)) for chunk in chunks(recorded, rate_hz, chunk_ms)]
    found += [codes.push(intake.flush()), codes.flush()]
    torch.testing.assert_close(torch.cat(found), encode_audio(encoder, load_audio(path)), atol=TOLERANCE, rtol=0)


def test_silence_before_within_and_after_speech(encoder: AudioEncoder) -> None:
    """Digital silence gives finite features, and the code that silence always has once the window is past."""
    silence = np.zeros(16_000, np.float32)
    sound = np.concatenate([silence, voice(16_000, 1.0), silence])
    features = mfcc(sound)
    assert np.isfinite(features).all()
    stream = StreamingSync(encoder)
    codes = torch.cat([*(stream.push(chunk) for chunk in chunks(sound, 16_000, 17)), stream.flush()])
    assert torch.isfinite(codes).all()
    quiet = encode_audio(encoder, silence)[10]
    window_frames = -(-encoder.config.n_window // 4)
    for k in (0, 10, 50 + window_frames, 74):
        torch.testing.assert_close(codes[k], quiet, atol=TOLERANCE, rtol=0)
    assert (codes[35] - quiet).abs().max() > 0.1


def test_a_constant_offset_changes_no_code_after_the_window_is_full(encoder: AudioEncoder) -> None:
    """Only its beginning is heard, as the step from silence that it is."""
    sound = voice(16_000, 2.0)
    plain = encode_audio(encoder, 0.5 * sound)
    shifted = encode_audio(encoder, 0.5 * sound + np.float32(0.3))
    window_frames = -(-encoder.config.n_window // 4)
    inner = slice(window_frames, 50 - window_frames)
    torch.testing.assert_close(shifted[inner], plain[inner], atol=TOLERANCE, rtol=0)
