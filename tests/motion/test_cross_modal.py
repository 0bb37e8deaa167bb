"""The cross-modal encoder: what it must not see, and that it starts from the Gaussian process."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from dfanerf_rt.errors import AvatarError, ShapeError
from dfanerf_rt.motion.cross_modal import CrossModalConfig, CrossModalEncoder
from dfanerf_rt.motion.model import MotionConfig

MOTION = MotionConfig(input_dim=2, latent_dim=4, width=16, heads=2, window_frames=3, length_frames=16.0, n_scales=2)
CONFIG = CrossModalConfig(sound_dim=3, block_frames=4, past_frames=20, width=16, layers=2, heads=2, window_frames=5)
N_FRAMES = CONFIG.context_frames + CONFIG.block_frames


def encoder(seed: int = 0, opinionated: bool = True) -> CrossModalEncoder:
    torch.manual_seed(seed)
    made = CrossModalEncoder(MOTION, CONFIG)
    if opinionated:
        for layer in (made.network.leave[-1], made.network.beside):
            torch.nn.init.normal_(layer.weight, std=0.3)  # type: ignore[arg-type]
    return made.eval().requires_grad_(False)


def inputs(seed: int = 1) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    known = torch.ones(2, N_FRAMES)
    known[:, -CONFIG.block_frames :] = 0
    sound_known = known.clone()
    sound_known[:, -CONFIG.block_frames] = 1  # the code of the block's first frame has arrived
    return {
        "past": torch.randn(2, 4, CONFIG.past_frames, generator=generator),
        "sound": torch.randn(2, N_FRAMES, 3, generator=generator),
        "sound_known": sound_known,
        "pose": torch.randn(2, N_FRAMES, 2, generator=generator),
        "pose_known": known,
    }


def test_what_is_not_known_is_not_looked_at() -> None:
    model, given = encoder(), inputs()
    expected = model(**given).mean
    hidden = dict(given)
    for name in ("sound", "pose"):
        hidden[name] = torch.where(given[f"{name}_known"][..., None] > 0, given[name], torch.nan)
    torch.testing.assert_close(model(**hidden).mean, expected, rtol=0, atol=0)


@pytest.mark.parametrize("name", ["past", "sound", "pose"])
def test_everything_known_matters(name: str) -> None:
    model, given = encoder(), inputs()
    other = {**given, name: inputs(2)[name]}
    assert (model(**other).mean - model(**given).mean).abs().max() > 1e-3


def test_a_block_depends_on_its_context_alone() -> None:
    """Frames in front of ``context_frames`` change nothing, so that a stream needs to keep no more."""
    model, given = encoder(), inputs()
    longer = {
        name: torch.cat([torch.ones_like(value[:, :7]), value], dim=1) if name != "past" else value
        for name, value in given.items()
    }
    torch.testing.assert_close(model(**longer).mean, model(**given).mean)


def test_untrained_it_is_nearly_the_process() -> None:
    found = encoder(opinionated=False)(**inputs())
    assert found.divergence().max() < 0.05
    torch.testing.assert_close(found.mean, found.prior.mean)  # weak evidence for where the path goes anyway


def test_continuing_block_by_block_keeps_the_spread_of_the_process() -> None:
    """Without evidence the path is an endless sample of the process: variance 1 in every dimension, no drift."""
    model = encoder(opinionated=False)
    generator = torch.Generator().manual_seed(3)
    past = torch.randn(400, 4, 20, generator=generator)
    for _ in range(30):
        block = model.continued(past).sample(torch.randn(400, 4, CONFIG.block_frames, generator=generator))
        past = torch.cat([past, block], dim=-1)[..., -20:]
    assert abs(past.var().item() - 1) < 0.1 and abs(past.mean().item()) < 0.05


def test_a_join_is_no_jump() -> None:
    """Steps onto the first frame of a block are those that the process takes inside: 2 (k(0) - k(1)) on average."""
    model = encoder(opinionated=False)
    generator = torch.Generator().manual_seed(4)
    kernel = MOTION.kernels[0]
    zero, one = torch.zeros(1), torch.ones(1)
    expected = 2 * float(kernel(zero, zero) - kernel(zero, one))
    path = torch.randn(600, 4, 20, generator=generator)
    for _ in range(20):
        noise = torch.randn(600, 4, CONFIG.block_frames, generator=generator)
        path = torch.cat([path, model.continued(path[..., -20:]).sample(noise)], dim=-1)
    steps = path[:, 0].diff(dim=-1).square().mean(dim=0)[59:].view(-1, CONFIG.block_frames)  # first: onto a join
    assert steps[:, 0].mean() == pytest.approx(expected, rel=0.15)
    assert steps[:, 1:].mean() == pytest.approx(expected, rel=0.15)


def test_a_file_gives_the_encoder_back(tmp_path: Path) -> None:
    model, path = encoder(), tmp_path / "cross.safetensors"
    model.save(path)
    again = CrossModalEncoder.load(path)
    assert again.config == CONFIG and again.motion == MOTION
    torch.testing.assert_close(again(**inputs()).mean, model(**inputs()).mean, rtol=0, atol=0)


def test_refuses(tmp_path: Path) -> None:
    model, given = encoder(), inputs()
    with pytest.raises(ShapeError, match="past: found shape"):
        model(**{**given, "past": given["past"][..., 1:]})
    with pytest.raises(ShapeError, match="sound: found shape"):
        model(**{**given, "sound": given["sound"][..., 1:]})
    with pytest.raises(ShapeError, match="no block"):
        model(**{name: value if name == "past" else value[:, :2] for name, value in given.items()})
    with pytest.raises(ValueError, match="block_frames is 0"):
        replace(CONFIG, block_frames=0)
    with pytest.raises(ValueError, match="no multiple"):
        replace(CONFIG, heads=3)
    with pytest.raises(AvatarError, match="block_frames"):
        CrossModalConfig.from_dict({"block_frames": -1})
    tensors = model.state_tensors()
    tensors.pop("network.enter.weight")
    with pytest.raises(AvatarError, match=r"network\.enter\.weight"):
        CrossModalEncoder.from_tensors(tensors, MOTION, CONFIG)


def test_guidance_counts_what_the_sound_adds_several_times() -> None:
    """In natural parameters the evidence is linear in the guidance: 0 is deaf, 1 as trained, 2 as far again."""
    model, given = encoder(), inputs()
    found = {}
    for times in (0.0, 1.0, 2.0):
        other = CrossModalEncoder(MOTION, replace(CONFIG, guidance=times)).eval()
        other.load_state_dict(model.state_dict())
        with torch.no_grad():
            found[times] = other.guided(**given)
    torch.testing.assert_close(found[1.0].mean, model(**given).mean)
    deaf = model(**{**given, "sound_known": torch.zeros_like(given["sound_known"])})
    torch.testing.assert_close(found[0.0].mean, deaf.mean, atol=1e-5, rtol=1e-4)

    def natural(times: float) -> tuple[Tensor, Tensor]:
        factor = found[times].whitened_factor
        precision = factor @ factor.mT
        return precision, (precision @ found[times].whitened_mean[..., None])[..., 0]

    for zero, one, two in zip(*(natural(times) for times in (0.0, 1.0, 2.0)), strict=True):
        sharper = (one - zero).abs() > 1e-3
        torch.testing.assert_close((two - zero)[sharper], 2 * (one - zero)[sharper], atol=1e-3, rtol=0.02)


def test_who_hears_nothing_is_not_guided() -> None:
    given = inputs()
    given["sound_known"] = torch.zeros_like(given["sound_known"])
    model = encoder()
    guided = CrossModalEncoder(MOTION, replace(CONFIG, guidance=9.0)).eval()
    guided.load_state_dict(model.state_dict())
    torch.testing.assert_close(guided.guided(**given).mean, model(**given).mean, rtol=0, atol=0)
    with pytest.raises(AvatarError, match="guidance is -1"):
        CrossModalConfig.from_dict({"guidance": -1.0})
