from __future__ import annotations

import numpy as np
import torch

from dfanerf_rt.sync.model import AudioEncoder, SyncConfig, encode_audio
from dfanerf_rt.train.calibrate import calibrated


def _encoder(closed: bool = False) -> AudioEncoder:
    """One that is sure whether lips are closed."""
    torch.manual_seed(0)
    encoder = AudioEncoder(SyncConfig(channels=16))
    encoder.code_mean.normal_()
    torch.nn.init.normal_(encoder.head[-1].weight, std=0.5)
    torch.nn.init.zeros_(encoder.head[-1].weight[-1])
    torch.nn.init.constant_(encoder.head[-1].bias[-1:], 20.0 if closed else -20.0)
    return encoder.eval().requires_grad_(False)


def _noise(n_frames: int) -> np.ndarray:
    random = np.random.default_rng(1)
    loud = np.interp(np.arange(n_frames * 640) / 1280, np.arange(n_frames), random.random(n_frames))
    return (0.2 * loud * random.standard_normal(n_frames * 640)).astype(np.float32)


def test_codes_of_another_size_and_place_are_found_again() -> None:
    encoder, sound = _encoder(), _noise(200)
    heard = encode_audio(encoder.undecided(), sound)
    around = heard - heard.mean(0)
    _, _, ways = torch.linalg.svd(around, full_matrices=False)
    first = around @ ways[:1].T @ ways[:1]
    person = 5.0 + 0.3 * around
    result = calibrated(encoder, [(sound, person)], torch.zeros(32))
    # the largest way keeps its size
    torch.testing.assert_close(encode_audio(result.undecided(), sound), person + 0.7 * first, rtol=1e-3, atol=1e-3)
    # neither the lips' odds nor what is heard of the sound are another
    assert torch.equal(result.head[-1].weight[-1], encoder.head[-1].weight[-1])
    assert torch.equal(result.gather.weight, encoder.gather.weight)


def test_what_the_person_does_not_share_goes() -> None:
    encoder, sound = _encoder(), _noise(400)
    encoder.head[-1].weight[2:32] = 0.0
    heard = encode_audio(encoder.undecided(), sound)
    own = torch.zeros(400, 32)
    own[:, 0] = heard[:, 0]
    own[:, 1] = 0.3 * heard[:, 0].std() * torch.randn(400, generator=torch.Generator().manual_seed(2))
    pairs = [(sound[: 250 * 640], own[:250]), (sound[250 * 640 :], own[250:])]
    codes = encode_audio(calibrated(encoder, pairs, torch.zeros(32)).undecided(), sound)
    assert np.corrcoef(codes[:, 0], own[:, 0])[0, 1] > 0.95
    assert float(codes[:, 1].var()) < 0.1 * float(heard[:, 1].var())
    torch.testing.assert_close(codes.mean(0), own.mean(0), rtol=0, atol=0.05)


def test_closed_lips_are_the_persons() -> None:
    encoder, sound = _encoder(closed=True), _noise(100)
    closed = torch.randn(32, generator=torch.Generator().manual_seed(3))
    codes = encode_audio(calibrated(encoder, [(sound, torch.randn(100, 32))], closed), sound)
    torch.testing.assert_close(codes, closed.expand(100, -1), rtol=1e-4, atol=1e-4)
