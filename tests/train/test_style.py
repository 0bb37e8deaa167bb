"""A person's style: spread, speed, range and place of what is generated are those of the person."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dfanerf_rt.motion.style import SLOW_SHARE, Style, Styled, slow_part
from dfanerf_rt.train.style import NEAR_END, fit_style


def wander(n_frames: int, length: float, seed: int, n_channels: int = 2) -> Tensor:
    """Smooth noise of unit variance."""
    reach = torch.arange(-int(4 * length), int(4 * length) + 1)
    kernel = torch.exp(-0.5 * (reach / length) ** 2)
    noise = torch.randn(n_channels, 1, n_frames + len(reach) - 1, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.conv1d(noise, (kernel / kernel.norm())[None, None])[:, 0].mT.contiguous()


def moved(style: Style, simulated: Tensor) -> Tensor:
    styled = Styled(style, simulated[0])
    return torch.stack([styled.next(frame) for frame in simulated])


def fitted(simulated: Tensor, motion: Tensor) -> Style:
    return fit_style(simulated, motion, motion.mean(dim=0), motion.std(dim=0))


def test_the_slow_part_is_a_low_pass_filter() -> None:
    step = torch.cat([torch.zeros(1, 1), torch.ones(50, 1)])
    assert slow_part(step)[10, 0] == pytest.approx(1 - (1 - SLOW_SHARE) ** 10, rel=1e-5)
    torch.testing.assert_close(slow_part(step[1:], torch.ones(1)), step[1:])


def test_a_calm_person_moves_as_slowly_and_as_far_as_the_person_did() -> None:
    quick = wander(9000, 20.0, 0) + 0.4 * wander(9000, 3.0, 1)
    calm = 5 + torch.tensor([0.1, 3.0]) * (wander(6000, 20.0, 2) + 0.15 * wander(6000, 3.0, 6))
    found = moved(fitted(quick, calm), quick)
    assert (found.diff(dim=0).std(dim=0) / calm.diff(dim=0).std(dim=0)).tolist() == pytest.approx([1, 1], abs=0.25)
    assert (found.std(dim=0) / calm.std(dim=0)).tolist() == pytest.approx([1, 1], abs=0.12)
    assert (found.mean(dim=0) - calm.mean(dim=0)).abs().max() < 0.3


def test_never_leaves_the_range_nor_rests_at_its_ends() -> None:
    """A person who moves between two places evenly: a Gaussian of that spread would lie beyond them for long."""
    simulated = wander(9000, 25.0, 3)
    person = torch.sin(torch.linspace(0, 80, 3000))[:, None].repeat(1, 2) * torch.tensor([1.0, 0.02])
    style = fitted(simulated, person)
    found = moved(style, simulated)
    assert bool((found.abs() <= person.abs().amax(dim=0) + 1e-6).all())
    own = (person.abs() / person.amax(dim=0) > NEAR_END).float().mean()
    assert (found.abs() / person.amax(dim=0) > NEAR_END).float().mean() <= 2 * own
    assert float((found.std(dim=0) / person.std(dim=0)).min()) > 0.6


def test_a_few_seconds_are_compared_with_a_few_seconds() -> None:
    """In 2 s a slow motion spreads less than it does in the end: what is generated must do so too."""
    simulated, person = wander(9000, 40.0, 4), wander(60, 40.0, 5)
    style = fitted(simulated, person)
    assert bool(torch.isfinite(torch.cat([style.slow, style.quick, style.centre])).all())
    assert bool((moved(style, simulated) <= person.amax(dim=0) + 1e-6).all())


def test_a_channel_that_never_moves_stays() -> None:
    person = wander(500, 10.0, 6)
    person[:, 1] = 0.25
    found = moved(
        fit_style(wander(5000, 10.0, 7), person, person.mean(0), person.std(0).clamp_min(1e-6)), wander(500, 10.0, 8)
    )
    torch.testing.assert_close(found[:, 1], torch.full((500,), 0.25))


def test_minutes_are_evener_than_by_chance() -> None:
    simulated = wander(30_000, 60.0, 9)
    motion = wander(9000, 60.0, 10)
    style = fitted(simulated[:9000], motion)
    slow = slow_part(simulated)
    plain = style.slow * slow + style.quick * (simulated - slow)
    spreads = [each.reshape(20, 1500, 2).std(dim=1) for each in (plain, moved(style, simulated))]
    plain_uneven, uneven = (each.std(dim=0) / each.mean(dim=0) for each in spreads)
    assert bool((uneven < 0.85 * plain_uneven).all())


def test_channels_of_an_eye_code_keep_their_directions() -> None:
    """Two channels that are one movement, in a person whose second channel seems to move half as much by chance."""
    one = wander(6000, 20.0, 11, 1)
    simulated = torch.cat([one, one], dim=1)
    motion = wander(3000, 20.0, 12, 2) * torch.tensor([2.0, 0.5])
    style = fit_style(simulated, motion, motion.mean(0), motion.std(0), together=True)
    assert float((style.slow / style.std).diff().abs()) < 1e-5 and not bool(style.usual.any())
    away = (moved(style, simulated) - style.centre) / style.std
    inside = (away.abs() < 1.0).all(dim=1)
    torch.testing.assert_close(away[inside, 0], away[inside, 1], atol=1e-4, rtol=1e-3)
