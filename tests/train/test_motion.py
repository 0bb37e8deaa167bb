"""Training of the motion model on a motion that is known: two sines."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from dfanerf_rt.errors import ClipError
from dfanerf_rt.motion.model import MotionConfig, MotionVae
from dfanerf_rt.motion.twins import IidVae
from dfanerf_rt.train.motion import MotionTraining, objective, train_motion

CONFIG = MotionConfig(input_dim=2, latent_dim=4, width=16, heads=2, window_frames=3, length_frames=32.0, n_scales=2)
SHORT = MotionTraining(steps=150, batch=8, segment_frames=24, learning_rate=5e-3)


def sines(n_frames: int = 500) -> Tensor:
    """A nod of two seconds and a sway of six, in degrees and millimetres."""
    time = torch.arange(n_frames) / 25
    return torch.stack([3 + 5 * torch.sin(math.pi * time), 100 + 20 * torch.sin(math.pi / 3 * time)], dim=1)


def trained(training: MotionTraining = SHORT, seed: int = 0, **options: object) -> MotionVae:
    torch.manual_seed(seed)
    return train_motion([sines()], MotionVae(CONFIG), training, seed=seed, **options)  # type: ignore[arg-type]


def test_learns_to_reconstruct_what_it_was_not_shown() -> None:
    model = trained()
    unseen = sines(700)[None, 500:]
    error = (model.reconstruct(unseen) - unseen).abs().mean(dim=(0, 1))
    assert error[0] < 0.5 and error[1] < 2.0, error  # a tenth of the amplitudes
    assert not model.training and not any(weight.requires_grad for weight in model.parameters())
    torch.testing.assert_close(model.mean, sines().mean(dim=0))
    torch.testing.assert_close(model.std, sines().std(dim=0))


def test_the_objective_is_the_bound_by_hand() -> None:
    torch.manual_seed(0)
    model, motion, noise = MotionVae(CONFIG), sines(48).view(2, 24, 2), torch.randn(2, 4, 24)
    loss, error, rate = objective(model, motion, noise, beta=0.5)
    posterior = model.posterior(motion)
    decoded = model.decode(posterior.sample(noise))
    by_hand = ((decoded - motion) ** 2).sum() / 2 / 48
    torch.testing.assert_close(error, by_hand)
    torch.testing.assert_close(rate, model.divergence(posterior).sum() / 48)
    torch.testing.assert_close(loss, error + 0.5 * rate)


def test_the_same_seed_gives_the_same_weights() -> None:
    short = MotionTraining(steps=5, batch=4, segment_frames=24)
    one, same, other = trained(short), trained(short), trained(short, seed=1)
    for name, weight in one.state_dict().items():
        assert torch.equal(weight, same.state_dict()[name])
    assert any(not torch.equal(weight, other.state_dict()[name]) for name, weight in one.state_dict().items())


def test_rivals_train_by_the_same_function() -> None:
    torch.manual_seed(0)
    twin = train_motion([sines()], IidVae(CONFIG), MotionTraining(steps=5, batch=4, segment_frames=24))
    assert isinstance(twin, IidVae)


def test_progress_and_an_early_stop() -> None:
    told: list[tuple[float, dict[str, float]]] = []
    training = MotionTraining(steps=50, batch=2, segment_frames=24)
    trained(training, on_progress=lambda fraction, scalars: told.append((fraction, scalars)))
    assert [fraction for fraction, _ in told] == [0.5, 1.0]
    assert set(told[0][1]) == {"error", "rate"}
    trained(training, should_stop=lambda: True)
    trained(training, budget_s=1e-6)


def test_tracks_shorter_than_a_segment() -> None:
    training = MotionTraining(steps=2, batch=2, segment_frames=24)
    model = train_motion([sines(30), 100 * sines(23)], MotionVae(CONFIG), training)
    torch.testing.assert_close(model.mean, sines(30).mean(dim=0))
    with pytest.raises(ClipError, match="longest track of motion has 23 frames, expected 24"):
        train_motion([sines(23)], MotionVae(CONFIG), training)
