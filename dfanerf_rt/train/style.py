"""A person's style, such that generated motion has the place, spread, speed and range of the person's own."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from dfanerf_rt.motion.style import Evened, Style, slow_part
from dfanerf_rt.motion.track import FPS

MINUTE_FRAMES = round(60 * FPS)
QUICK_OVER_SLOW = (0.1, 3.0)
"""A part is never worth more, or less, than so many times what the other is."""
NEAR_END = 0.9
"""Of the way from the middle of the range to its end; motion should not rest beyond."""
NEAR_SHARE = 0.03
"""Share of the frames that may be there, or twice the person's own share where that is more."""
MORE_SPREAD = 1.06
"""Of the person's own."""
_SCALES = [1.3 - 0.025 * step for step in range(29)]


def fit_style(simulated: Tensor, motion: Tensor, mean: Tensor, std: Tensor, together: bool = False) -> Style:
    """Fit the slow and the quick part of generated motion to a person's motion, channel by channel.

    First their two sizes, such that spread and speed are the person's; both are compared within stretches as long as
    the person's recording, a minute at most, since a motion that is watched for longer spreads further. Then both
    together are made smaller or larger, such that the spread that evening and the soft limit leave is the person's,
    and a little more, so that a still minute is not frozen; unless the head would rest at the ends of the range more
    often than the person did.

    Args:
        simulated: (S, C) normalised motion of the models.
        motion: (T, C) of the person, in units.
        mean, std: (C,) by which the person's motion is normalised.
        together: one size for all channels, in units of ``std``, and nothing evened. The channels of an eye code are no
            movements of their own: lids open along one direction of it, and channels of different sizes would bend it.
    """
    n_frames = min(len(motion), MINUTE_FRAMES, len(simulated))
    slow = slow_part(simulated)
    parts = torch.stack([slow, simulated - slow], dim=-1)
    spread, speed = _moments(_stretches(parts, n_frames)), _moments(parts.diff(dim=0)[None])
    wanted_spread = _stretches(motion, n_frames).var(dim=1).mean(dim=0)
    wanted_speed = motion.diff(dim=0).var(dim=0)
    if together:
        # Of motion in units of std, the mean of all channels.
        spread, speed = (moments.mean(dim=0, keepdim=True).expand_as(moments) for moments in (spread, speed))
        wanted_spread, wanted_speed = (
            (each / std**2).mean().expand(len(std)) for each in (wanted_spread, wanted_speed)
        )
    ratio = _quick_over_slow(spread, speed, wanted_speed / wanted_spread.clamp_min(1e-20))
    weights = torch.stack([torch.ones_like(ratio), ratio], dim=-1)
    size = (wanted_spread / _quadratic(spread, weights)).sqrt() * (std if together else 1)
    away = parts[..., 0] * size + parts[..., 1] * size * ratio
    watched = Evened(away.std(dim=0), away[0])
    usual = torch.stack([watched.watch(frame) for frame in away]).mean(dim=0) * (not together)
    evening = Evened(usual, away[0])
    sized = Style(mean, std, mean, size, size * ratio, usual, motion.amin(dim=0), motion.amax(dim=0))
    return _within(sized, torch.stack([evening.next(frame) for frame in away]), motion, n_frames, together)


def _within(style: Style, away: Tensor, motion: Tensor, n_frames: int, together: bool) -> Style:
    """The style made smaller or larger, and its centre moved, by what the soft limit does to the motion."""
    limit = style.soft_range()
    wanted = _stretches(motion, n_frames).std(dim=1).mean(dim=0)
    near = (2 * _near_share(motion, style)).clamp_min(NEAR_SHARE)
    near = near.mean().expand_as(near) if together else near
    chosen = torch.full_like(style.mean, _SCALES[-1])
    settled = torch.zeros_like(chosen, dtype=torch.bool)
    centre = style.centre.clone()
    for scale in _SCALES:
        at = style.mean + (style.mean - limit(style.mean + scale * away).mean(dim=0))
        limited = limit(at + scale * away)
        spread, resting = (
            _stretches(limited, n_frames).std(dim=1).mean(dim=0) / wanted.clamp_min(1e-9),
            _near_share(limited, style),
        )
        if together:
            spread, resting = spread.mean().expand_as(spread), resting.mean().expand_as(resting)
        fits = (spread <= MORE_SPREAD) & (resting <= near)
        now = fits & ~settled
        chosen, centre = torch.where(now, scale, chosen), torch.where(now, at, centre)
        settled |= fits
    return replace(
        style, centre=centre, slow=style.slow * chosen, quick=style.quick * chosen, usual=style.usual * chosen
    )


def _near_share(motion: Tensor, style: Style) -> Tensor:
    """(C,) share of the frames near an end of the range."""
    middle, reach = (style.low + style.high) / 2, ((style.high - style.low) / 2).clamp_min(1e-9)
    return (((motion - middle) / reach).abs() > NEAR_END).float().mean(dim=0)


def _quick_over_slow(spread: Tensor, speed: Tensor, wanted: Tensor) -> Tensor:
    """(C,) size of the quick part, the slow one's being 1, at which speed^2 over spread^2 is as ``wanted`` (C,)."""
    low, high = (torch.full_like(wanted, end) for end in QUICK_OVER_SLOW)
    for _ in range(40):
        middle = (low * high).sqrt()
        weights = torch.stack([torch.ones_like(middle), middle], dim=-1)
        found = _quadratic(speed, weights) / _quadratic(spread, weights)
        low, high = torch.where(found < wanted, middle, low), torch.where(found < wanted, high, middle)
    return (low * high).sqrt()


def _moments(parts: Tensor) -> Tensor:
    """(C, 2, 2) covariance of the two parts (M, T, C, 2) within stretches, their mean."""
    centred = parts - parts.mean(dim=1, keepdim=True)
    return torch.einsum("mtci,mtcj->cij", centred, centred) / (parts.shape[0] * max(parts.shape[1] - 1, 1))


def _quadratic(moments: Tensor, weights: Tensor) -> Tensor:
    """(C,) variance of the parts' sum with these weights (C, 2)."""
    return torch.einsum("ci,cij,cj->c", weights, moments, weights).clamp_min(1e-20)


def _stretches(motion: Tensor, n_frames: int) -> Tensor:
    """(T, ...) as whole stretches (M, n_frames, ...)."""
    n = len(motion) // n_frames
    return motion[: n * n_frames].reshape(n, n_frames, *motion.shape[1:])
