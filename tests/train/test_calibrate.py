from __future__ import annotations

import numpy as np
import torch

from dfanerf_rt.sync.model import AudioEncoder, SyncConfig, encode_audio
from dfanerf_rt.train.calibrate import calibrated


def _encoder() -> AudioEncoder:
    torch.manual_seed(0)
    encoder = AudioEncoder(SyncConfig(channels=16))
    encoder.code_mean.normal_()
    torch.nn.init.normal_(encoder.head[-1].weight, std=0.5)
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
    result = calibrated(encoder, [(sound, person)])
    # the largest way keeps its size
    torch.testing.assert_close(encode_audio(result.undecided(), sound), person + 0.7 * first, rtol=1e-3, atol=1e-3)
    # one map for both answers, and another one for neither of the lips' odds nor of the sound that is heard
    assert torch.equal(result.head[-1].weight[-1], encoder.head[-1].weight[-1])
    assert torch.equal(result.gather.weight, encoder.gather.weight)


def test_what_the_person_does_not_share_goes() -> None:
    encoder, sound = _encoder(), _noise(400)
    for rows in (slice(2, 32), slice(34, 64)):
        encoder.head[-1].weight[rows] = 0.0
    heard = encode_audio(encoder.undecided(), sound)
    own = torch.zeros(400, 32)
    own[:, 0] = heard[:, 0]
    own[:, 1] = 0.3 * heard[:, 0].std() * torch.randn(400, generator=torch.Generator().manual_seed(2))
    pairs = [(sound[: 250 * 640], own[:250]), (sound[250 * 640 :], own[250:])]
    codes = encode_audio(calibrated(encoder, pairs).undecided(), sound)
    assert np.corrcoef(codes[:, 0], own[:, 0])[0, 1] > 0.95
    assert float(codes[:, 1].var()) < 0.1 * float(heard[:, 1].var())
    torch.testing.assert_close(codes.mean(0), own.mean(0), rtol=0, atol=0.05)
