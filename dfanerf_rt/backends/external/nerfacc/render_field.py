"""The renderer in nerfacc and torch (backend "nerfacc"): what a careful user of both would write.

It is the baseline of the GPU benchmark: nerfacc's traversal finds the samples, torch encodes them and runs the network
(in half precision on a GPU), and nerfacc's rendering functions composite them, in rounds, so that rays that have
become opaque take no part in the next one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch

from dfanerf_rt.backends.external.nerfacc import library
from dfanerf_rt.backends.external.nerfacc.march_rays import march_rays
from dfanerf_rt.backends.reference.hash_encode import PRIMES
from dfanerf_rt.backends.reference.march_rays import MarchSpace, march_space, unit_positions
from dfanerf_rt.backends.reference.render_field import MAX_RAW_SIGMA, STOP_TRANSMITTANCE

if TYPE_CHECKING:
    from dfanerf_rt.ops.camera import Camera
    from dfanerf_rt.ops.hash_encode import HashGridConfig
    from dfanerf_rt.ops.render_field import FoldedField

Values = Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]]
"""(N, 3) positions in the unit cube -> density (N,) in 1/m and colour (N, 3)."""
Samples = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
"""ray, t and offsets, as march_rays returns them."""

SAMPLES_A_ROUND = 16
MAX_SAMPLES_A_ROUND = 64
"""Rounds grow longer as rays drop out, so that each keeps the GPU busy."""


def unavailable_reason(backend: str) -> str | None:
    """Why nerfacc cannot render here, or None if it can."""
    return library.cuda_missing_reason()


def render_field(
    folded: FoldedField, camera: Camera, background: torch.Tensor, out: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """See :func:`dfanerf_rt.ops.render_field.render_field`; inputs checked by the caller, on a CUDA GPU."""
    with torch.no_grad():
        return render_with(torch_values(folded), folded, camera, background, out)


def render_with(
    values: Values, folded: FoldedField, camera: Camera, background: torch.Tensor, out: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A picture whose samples nerfacc finds and composites, and ``values`` evaluates."""
    directions = camera.ray_directions(folded.table.device).reshape(-1, 3)
    space = march_space(folded, directions)
    middle = torch.full_like(directions[:, 0], 0.5)
    samples = march_rays(space, middle, folded.occupancy, folded.near_m, folded.step_m, folded.n_steps)
    rgb, transmittance, distance = integrate(values, space, samples, folded.step_m)
    backdrop = background.reshape(-1, 3)
    backdrop = backdrop.float() / 255.0 if backdrop.dtype == torch.uint8 else backdrop
    image = (rgb + transmittance[:, None] * backdrop).clamp(0.0, 1.0)
    shape = (camera.height, camera.width)
    alpha = 1.0 - transmittance
    depth = distance / alpha.clamp(min=1e-6)
    if out is None:
        out = image.reshape(*shape, 3)
    elif out.dtype == torch.uint8:
        out.copy_((image * 255.0).round().to(torch.uint8).reshape(*shape, 3))
    else:
        out.copy_(image.reshape(*shape, 3))
    return out, alpha.reshape(shape), depth.reshape(shape)


def integrate(
    values: Values, space: MarchSpace, samples: Samples, step_m: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Colour (R, 3), transmittance (R,) and weighted distance (R,) of packed samples, round by round.

    Only nerfacc's dense functions are used, which run on any device.
    """
    import nerfacc

    _, t, offsets = samples
    n_rays = len(offsets) - 1
    rgb, distance = t.new_zeros(n_rays, 3), t.new_zeros(n_rays)
    transmittance = t.new_ones(n_rays)
    cursor, end = offsets[:-1].clone(), offsets[1:]
    alive = torch.nonzero(cursor < end)[:, 0]
    while len(alive):
        length = min(max(SAMPLES_A_ROUND, SAMPLES_A_ROUND * n_rays // (4 * len(alive))), MAX_SAMPLES_A_ROUND)
        index = cursor[alive, None] + torch.arange(length, device=t.device)
        valid = index < end[alive, None]
        chosen = index[valid]
        rays = alive[:, None].expand_as(index)[valid]
        sigma, colour, where = t.new_zeros(index.shape), t.new_zeros(*index.shape, 3), t.new_zeros(index.shape)
        sigma[valid], colour[valid] = values(unit_positions(space, rays, t[chosen]))
        where[valid] = t[chosen]

        before = transmittance[alive]
        weights, reaches, _ = nerfacc.render_weight_from_density(
            torch.zeros_like(sigma), torch.full_like(sigma, step_m), sigma, prefix_trans=before[:, None]
        )
        reached = reaches >= STOP_TRANSMITTANCE
        weights = weights * reached
        rgb[alive] += nerfacc.accumulate_along_rays(weights, colour)
        distance[alive] += nerfacc.accumulate_along_rays(weights, where[..., None])[:, 0]
        transmittance[alive] = before * torch.exp(-(sigma * reached).sum(1) * step_m)
        cursor[alive] += length
        alive = alive[(transmittance[alive] >= STOP_TRANSMITTANCE) & (cursor[alive] < end[alive])]
    return rgb, transmittance, distance


def torch_values(folded: FoldedField) -> Values:
    """The field in torch: hash encoding by ``embedding_bag``, the network in half precision where there is a GPU."""
    dtype = torch.float16 if folded.table.is_cuda else torch.float32
    weights = [weight.to(dtype) for weight in folded.weights]
    biases = [bias.to(dtype) for bias in folded.biases]

    def values(positions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        hidden = encode(positions, folded.table, folded.grid).to(dtype)
        for weight, bias in zip(weights[:2], biases[:2], strict=True):
            hidden = torch.relu(torch.nn.functional.linear(hidden, weight, bias))
        raw = torch.nn.functional.linear(hidden, weights[2], biases[2]).float()
        return torch.exp(raw[:, 0].clamp(max=MAX_RAW_SIGMA)), torch.sigmoid(raw[:, 1:])

    return values


def encode(positions: torch.Tensor, table: torch.Tensor, grid: HashGridConfig) -> torch.Tensor:
    """Hash encoding (N, 3) to (N, L*F), all corners of a level in one call; in float32, not differentiable.

    The same function as the reference, which takes many more and smaller steps to be readable and exact.
    """
    corners = torch.cartesian_prod(*[torch.arange(2, dtype=torch.int32, device=positions.device)] * 3)
    primes = [prime - (1 << 32) if prime >= 1 << 31 else prime for prime in PRIMES]  # int32 products wrap round
    encoded = []
    for level in grid.levels:
        scaled = positions.clamp(0.0, 1.0) * level.scale + 0.5
        cell = scaled.floor()
        fraction = (scaled - cell)[:, None]
        weight = torch.where(corners.bool(), fraction, 1.0 - fraction).prod(-1)
        x, y, z = (cell.int()[:, None] + corners).unbind(-1)
        if level.hashed:
            entry = (x * primes[0] ^ y * primes[1] ^ z * primes[2]) & (level.n_entries - 1)
        else:
            entry = (x + (y + z * level.resolution) * level.resolution) % level.n_entries
        rows = table[level.offset : level.offset + level.n_entries]
        encoded.append(torch.nn.functional.embedding_bag(entry, rows, mode="sum", per_sample_weights=weight))
    return torch.cat(encoded, dim=1)
