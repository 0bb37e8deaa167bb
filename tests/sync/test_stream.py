from __future__ import annotations

import time

import numpy as np
import pytest
import torch

from dfanerf_rt.sync.model import AudioEncoder, SyncConfig, encode_audio
from dfanerf_rt.sync.stream import StreamingSync


@pytest.fixture(scope="module")
def encoder() -> AudioEncoder:
    torch.manual_seed(0)
    made = AudioEncoder(SyncConfig()).requires_grad_(False)
    made.feature_mean.normal_(std=10.0)
    made.feature_std.fill_(20.0)
    made.head[-1].weight.mul_(100.0)
    return made.eval()


def _sound(n_samples: int) -> np.ndarray:
    random = np.random.default_rng(1)
    return (0.1 * random.standard_normal(n_samples) * np.sin(np.arange(n_samples) / 900.0)).astype(np.float32)


@pytest.mark.parametrize("lookahead_ms", [0.0, 100.0, 200.0])
@pytest.mark.parametrize("chunk", [16, 160, 441, 640, 3200, 16_000])
def test_streaming_equals_offline(encoder: AudioEncoder, chunk: int, lookahead_ms: float) -> None:
    sound = _sound(20_133)
    encoder = encoder.with_lookahead(lookahead_ms)
    stream = StreamingSync(encoder)
    parts = [stream.push(sound[start : start + chunk]) for start in range(0, len(sound), chunk)]
    codes = torch.cat([*parts, stream.flush()])
    expected = encode_audio(encoder, sound)
    assert codes.shape == expected.shape == (32, 32)  # 20133 / 640 = 31.5: 32 frames begin within the sound
    torch.testing.assert_close(codes, expected, atol=1e-5, rtol=0)


def test_a_code_comes_with_the_last_sample_of_its_lookahead(encoder: AudioEncoder) -> None:
    stream = StreamingSync(encoder)
    assert encoder.config.lookahead_ms - 20 < stream.lookahead_ms <= encoder.config.lookahead_ms
    sound = _sound(8000)
    for frame in range(3):
        due = frame * 640 + stream.lookahead_samples
        assert len(stream.push(sound[stream.n_samples : due - 1])) == 0
        assert len(stream.push(sound[due - 1 : due])) == 1


def test_a_code_depends_on_its_window_alone(encoder: AudioEncoder) -> None:
    config = encoder.config
    sound = _sound(16_000)
    changed = sound.copy()
    edge = 12 * 640 + int(config.lookahead_ms * 16)
    changed[edge:] = 0.5
    changed[: 12 * 640 - int(config.past_ms * 16)] = -0.5
    before, after = encode_audio(encoder, sound), encode_audio(encoder, changed)
    torch.testing.assert_close(before[12], after[12], atol=1e-5, rtol=0)
    assert (before[13] - after[13]).abs().max() > 1e-3
    assert (before[11] - after[11]).abs().max() > 1e-3


def test_reset_begins_anew(encoder: AudioEncoder) -> None:
    stream = StreamingSync(encoder)
    sound = _sound(8000)
    first = stream.push(sound)
    stream.reset()
    torch.testing.assert_close(stream.push(sound), first)
    stream.reset()
    assert stream.flush().shape == (0, 32)


def test_forty_milliseconds_cost_under_two(encoder: AudioEncoder) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        stream = StreamingSync(encoder)
        sound = _sound(640 * 200)
        spent = []
        for start in range(0, len(sound), 640):
            begin = time.process_time()
            stream.push(sound[start : start + 640])
            spent.append(time.process_time() - begin)
    finally:
        torch.set_num_threads(threads)
    assert np.median(spent) < 2e-3
    assert len(stream.features) <= encoder.config.n_window + 4
