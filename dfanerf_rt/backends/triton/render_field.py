"""One frame of a folded field by one Triton kernel: for GPUs without a built extension."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch

from dfanerf_rt.backends.reference.march_rays import march_space
from dfanerf_rt.backends.triton.hash_encode import level_table
from dfanerf_rt.backends.triton.machine import DEVICES, unavailable_reason
from dfanerf_rt.errors import ShapeError

if TYPE_CHECKING:
    from dfanerf_rt.ops.camera import Camera
    from dfanerf_rt.ops.render_field import FoldedField

__all__ = ["DEVICES", "render_field", "render_frame", "unavailable_reason"]

Precision = Literal["float32", "float16"]
PROGRAMS_PER_PROCESSOR = 4
MIN_DOT = 16
"""Least inner and outer size of a product on tensor cores."""
MAX_HIDDEN = 128
MAX_CODE = 128
"""Largest hidden layer, and width of the encoding, that a program holds."""
MAX_TABLE = 2**31 - 1
"""Numbers of the table, whose places the kernel counts in 32 bits."""


def render_field(
    folded: FoldedField, camera: Camera, background: torch.Tensor, out: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """See :func:`dfanerf_rt.ops.render_field.render_field`; in float32, inputs checked by the caller."""
    image = out if out is not None else torch.empty(camera.height, camera.width, 3, device=folded.table.device)
    alpha, depth = render_frame(folded, camera, background, image, "float32")
    return image, alpha, depth


@torch.no_grad()
def render_frame(
    folded: FoldedField, camera: Camera, background: torch.Tensor, image: torch.Tensor, precision: Precision
) -> tuple[torch.Tensor, torch.Tensor]:
    """Render into ``image`` (H, W, 3) float32 or uint8; returns alpha and depth in metres, both (H, W) float32.

    Args:
        folded: the field of this frame, checked.
        camera: size and intrinsics.
        background: (H, W, 3) float32 or uint8.
        image: receives the picture.
        precision: "float32" is the operator's exact definition; "float16" rounds table, weights and activations,
            sums stay in float32.

    Raises:
        ShapeError: the network is wider than a program holds, or the table larger than 32 bits count.
    """
    from dfanerf_rt.backends.triton.kernels import render_field as kernels

    grid, hidden, device = folded.grid, folded.weights[0].shape[0], folded.table.device
    levels = max(_power_of_two(grid.n_levels), MIN_DOT // grid.n_features)
    if hidden > MAX_HIDDEN or levels * grid.n_features > MAX_CODE:
        raise ShapeError(
            f"the network is {grid.n_output} wide at its input and {hidden} hidden, expected at most {MAX_CODE} and "
            f"{MAX_HIDDEN} for the triton renderer; use the backend reference"
        )
    if folded.table.numel() > MAX_TABLE:
        raise ShapeError(f"table has {folded.table.numel()} numbers, the triton renderer takes at most {MAX_TABLE}")
    target = image if image.is_contiguous() else torch.empty_like(image, memory_format=torch.contiguous_format)
    alpha = torch.empty(camera.height, camera.width, device=device)
    depth = torch.empty_like(alpha)
    space = march_space(folded, torch.eye(3, device=device))
    view = torch.cat(
        [
            part.flatten()
            for part in (
                space.torso_origin,
                space.torso_slope,
                space.head_origin,
                space.head_slope,
                space.neck_origin,
                space.neck_slope,
            )
        ]
    )
    half = precision == "float16"
    network = [part.contiguous() for pair in zip(folded.weights, folded.biases, strict=True) for part in pair]
    with torch.cuda.device_of(alpha):
        kernels.render_kernel[(_programs(device),)](
            view,
            folded.occupancy.contiguous(),
            folded.table.half() if half else folded.table.contiguous(),
            *level_table(grid, device, levels),
            *network,
            background.contiguous(),
            target,
            alpha,
            depth,
            torch.zeros(1, dtype=torch.int32, device=device),
            camera.width,
            camera.height,
            camera.focal_px,
            camera.cx,
            camera.cy,
            folded.near_m,
            folded.step_m,
            folded.n_steps,
            folded.occupancy.shape[0],
            L=levels,
            N_LEVELS=grid.n_levels,
            N_FEATURES=grid.n_features,
            H=max(_power_of_two(hidden), MIN_DOT),
            N_HIDDEN=hidden,
            HALF=half,
            **kernels.LAUNCH,
        )
    if target is not image:
        image.copy_(target)
    return alpha, depth


def _power_of_two(least: int) -> int:
    return 1 << (least - 1).bit_length()


def _programs(device: torch.device) -> int:
    if device.type != "cuda":
        return 2
    return PROGRAMS_PER_PROCESSOR * torch.cuda.get_device_properties(device).multi_processor_count
