"""Samples that weigh nothing are left out of a step, and what is left gives the same picture."""

from __future__ import annotations

import torch

from dfanerf_rt.field.field import field_values
from dfanerf_rt.ops.composite_rays import composite_rays
from dfanerf_rt.ops.march_rays import march_rays, march_space, sample_positions
from dfanerf_rt.render.synthetic import head_camera, head_field
from dfanerf_rt.train.thin import LOOK_COST, thin_samples


def test_the_rest_gives_the_same_colours() -> None:
    folded, directions = head_field(), head_camera(48).ray_directions().reshape(-1, 3)
    samples = march_rays(folded, directions, torch.full((len(directions),), 0.5))
    seen = thin_samples(folded, directions, samples, 1e-4, 0.0, torch.Generator().manual_seed(0))
    kept = seen.samples
    assert 0 < len(kept.t) < len(samples.t)
    assert seen.cost == len(kept.t) + LOOK_COST * len(samples.t)
    assert int(kept.offsets[-1]) == len(kept.t) and torch.equal(kept.ray, kept.ray.sort().values)

    def colours(chosen: object) -> torch.Tensor:
        sigma, raw = field_values(folded, sample_positions(march_space(folded, directions), chosen))
        return composite_rays(sigma, torch.sigmoid(raw), chosen, folded.step_m).rgb

    assert float((colours(kept) - colours(samples)).abs().max()) < 0.01


def test_a_share_of_the_light_ones_stays() -> None:
    folded, directions = head_field(), head_camera(48).ray_directions().reshape(-1, 3)
    samples = march_rays(folded, directions, torch.full((len(directions),), 0.5))
    every = thin_samples(folded, directions, samples, 2.0, 1.0, torch.Generator().manual_seed(0)).samples
    assert torch.equal(every.t, samples.t) and torch.equal(every.offsets, samples.offsets)
    half = thin_samples(folded, directions, samples, 2.0, 0.5, torch.Generator().manual_seed(0)).samples
    assert 0.45 < len(half.t) / len(samples.t) < 0.55
