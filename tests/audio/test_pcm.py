"""Sound from a pipe."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import wave

import numpy as np
import pytest

from dfanerf_rt.audio.pcm import PcmSource
from dfanerf_rt.errors import AudioError


def said(n: int) -> np.ndarray:
    return (8000 * np.sin(np.arange(n) * 0.1)).astype(np.int16)


def heard(data: bytes, **arguments: int) -> np.ndarray:
    source = PcmSource(io.BytesIO(data), realtime=False, **arguments)
    source.start()
    parts = []
    while (chunk := source.read()) is not None:
        parts.append(chunk.samples)
    return np.concatenate(parts) if parts else np.zeros(0, np.float32)


def wav(samples: np.ndarray, rate_hz: int, channels: int = 1) -> bytes:
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes(samples.astype("<i2").tobytes())
    return out.getvalue()


def test_raw_pcm_arrives_sample_by_sample() -> None:
    np.testing.assert_array_equal(heard(said(16001).tobytes()), said(16001) / np.float32(32768))


def test_a_byte_too_many_is_no_sample() -> None:
    assert len(heard(said(1000).tobytes() + b"x")) == 1000


def test_rate_and_channels_of_raw_pcm() -> None:
    stereo = np.repeat(said(48000)[:, None], 2, axis=1)
    assert len(heard(stereo.tobytes(), rate_hz=48000, channels=2)) == 16000


def test_a_wav_says_its_own_rate() -> None:
    sound = heard(wav(said(22050), 22050))
    assert len(sound) == 16000 and np.abs(sound).max() == pytest.approx(8000 / 32768, rel=0.02)
    np.testing.assert_array_equal(heard(wav(said(5000), 16000)), said(5000) / np.float32(32768))


def test_what_is_no_sound_is_one_line() -> None:
    eight_bits = bytearray(wav(said(100), 16000))
    eight_bits[34] = 8
    for data, message in (
        (b"", "standard input: ended without any sound"),
        (bytes(eight_bits), "8 bits, expected 16-bit PCM"),
        (wav(said(0), 16000), "ended without any sound"),
        (wav(said(10), 16000)[:12], "a WAV that ends before its sound"),
        (wav(said(10), 16000)[:30], "a WAV whose format is cut off"),
        (b"RIFF0000WAVEdata0000", "does not say its format"),
        (b"RIFF0000WAVELIST\xff\xff\xff\x7f", "a chunk b'LIST' of"),
    ):
        with pytest.raises(AudioError, match=message):
            heard(data)
    with pytest.raises(AudioError, match="sampling rate is 3"):
        PcmSource(io.BytesIO(), rate_hz=3)


def test_slow_sound_is_filled_with_silence_and_ends() -> None:
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb") as stream, os.fdopen(writer, "wb", buffering=0) as sender:
        source = PcmSource(stream)
        source.start()
        sender.write(said(320).tobytes())
        chunks = [source.read() for _ in range(20)]
        sender.write(said(160).tobytes())
        sender.close()
        while (chunk := source.read()) is not None:
            chunks.append(chunk)
    sound = np.concatenate([chunk.samples for chunk in chunks if chunk is not None])
    assert len(sound) >= 3200 and np.count_nonzero(sound) == 2 * np.count_nonzero(said(160)) + np.count_nonzero(
        said(320)[160:]
    )


def test_a_speech_synthesiser_can_be_piped_in() -> None:
    if shutil.which("espeak-ng") is None:
        pytest.skip("needs espeak-ng (Debian: apt install espeak-ng)")
    done = subprocess.run(["espeak-ng", "--stdout", "Good day."], capture_output=True, check=True)
    sound = heard(done.stdout)
    assert 0.4 < len(sound) / 16000 < 3.0 and np.abs(sound).max() > 0.1
