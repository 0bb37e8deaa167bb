"""The endless stream: the same frames whatever the chunks, state, no seam, no look at sound that is not there."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from dfanerf_rt.errors import ShapeError
from dfanerf_rt.motion.cross_modal import CrossModalConfig, CrossModalEncoder
from dfanerf_rt.motion.model import MotionConfig, MotionVae
from dfanerf_rt.motion.stream import MotionStream

MOTION = MotionConfig(input_dim=6, latent_dim=8, width=16, heads=2, window_frames=3, length_frames=32.0, n_scales=2)
CONFIG = CrossModalConfig(sound_dim=3, past_frames=48, width=16, heads=2, window_frames=6)


@pytest.fixture(scope="module")
def models() -> tuple[MotionVae, CrossModalEncoder]:
    """Random weights; sound matters."""
    torch.manual_seed(0)
    model, encoder = MotionVae(MOTION), CrossModalEncoder(MOTION, CONFIG)
    model.mean.copy_(torch.arange(6.0))
    model.std.fill_(0.1)
    torch.nn.init.normal_(encoder.network.beside.weight, std=0.3)
    encoder.network.leave[-1].bias.data[MOTION.latent_dim :] = 4.0  # type: ignore[union-attr, index]
    return model.eval().requires_grad_(False), encoder.eval().requires_grad_(False)


def speech(n_frames: int, seed: int = 0) -> Tensor:
    return torch.randn(n_frames, 3, generator=torch.Generator().manual_seed(seed))


def frames(stream: MotionStream, sound: Tensor, chunk: int = 1) -> Tensor:
    """As many frames as there are codes, which come ``chunk`` at a time."""
    drawn = []
    for part in sound.split(chunk):
        for code in part:
            stream.hear(code)
        drawn += [stream.next() for _ in part]
    return torch.stack(drawn)


def test_same_seed_same_frames_whatever_the_chunks(models: tuple[MotionVae, CrossModalEncoder]) -> None:
    sound = speech(43)
    expected = frames(MotionStream(*models, seed=3), sound)
    assert expected.shape == (43, 6)
    for chunk in (2, 7, 43):
        torch.testing.assert_close(frames(MotionStream(*models, seed=3), sound, chunk), expected, rtol=0, atol=0)
    other = frames(MotionStream(*models, seed=4), sound)
    assert (other - expected).abs().mean() > 0.01


def test_a_block_depends_on_the_sound_up_to_its_first_frame(models: tuple[MotionVae, CrossModalEncoder]) -> None:
    sound, changed = speech(20), speech(20)
    changed[11:] += 1.0  # blocks begin at 0, 5, 10 and 15
    one, two = (frames(MotionStream(*models), codes) for codes in (sound, changed))
    torch.testing.assert_close(one[:15], two[:15], rtol=0, atol=0)
    assert (one[15:] - two[15:]).abs().max() > 1e-3


def test_goes_on_from_its_state(models: tuple[MotionVae, CrossModalEncoder]) -> None:
    sound, stream = speech(40), MotionStream(*models, seed=5, temperature=0.7)
    frames(stream, sound[:17])
    stream.hear(sound[17])  # a code ahead, in the middle of a block
    state = stream.state()
    expected = frames(stream, sound[18:])
    again = MotionStream(*models, seed=99)
    again.restore(state)
    torch.testing.assert_close(frames(again, sound[18:]), expected, rtol=0, atol=0)


def test_idles_without_sound_and_hears_what_comes_later(models: tuple[MotionVae, CrossModalEncoder]) -> None:
    idle, speaks = MotionStream(*models), MotionStream(*models)
    silent = [torch.stack([stream.next() for _ in range(10)]) for stream in (idle, speaks)]
    torch.testing.assert_close(silent[0], silent[1], rtol=0, atol=0)
    assert silent[0].std(dim=0).min() > 0
    spoken, still_idle = frames(speaks, speech(10)), torch.stack([idle.next() for _ in range(10)])
    assert (spoken[:5] - still_idle[:5]).abs().max() > 1e-3  # the first code belongs to frame 10


def test_deaf_it_is_the_process_as_wide_and_without_seams() -> None:
    """An encoder without opinion: the path is the process, of variance 1; a linear decoder shows it as it is."""
    torch.manual_seed(0)
    model, encoder = MotionVae(MOTION).eval(), CrossModalEncoder(MOTION, CONFIG).eval()
    with torch.no_grad():
        encoder.network.leave[-1].bias[MOTION.latent_dim :] = -12.0  # type: ignore[index]
        for weight in (*model.decoder.network.leave.parameters(), *model.decoder.network.beside.parameters()):
            weight.zero_()
        model.decoder.network.beside.weight[:] = torch.eye(8)[:6]  # type: ignore[index]
    stream = MotionStream(model, encoder, seed=1)
    path = torch.stack([stream.next() for _ in range(6000)]).numpy()
    assert path.var(axis=0) == pytest.approx(1, abs=0.3)
    steps = np.square(np.diff(path, axis=0)).mean(axis=1)
    onto_join, inside = steps[4::5].mean(), np.delete(steps, np.s_[4::5]).mean()
    assert onto_join == pytest.approx(inside, rel=0.1)


def test_temperature_scales_the_chance(models: tuple[MotionVae, CrossModalEncoder]) -> None:
    sound = speech(60)
    warm, cool, frozen = (MotionStream(*models, seed=1, temperature=value) for value in (1.0, 0.5, 0.0))
    wide, narrow = frames(warm, sound), frames(cool, sound)
    assert bool((narrow.diff(dim=0).std(dim=0) < wide.diff(dim=0).std(dim=0)).all())
    other = MotionStream(*models, seed=2, temperature=0.0)
    torch.testing.assert_close(frames(frozen, sound), frames(other, sound), rtol=0, atol=0)
    with pytest.raises(ValueError, match="temperature is -1"):
        warm.temperature = -1


def test_memory_does_not_grow(models: tuple[MotionVae, CrossModalEncoder]) -> None:
    stream = MotionStream(*models)
    frames(stream, speech(500))
    state = stream.state()
    sizes = {name: value.numel() for name, value in state.items() if isinstance(value, Tensor)}
    assert sizes["sound_frames"] <= CONFIG.context_frames + CONFIG.block_frames
    assert sizes["past"] == 8 * CONFIG.past_frames


def test_refuses(models: tuple[MotionVae, CrossModalEncoder]) -> None:
    model, encoder = models
    with pytest.raises(ShapeError, match="continues paths of"):
        MotionStream(model, CrossModalEncoder(replace(MOTION, latent_dim=4), CONFIG))
    with pytest.raises(ShapeError, match="shorter than"):
        MotionStream(model, CrossModalEncoder(MOTION, replace(CONFIG, past_frames=5)))
    stream = MotionStream(model, encoder)
    with pytest.raises(ShapeError, match="audio code: found shape"):
        stream.hear(torch.zeros(32))
    state = stream.state()
    with pytest.raises(ShapeError, match="'past' is missing"):
        stream.restore({name: value for name, value in state.items() if name != "past"})
    with pytest.raises(ShapeError, match="'pose' has shape"):
        stream.restore({**state, "pose": torch.zeros(3, 6)})
