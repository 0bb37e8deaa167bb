from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
import torch

from dfanerf_rt.audio.sources import load_audio
from dfanerf_rt.errors import ShapeError
from dfanerf_rt.sync.model import AudioEncoder, SyncConfig, encode_audio
from dfanerf_rt.sync.stream import StreamingSync

SENTENCE = Path(__file__).resolve().parents[2] / "dfanerf_rt" / "assets" / "demo_sentence.wav"


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


@pytest.mark.parametrize(("before_ms", "after_ms"), [(100.0, 200.0), (200.0, 0.0), (60.0, 80.0)])
def test_another_lookahead_goes_on_without_losing_a_code(
    encoder: AudioEncoder, before_ms: float, after_ms: float
) -> None:
    sound = _sound(20_133)
    before, after = encoder.with_lookahead(before_ms), encoder.with_lookahead(after_ms)
    stream = StreamingSync(before)
    first = stream.push(sound[:9000])
    stream.continue_with(after)
    assert stream.lookahead_ms == after_ms
    rest = torch.cat([stream.push(sound[9000:]), stream.flush()])
    torch.testing.assert_close(first, encode_audio(before, sound)[: len(first)], atol=1e-5, rtol=0)
    torch.testing.assert_close(rest, encode_audio(after, sound)[len(first) :], atol=1e-5, rtol=0)


def test_an_encoder_that_hears_otherwise_is_refused_and_nothing_changes(encoder: AudioEncoder) -> None:
    other = AudioEncoder(SyncConfig(past_ms=215.0)).eval().requires_grad_(False)
    stream = StreamingSync(encoder)
    assert not stream.can_continue_with(other) and stream.can_continue_with(encoder.with_lookahead(0.0))
    with pytest.raises(ShapeError, match="cannot go on"):
        stream.continue_with(other)
    assert stream.encoder is encoder


def test_gliding_takes_a_step_every_ten_frames(encoder: AudioEncoder) -> None:
    stream = StreamingSync(encoder.with_lookahead(100.0))
    sound = _sound(640 * 50)
    seen = []
    for start in range(0, len(sound), 160):
        if start == 640 * 10:
            stream.glide(encoder.with_lookahead(ms) for ms in (80.0, 60.0, 40.0))
        stream.push(sound[start : start + 160])
        seen.append((stream.n_codes, stream.lookahead_ms))
    steps = [(n, ms) for (n, ms), (_, before) in zip(seen[1:], seen[:-1], strict=True) if ms != before]
    assert [ms for _, ms in steps] == [80.0, 60.0, 40.0]
    assert [n for n, _ in steps] == pytest.approx([8, 18, 28], abs=1)
    assert stream.n_codes == (len(sound) - 40 * 16) // 640 + 1


@pytest.mark.slow
def test_a_mouth_that_glides_moves_no_faster_than_one_that_speaks() -> None:
    encoder, sound = AudioEncoder.bundled(), load_audio(SENTENCE)
    plain = StreamingSync(encoder.with_lookahead(100.0)).push(sound)
    stream = StreamingSync(encoder.with_lookahead(100.0))
    stream.push(sound[:16_000])
    stream.glide(encoder.with_lookahead(ms) for ms in (80.0, 60.0, 40.0, 20.0, 0.0))
    down = [stream.push(sound[start : start + 160]) for start in range(16_000, 56_000, 160)]
    stream.glide(encoder.with_lookahead(ms) for ms in range(20, 220, 20))
    up = [stream.push(sound[start : start + 160]) for start in range(56_000, len(sound), 160)]
    moved = torch.cat(down + up).diff(dim=0).norm(dim=1)
    usual = plain.diff(dim=0).norm(dim=1)
    assert stream.lookahead_ms == 200.0
    assert float(moved.max()) < 1.2 * float(usual.max())


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
