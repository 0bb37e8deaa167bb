from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch

from dfanerf_rt.audio.mfcc import mfcc
from dfanerf_rt.errors import AvatarError, ShapeError
from dfanerf_rt.sync.model import AudioEncoder, SyncConfig, encode_audio, window_features


def test_the_window_is_what_the_config_says() -> None:
    config = SyncConfig(lookahead_ms=100.0, past_ms=315.0)
    # (1600 - 120 - 200) // 160 and (5040 + 120 - 200) // 160 feature frames around the frame's own
    assert (config.n_ahead, config.n_past, config.n_window) == (8, 31, 40)
    assert config.effective_lookahead_ms == 100.0
    sound = np.random.default_rng(0).standard_normal(16_000).astype(np.float32)
    rows = window_features(sound, 20, config)
    assert rows.shape == (4 * 19 + 40, 28)
    # the own feature frame of video frame 10 is centred at sample 6400 + 120
    np.testing.assert_allclose(rows[4 * 10 + config.n_past], mfcc(sound[6320:6720])[0], atol=1e-4)


@pytest.mark.parametrize(("lookahead_ms", "effective_ms"), [(0, 0), (40, 40), (80, 80), (110, 100), (200, 200)])
def test_a_shorter_lookahead_hears_less_and_is_otherwise_the_same(lookahead_ms: float, effective_ms: float) -> None:
    torch.manual_seed(0)
    encoder = AudioEncoder(SyncConfig(channels=16)).eval()
    shorter = encoder.with_lookahead(lookahead_ms)
    assert shorter.config.effective_lookahead_ms == effective_ms
    sound = np.random.default_rng(0).standard_normal(16_000).astype(np.float32)
    codes = encode_audio(shorter, sound)
    # What is left out are the taps that see ahead: with their weights at 0, the long window says the same.
    blind = AudioEncoder(encoder.config).eval()
    blind.load_state_dict(encoder.state_dict())
    with torch.no_grad():
        blind.gather.weight[:, :, shorter.config.n_taps :] = 0.0
    torch.testing.assert_close(codes, encode_audio(blind, sound), atol=1e-5, rtol=0)
    with pytest.raises(ValueError, match="trained for 0 to"):
        shorter.with_lookahead(lookahead_ms + 10)


def test_length_of_codes() -> None:
    encoder = AudioEncoder(SyncConfig()).eval()
    for n_samples, n_codes in ((0, 0), (1, 1), (640, 1), (641, 2), (16_000, 25)):
        assert encode_audio(encoder, np.zeros(n_samples, np.float32)).shape == (n_codes, 32)
    assert encode_audio(encoder, np.zeros(640, np.float32), 7).shape == (7, 32)


def test_loudness_far_outside_of_training_is_held() -> None:
    encoder = AudioEncoder(SyncConfig()).eval()
    extreme = torch.full((1, 50, 28), 1e6)
    assert encoder.normalise(extreme).max() == encoder.normalise(2 * extreme).max() < 10


def test_lips_close_where_that_is_probable_enough() -> None:
    torch.manual_seed(0)
    encoder = AudioEncoder(SyncConfig(channels=16, close_from=0.2, close_at=0.6)).eval()
    shares = encoder.decide(torch.tensor([0.0, 0.2, 0.3, 0.4, 0.6, 1.0]))
    torch.testing.assert_close(shares, torch.tensor([0.0, 0.0, 0.25, 0.5, 1.0, 1.0]))
    x = torch.randn(1, 60, 28)
    with torch.no_grad():
        for bias, which in ((-50.0, 0), (50.0, 1)):  # the last answer is the log odds of closed lips
            encoder.head[-1].bias[-1] = bias
            torch.testing.assert_close(encoder.from_normalised(x), encoder.answers(x)[which])
    undecided = encoder.undecided()
    torch.testing.assert_close(undecided.decide(torch.tensor([0.0, 0.3, 1.0])), torch.tensor([0.0, 0.3, 1.0]))
    assert torch.equal(undecided.gather.weight, encoder.gather.weight)
    with pytest.raises(ValueError, match=r"close from 0.5 to 0.5"):
        SyncConfig(close_from=0.5, close_at=0.5)


def test_save_and_load(tmp_path: Path) -> None:
    torch.manual_seed(0)
    encoder = AudioEncoder(SyncConfig(lookahead_ms=60.0, channels=16)).eval()
    path = tmp_path / "sync.safetensors"
    encoder.save(path)
    loaded = AudioEncoder.load(path)
    assert loaded.config == encoder.config
    sound = np.random.default_rng(0).standard_normal(6400).astype(np.float32)
    torch.testing.assert_close(encode_audio(loaded, sound), encode_audio(encoder, sound))


def test_unusable_weights_and_settings_are_named() -> None:
    config = SyncConfig()
    tensors = AudioEncoder(config).state_tensors()
    with pytest.raises(AvatarError, match=r"'gather\.weight' is missing"):
        AudioEncoder.from_tensors({k: v for k, v in tensors.items() if k != "gather.weight"}, config)
    with pytest.raises(AvatarError, match=r"'trunk\.0\.weight' has shape"):
        AudioEncoder.from_tensors(tensors, SyncConfig(channels=32))
    assert SyncConfig.from_dict(asdict(config)) == config
    with pytest.raises(AvatarError, match="sync settings: unknown key 'width'"):
        SyncConfig.from_dict({"width": 3})
    with pytest.raises(AvatarError, match="lookahead_ms"):
        SyncConfig.from_dict({"lookahead_ms": "much"})
    with pytest.raises(AvatarError, match="damaged sync settings"):
        SyncConfig.from_dict({"lookahead_ms": 20.0, "past_ms": 40.0})
    with pytest.raises(ValueError, match="18 or more"):
        SyncConfig(lookahead_ms=20.0, past_ms=40.0)


def test_wrong_features_are_refused() -> None:
    encoder = AudioEncoder(SyncConfig())
    with pytest.raises(ShapeError, match="expected \\(B, T, 28\\)"):
        encoder(torch.zeros(1, 30, 13))
    with pytest.raises(ShapeError, match="49 frames, expected 50"):
        encoder(torch.zeros(1, 49, 28))
