from __future__ import annotations

import numpy as np
import pytest
import torch

from dfanerf_rt.attributes.model import AttributeModel, mouth_opening
from dfanerf_rt.errors import ClipError
from dfanerf_rt.sync.model import SyncConfig, encode_audio
from dfanerf_rt.train.sync import train_on_pairs, train_sync
from dfanerf_rt.train.sync_corpus import SyncTraining, resting_code

QUICK = SyncTraining(steps=250, batch=16, n_variants=4, dropout=0.1)
ANYBODY = AttributeModel().eval().requires_grad_(False)


def _sung(n_frames: int, seed: int) -> tuple[np.ndarray, torch.Tensor]:
    """Vowels of two colours at random loudness; the first code follows the loudness, the second one the colour."""
    random = np.random.default_rng(seed)
    knots = random.random((2, n_frames // 4 + 2))
    at = np.arange(n_frames) / 4
    loud, colour = (np.interp(at, np.arange(knots.shape[1]), row) for row in knots)
    t = np.arange(n_frames * 640)
    loud_t, colour_t = (np.interp(t / 640, np.arange(n_frames), row) for row in (loud, colour))
    low, high = (sum(np.sin(2 * np.pi * f * t / 16_000) for f in group) for group in ((300, 450, 600), (2000, 2600)))
    sound = 0.05 * 10 ** (1.5 * (loud_t - 1)) * ((1 - colour_t) * low + colour_t * high)
    codes = torch.zeros(n_frames, 32)
    codes[:, 0], codes[:, 1] = torch.from_numpy(4 * loud), torch.from_numpy(4 * colour)
    return (sound + 1e-4 * random.standard_normal(len(t))).astype(np.float32), codes


@pytest.fixture(scope="module")
def trained() -> torch.nn.Module:
    seen: list[float] = []
    encoder = train_on_pairs(
        [_sung(400, 1)], torch.full((32,), -1.0), ANYBODY, training=QUICK, on_progress=lambda f, s: seen.append(f)
    )
    assert seen == sorted(seen) and seen[-1] == 1.0
    return encoder


def test_codes_follow_unseen_sound(trained: torch.nn.Module) -> None:
    sound, codes = _sung(150, 2)
    found = encode_audio(trained, sound)
    for column in (0, 1):
        correlation = np.corrcoef(found[5:-5, column], codes[5:-5, column])[0, 1]
        assert correlation > 0.8, (column, correlation)


def test_silence_rests(trained: torch.nn.Module) -> None:
    quiet = encode_audio(trained, np.zeros(32_000, np.float32))[10:]
    assert quiet.std(dim=0).max() < 1e-4
    # trained silence asks for -1 in each dimension, while codes of sound lie between 0 and 4
    assert quiet[0, 0] < 0.5 and quiet[0, 2:].mean() < -0.6


def test_training_is_reproducible_starts_from_weights_and_stops() -> None:
    pair, rest = _sung(60, 3), torch.zeros(32)
    short = SyncTraining(steps=6, batch=4, n_variants=2)
    first, second = (train_on_pairs([pair], rest, ANYBODY, training=short, seed=4) for _ in range(2))
    for name, tensor in first.state_tensors().items():
        assert torch.equal(tensor, second.state_tensors()[name])
    stopped = train_on_pairs([pair], rest, ANYBODY, training=short, init=first, should_stop=lambda: True)
    assert torch.equal(stopped.gather.weight, first.gather.weight)
    assert stopped.config == first.config
    out_of_time = train_on_pairs([pair], rest, ANYBODY, training=short, init=first, budget_s=1e-9)
    assert torch.equal(out_of_time.gather.weight, first.gather.weight)


def test_too_little_sound_is_refused() -> None:
    sound, codes = _sung(40, 5)
    with pytest.raises(ClipError, match="40 frames with sound"):
        train_on_pairs([(sound, codes)], torch.zeros(32), ANYBODY)


def test_a_clip_rests_where_its_mouth_is_closed() -> None:
    torch.manual_seed(0)
    attributes = AttributeModel().eval().requires_grad_(False)
    sound, codes = _sung(100, 6)
    rest = resting_code(attributes, codes)
    opening = mouth_opening(attributes.decode(codes, torch.zeros(100, 16))[0])
    torch.testing.assert_close(rest, codes[opening.argsort()[:10]].mean(dim=0))
    encoder = train_sync(sound, codes, attributes, SyncConfig(lookahead_ms=60.0), SyncTraining(steps=2, n_variants=1))
    assert encoder.config.lookahead_ms == 60.0
