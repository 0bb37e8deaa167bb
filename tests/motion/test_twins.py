"""The rivals of the motion model: as large as it, and with the prior and posterior that they stand for."""

from __future__ import annotations

import pytest
import torch
from torch.distributions import Normal
from torch.distributions import kl_divergence as reference_kl

from dfanerf_rt.motion.gaussian import ChainGaussian, kl_divergence
from dfanerf_rt.motion.model import MotionConfig, MotionVae
from dfanerf_rt.motion.twins import TWINS, BothWaysLstm, ChainVae, IidVae, WindowMlp, n_weights

SMALL = MotionConfig(latent_dim=4, width=16, heads=2, window_frames=3, n_scales=2)


@pytest.mark.parametrize("name", TWINS)
@pytest.mark.parametrize("config", [MotionConfig(), MotionConfig(input_dim=16, width=96, layers=3)])
def test_all_have_about_as_many_weights(name: str, config: MotionConfig) -> None:
    model, twin = MotionVae(config), TWINS[name](config)
    for part in ("encoder", "decoder"):
        wanted = n_weights(getattr(model, part))
        assert n_weights(getattr(twin, part)) == pytest.approx(wanted, rel=0.05)


@pytest.mark.parametrize("name", TWINS)
@pytest.mark.parametrize("n_frames", [1, 30])
def test_all_encode_and_decode_any_length(name: str, n_frames: int) -> None:
    torch.manual_seed(0)
    twin = TWINS[name](SMALL)
    motion = torch.randn(2, n_frames, 6)
    posterior = twin.posterior(motion)
    latent = posterior.sample(torch.randn(posterior.mean.shape))
    assert latent.shape == (2, 4, n_frames) and twin.decode(latent).shape == motion.shape
    assert twin.divergence(posterior).shape == (2,)
    assert twin.prior(n_frames).sample(torch.randn(3, 4, n_frames)).shape == (3, 4, n_frames)


def test_divergence_of_independent_frames() -> None:
    twin = IidVae(SMALL)
    posterior = twin.posterior(torch.randn(2, 9, 6))
    assert isinstance(posterior, ChainGaussian) and not posterior.carry.any()
    expected = reference_kl(Normal(posterior.mean, posterior.scale), Normal(0.0, 1.0)).sum((-2, -1))
    torch.testing.assert_close(twin.divergence(posterior), expected)
    torch.testing.assert_close(kl_divergence(posterior, twin.prior(9)).sum(-1), expected)


def test_the_chain_correlates_frames_and_has_the_models_prior() -> None:
    twin = ChainVae(SMALL)
    posterior = twin.posterior(torch.randn(2, 9, 6))
    assert isinstance(posterior, ChainGaussian) and posterior.carry.abs().min() > 0
    assert torch.equal(twin.prior(9).factor, MotionVae(SMALL).prior(9).factor)


def test_a_perceptron_sees_its_window_and_an_lstm_everything() -> None:
    torch.manual_seed(0)
    x = torch.randn(1, 40, 3)
    changed = x.clone()
    changed[:, 20] += 1
    for network, seen in ((WindowMlp(3, 2, 8, context=4), range(16, 25)), (BothWaysLstm(3, 2, 8), range(40))):
        differs = (network(changed) - network(x)).abs().amax(dim=(0, 2)) > 0
        assert set(differs.nonzero().flatten().tolist()) <= set(seen)
        assert differs[16:25].all()
