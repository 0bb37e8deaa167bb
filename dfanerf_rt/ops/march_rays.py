"""Where the rays of a training step are sampled: stratified, in occupied space alone."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from dfanerf_rt.backends.reference.march_rays import MarchSpace, march_space, unit_positions
from dfanerf_rt.errors import ShapeError
from dfanerf_rt.ops.dispatch import dispatch
from dfanerf_rt.ops.render_field import FoldedField, expect


@dataclass(frozen=True)
class RaySamples:
    """Samples of R rays packed one ray after another, N in all."""

    ray: torch.Tensor
    """(N,) int64, the ray of every sample, rising."""
    t: torch.Tensor
    """(N,) distance along the ray in metres, increasing within a ray."""
    offsets: torch.Tensor
    """(R + 1,) int64; samples of ray r are offsets[r] to offsets[r + 1] - 1."""


def sample_positions(space: MarchSpace, samples: RaySamples) -> torch.Tensor:
    """(N, 3) positions in the unit cube of packed samples; differentiable with respect to the space."""
    return unit_positions(space, samples.ray, samples.t).clamp(0.0, 1.0)


@torch.no_grad()
def march_rays(
    folded: FoldedField, directions: torch.Tensor, jitter: torch.Tensor, backend: str | None = None
) -> RaySamples:
    """Samples at near + (i + jitter) step that fall into the box and into occupied cells.

    Args:
        folded: the field of this frame.
        directions: (R, 3) unit directions.
        jitter: (R,) in [0, 1); 0.5 gives the renderer's own samples.
        backend: see :func:`dfanerf_rt.ops.dispatch.dispatch`.

    Raises:
        ShapeError: on other shapes, dtypes or devices, or a range that cannot be marched.
        BackendUnavailable: the backend asked for cannot run here.
    """
    if directions.ndim != 2 or directions.shape[1] != 3 or jitter.shape != directions.shape[:1]:
        found = f"{tuple(directions.shape)} and {tuple(jitter.shape)}"
        raise ShapeError(f"directions and jitter have shapes {found}, expected (R, 3) and (R,)")
    device = folded.table.device
    expect("directions", directions, tuple(directions.shape), torch.float32, device)
    expect("jitter", jitter, tuple(jitter.shape), torch.float32, device)
    folded.check_space()
    space = march_space(folded, directions)
    run = dispatch("march_rays", backend, device)
    return RaySamples(*run(space, jitter, folded.occupancy, folded.near_m, folded.step_m, folded.n_steps))
