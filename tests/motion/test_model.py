"""The motion model: what a frame depends on, lengths, files, the objective."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from dfanerf_rt.errors import AvatarError, ShapeError
from dfanerf_rt.motion import transformer
from dfanerf_rt.motion.gaussian import Conditional, Posterior
from dfanerf_rt.motion.model import MotionConfig, MotionVae

CONFIG = MotionConfig(latent_dim=4, width=16, heads=2, window_frames=3, n_scales=2, length_frames=16.0)


@pytest.fixture
def model() -> MotionVae:
    """An untrained model whose every weight matters, with statistics of its own."""
    torch.manual_seed(0)
    model = MotionVae(CONFIG)
    for weight in model.parameters():
        weight.data += 0.2 * torch.randn_like(weight)
    model.mean.copy_(torch.randn(6))
    model.std.copy_(0.1 + torch.rand(6))
    return model.eval().requires_grad_(False)


@pytest.fixture
def path(model: MotionVae) -> torch.Tensor:
    return model.prior(700).sample(torch.randn(1, 4, 700))


def test_a_frame_is_decoded_from_its_past_window_alone(model: MotionVae, path: torch.Tensor) -> None:
    context, whole = CONFIG.context_frames, model.decode(path[..., :60])
    assert context == 6
    changed = path[..., :60].clone()
    changed[..., 30] += 1.0
    differs = (model.decode(changed) - whole).abs().amax(dim=(0, 2)) > 1e-6
    assert differs.nonzero().flatten().tolist() == list(range(30, 30 + context + 1))


@pytest.mark.parametrize("block", [1, 25, 300])
def test_a_path_decoded_in_overlapping_blocks_is_the_path_decoded_at_once(
    model: MotionVae, path: torch.Tensor, block: int
) -> None:
    whole, context = model.decode(path), CONFIG.context_frames
    for start in range(0, path.shape[-1], block):
        first = max(start - context, 0)
        piece = model.decode(path[..., first : start + block])[:, start - first :]
        torch.testing.assert_close(piece, whole[:, start : start + block], atol=1e-5, rtol=0)


def test_long_sequences_are_worked_on_in_pieces_that_change_nothing(
    model: MotionVae, path: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    motion = model.decode(path)
    in_pieces = [*model.encoder(model.normalise(motion)), motion]
    monkeypatch.setattr(transformer, "PIECE_FRAMES", 10_000)
    at_once = [*model.encoder(model.normalise(motion)), model.decode(path)]
    for one, other in zip(in_pieces, at_once, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


def test_the_encoder_sees_the_same_window_on_both_sides(model: MotionVae) -> None:
    motion = torch.randn(1, 60, 6)
    changed = motion.clone()
    changed[:, 30] += 1.0
    before, after = model.encoder(motion)[0], model.encoder(changed)[0]
    differs = (after - before).abs().amax(dim=(0, 1)) > 1e-6
    assert differs.nonzero().flatten().tolist() == list(range(24, 37))


@pytest.mark.parametrize("n_frames", [1, 2, 7, 100])
def test_any_length(model: MotionVae, n_frames: int) -> None:
    motion = torch.randn(2, n_frames, 6)
    posterior = model.posterior(motion)
    assert posterior.mean.shape == (2, 4, n_frames)
    assert posterior.sample(torch.randn(2, 4, n_frames)).isfinite().all()
    assert model.reconstruct(motion).shape == motion.shape
    rate = model.divergence(posterior)
    assert rate.shape == (2,) and (rate > 0).all()


def test_what_the_motion_does_not_say_is_left_to_the_prior(model: MotionVae) -> None:
    """A live head: the path so far is known, and the encoder may say something of the frames to come, or nothing."""
    noise = torch.randn(1, 4, 40)
    path = model.prior(40).sample(noise)
    ahead = Conditional.of(CONFIG.kernels, torch.arange(30), torch.arange(30, 40)).given(path[..., :30])
    silent = Posterior.given(ahead, torch.randn(1, 4, 10), torch.zeros(1, 4, 10))
    torch.testing.assert_close(silent.sample(noise[..., :10]), ahead.sample(noise[..., :10]))
    loud = Posterior.given(ahead, path[..., 30:], torch.full((1, 4, 10), 1e6))
    torch.testing.assert_close(loud.mean, path[..., 30:], atol=1e-2, rtol=0)


def test_units_are_those_of_the_channels(model: MotionVae, path: torch.Tensor) -> None:
    decoded = model.decode(path)
    torch.testing.assert_close(model.normalise(decoded), model.decoder(path), atol=1e-5, rtol=1e-5)


def test_save_and_load(model: MotionVae, path: torch.Tensor, tmp_path: Path) -> None:
    file = tmp_path / "motion.safetensors"
    model.save(file)
    loaded = MotionVae.load(file)
    assert loaded.config == CONFIG
    assert torch.equal(loaded.decode(path), model.decode(path))


def test_unusable_weights_and_settings_are_named(model: MotionVae) -> None:
    tensors = model.state_tensors("pose.")
    assert all(name.startswith("pose.") for name in tensors)
    own = model.state_tensors()
    with pytest.raises(AvatarError, match="tensor 'std' is missing"):
        MotionVae.from_tensors({name: tensor for name, tensor in own.items() if name != "std"}, CONFIG)
    with pytest.raises(AvatarError, match=r"'mean' has shape \(6,\), expected \(16,\)"):
        MotionVae.from_tensors(own, MotionConfig(**{**asdict(CONFIG), "input_dim": 16}))
    assert MotionConfig.from_dict(asdict(CONFIG)) == CONFIG
    for values, said in (
        ({"wide": 3}, "motion settings: unknown key 'wide'"),
        ({"width": 60.5}, "width is 60.5, expected a whole number"),
        ({"width": 10, "heads": 4}, "width 10 is no multiple of 4 heads"),
        ({"layers": 0}, "layers is 0, expected 1 or more"),
        ({"beta": 0.0}, "beta is 0.0, expected more than 0"),
        ({"n_scales": 9}, "9 length scales for"),
        ({"jitter": -1.0}, "expected a length and a jitter"),
    ):
        with pytest.raises(AvatarError, match=said):
            MotionConfig.from_dict({**asdict(CONFIG), **values})


def test_wrong_shapes_are_refused(model: MotionVae) -> None:
    with pytest.raises(ShapeError, match=r"motion: found shape \(10, 6\), expected \(B, T, 6\)"):
        model.posterior(torch.zeros(10, 6))
    with pytest.raises(ShapeError, match=r"latent path: found shape \(1, 6, 10\), expected \(B, 4, T\)"):
        model.decode(torch.zeros(1, 6, 10))
