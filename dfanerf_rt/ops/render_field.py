"""Rendering one frame of a folded field: everything that depends on the frame alone is already mixed in."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch

from dfanerf_rt.errors import ShapeError
from dfanerf_rt.ops.camera import Camera
from dfanerf_rt.ops.dispatch import dispatch
from dfanerf_rt.ops.hash_encode import HashGridConfig

MAX_STEPS = 65_536


@dataclass(frozen=True)
class FoldedField:
    """The field of one frame (paper eq. 10 with condition and head pose folded in): a static radiance field.

    A sample at distance t along a unit direction d has the camera position x_c = t d. It is
    x_h = R_h^T (x_c - t_h) in the head's frame and x_t = R_t^T (x_c - t_t) in the torso's; the field is read at
    p = w x_h + (1 - w) x_t with w = sigmoid(neck[:3] . x_h + neck[3]), and u = (p - aabb[0]) / (aabb[1] - aabb[0]).
    """

    grid: HashGridConfig
    table: torch.Tensor
    """(n_entries, F) float32, the levels one after another."""
    weights: tuple[torch.Tensor, torch.Tensor, torch.Tensor]
    """(64, L*F), (64, 64), (4, 64) float32; the last layer gives [raw sigma, raw r, raw g, raw b]."""
    biases: tuple[torch.Tensor, torch.Tensor, torch.Tensor]
    """(64,), (64,), (4,) float32."""
    aabb: torch.Tensor
    """(2, 3) lower and upper corner of the box, metres in head coordinates."""
    head_to_camera: torch.Tensor
    """(3, 4) [R | t], metres."""
    torso_to_camera: torch.Tensor
    """(3, 4) [R | t], metres."""
    neck: torch.Tensor
    """(4,) plane: n in 1/m, and d."""
    occupancy: torch.Tensor
    """(R, R, R) uint8, indexed [ix, iy, iz]; 0 is empty space, never sampled."""
    near_m: float
    """Distance from the camera at which marching begins; sample i lies at near_m + (i + 0.5) step_m."""
    far_m: float
    step_m: float

    @property
    def n_steps(self) -> int:
        """Samples along a ray: ceil((far - near) / step)."""
        return math.ceil((self.far_m - self.near_m) / self.step_m)

    def validate(self) -> None:
        """Raise :class:`ShapeError` naming the first tensor of another shape, dtype or device, or a bad range."""
        width = self.grid.n_levels * self.grid.n_features
        hidden = int(self.weights[0].shape[0]) if self.weights[0].ndim == 2 else 0
        expected: list[tuple[str, torch.Tensor, tuple[int, ...]]] = [
            ("table", self.table, (self.grid.n_entries, self.grid.n_features)),
            ("weights[0]", self.weights[0], (hidden, width)),
            ("weights[1]", self.weights[1], (hidden, hidden)),
            ("weights[2]", self.weights[2], (4, hidden)),
            ("biases[0]", self.biases[0], (hidden,)),
            ("biases[1]", self.biases[1], (hidden,)),
            ("biases[2]", self.biases[2], (4,)),
            ("aabb", self.aabb, (2, 3)),
            ("head_to_camera", self.head_to_camera, (3, 4)),
            ("torso_to_camera", self.torso_to_camera, (3, 4)),
            ("neck", self.neck, (4,)),
        ]
        for name, tensor, shape in expected:
            expect(name, tensor, shape, torch.float32, self.table.device)
        self.check_space()
        if not bool((self.aabb[1] > self.aabb[0]).all()):
            raise ShapeError(f"aabb is {self.aabb.tolist()}, expected its upper corner above the lower one")
        placed = torch.cat([self.head_to_camera.flatten(), self.torso_to_camera.flatten(), self.neck])
        if not bool(torch.isfinite(placed).all()):
            raise ShapeError("head_to_camera, torso_to_camera or neck holds NaN or infinity, expected finite numbers")

    def check_space(self) -> None:
        """Raise :class:`ShapeError` for an occupancy grid or a range that cannot be marched; waits for no GPU."""
        extent = int(self.occupancy.shape[0]) if self.occupancy.ndim else 0
        expect("occupancy", self.occupancy, (extent, extent, extent), torch.uint8, self.table.device)
        if extent < 1:
            raise ShapeError("occupancy is empty, expected at least one cell")
        if not (0.0 <= self.near_m < self.far_m < math.inf and self.step_m > 0.0):
            raise ShapeError(
                f"near_m {self.near_m}, far_m {self.far_m}, step_m {self.step_m}: expected 0 <= near < far and step > 0"
            )
        if (self.far_m - self.near_m) / self.step_m > MAX_STEPS:
            raise ShapeError(f"step_m {self.step_m} gives more than {MAX_STEPS} samples a ray")


class RenderedFrame(NamedTuple):
    """One picture and what lies behind it."""

    image: torch.Tensor
    """(H, W, 3) float32 in [0, 1], or uint8 where ``out`` was uint8."""
    alpha: torch.Tensor
    """(H, W) float32, 1 - transmittance."""
    depth_m: torch.Tensor
    """(H, W) float32 mean distance along the ray; 0 where nothing was hit."""


def render_field(
    folded: FoldedField,
    camera: Camera,
    background: torch.Tensor,
    out: torch.Tensor | None = None,
    backend: str | None = None,
) -> RenderedFrame:
    """Render one frame: march the occupied space, encode, MLP, composite over the background.

    Args:
        folded: the field of this frame.
        camera: intrinsics and size (H, W) of the picture.
        background: (H, W, 3) float32 in [0, 1] or uint8 sRGB.
        out: (H, W, 3) float32 or uint8 that receives the picture; float32 is made where it is None.
        backend: "cpu", "reference" or another registered one; None leaves the choice to the dispatcher.

    Returns:
        The picture (``out`` itself where it was given), alpha, and depth in metres.

    Raises:
        ShapeError: a tensor has another shape, dtype or device than stated.
        BackendUnavailable: the backend asked for cannot run here.
    """
    folded.validate()
    shape = (camera.height, camera.width, 3)
    for name, tensor in (("background", background), ("out", out)):
        if tensor is None:
            continue
        if tuple(tensor.shape) != shape or tensor.dtype not in (torch.float32, torch.uint8):
            found = f"{tensor.dtype} {tuple(tensor.shape)}"
            raise ShapeError(f"{name} is {found}, expected float32 or uint8 {shape} as the camera says")
        if tensor.device != folded.table.device:
            raise ShapeError(f"{name} is on {tensor.device}, but the field is on {folded.table.device}")
    return RenderedFrame(*dispatch("render_field", backend, folded.table.device)(folded, camera, background, out))


def expect(name: str, tensor: torch.Tensor, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> None:
    """Raise :class:`ShapeError` where a tensor is not of this shape and dtype on the device of the others."""
    if tuple(tensor.shape) != shape:
        raise ShapeError(f"{name} has shape {tuple(tensor.shape)}, expected {shape}")
    if tensor.dtype != dtype:
        raise ShapeError(f"{name} is {tensor.dtype}, expected {dtype}")
    if tensor.device != device:
        raise ShapeError(f"{name} is on {tensor.device}, but the other tensors are on {device}")
