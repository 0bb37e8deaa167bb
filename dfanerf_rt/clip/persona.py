"""How a synthetic person moves: one set of habits, drawn by chance, that stays as long as the person speaks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

Axes = tuple[float, float, float]
"""About x (a positive angle lowers the nose), y (down), z (into the picture), or along them."""


@dataclass(frozen=True)
class BlinkHabit:
    """When and how a person blinks."""

    per_min: float = 18.0
    """Mean rate, double blinks counted twice."""
    spread: float = 0.65
    """Standard deviation of the logarithm of the intervals: 0 is a clock; a Poisson process would be near 0.83."""
    duration_ms: float = 230.0
    """Median, from the first movement of the lid to the last."""
    duration_spread: float = 0.2
    """Standard deviation of the logarithm of the durations."""
    double_share: float = 0.06
    """Blinks that are followed by a second one at once."""


@dataclass(frozen=True)
class Persona:
    """How a person moves the head and the lids while speaking. Standard deviations unless said otherwise."""

    wander_deg: Axes = (2.4, 2.4, 1.8)
    """Posture that changes by itself, within a fraction of a second to several seconds."""
    restless: float = 1.0
    """The quick part of that, beside the usual."""
    turn_deg: Axes = (2.0, 3.8, 1.6)
    """Where the head comes to rest when it turns to something else."""
    turn_every_s: float = 3.5
    """Mean time between turns; more of them begin in pauses."""
    tempo: float = 1.0
    """All that the head does by itself is that much faster."""
    nod_deg: float = 5.5
    """A nod on a fully stressed syllable."""
    nod_share: float = 0.7
    """Chance of a nod on a fully stressed syllable."""
    nod_delay_s: float = 0.08
    """From the syllable's loudest moment to the lowest point of the head."""
    nod_axes: Axes = (1.0, 0.0, 0.0)
    """Direction of a nod."""
    tilt_deg: float = 2.5
    """A tilt at the end of a phrase."""
    tilt_share: float = 0.5
    """Chance of a tilt there."""
    sway_mm: Axes = (4.0, 2.0, 4.0)
    """How the neck moves with the body."""
    breath_mm: float = 1.0
    """Amplitude of breathing, up and down."""
    breath_hz: float = 0.25
    pivot_m: Axes = (0.0, 0.11, 0.07)
    """The point of the head frame about which the head turns: in the neck, deeper where the back moves too."""
    squint: float = 0.08
    """How far the eyes are narrowed on average, as a share of ARKit's unit."""
    widen: float = 0.06
    """How far they widen on a fully stressed syllable."""
    blink: BlinkHabit = BlinkHabit()


def draw_persona(seed: int, index: int) -> Persona:
    """The persona number ``index`` of a seed. Rates of blinking are spread evenly over 8 to 30 a minute."""
    random = np.random.default_rng([seed, index])

    def about(value: float, spread: float) -> float:
        return float(value * np.exp(random.normal(0.0, spread)))

    usual = Persona()
    amplitude = about(1.0, 0.45)
    share = [about(1.0, 0.25) for _ in range(3)]
    turning = about(1.0, 0.3)
    return Persona(
        wander_deg=_axes(amplitude * value * part for value, part in zip(usual.wander_deg, share, strict=True)),
        turn_deg=_axes(amplitude * turning * value * part for value, part in zip(usual.turn_deg, share, strict=True)),
        restless=about(1.0, 0.45),
        turn_every_s=about(usual.turn_every_s, 0.3),
        tempo=about(1.0, 0.18),
        nod_deg=about(usual.nod_deg, 0.35),
        nod_share=float(random.uniform(0.45, 0.95)),
        nod_delay_s=float(random.uniform(0.04, 0.14)),
        nod_axes=(1.0, float(random.normal(0.0, 0.15)), float(random.normal(0.0, 0.2))),
        tilt_deg=about(usual.tilt_deg, 0.35),
        tilt_share=float(random.uniform(0.2, 0.8)),
        sway_mm=_axes(about(value, 0.4) for value in usual.sway_mm),
        breath_mm=about(usual.breath_mm, 0.4),
        breath_hz=float(random.uniform(0.2, 0.32)),
        pivot_m=(0.0, float(random.uniform(0.07, 0.15)), float(random.uniform(0.03, 0.11))),
        squint=float(random.uniform(0.0, 0.2)),
        widen=float(random.uniform(0.0, 0.12)),
        blink=BlinkHabit(
            per_min=float(random.uniform(8.0, 30.0)),
            spread=float(random.uniform(0.5, 0.85)),
            duration_ms=about(230.0, 0.12),
            duration_spread=float(random.uniform(0.12, 0.25)),
            double_share=float(random.uniform(0.0, 0.12)),
        ),
    )


def _axes(values: Iterable[float]) -> Axes:
    x, y, z = values
    return x, y, z
