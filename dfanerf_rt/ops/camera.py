"""The pinhole camera: OpenCV axes (x right, y down, z forward), at the origin; the head moves."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from dfanerf_rt.errors import ShapeError

MAX_EXTENT_PX = 8192


@dataclass(frozen=True)
class Camera:
    """Intrinsics with square pixels; the centre of pixel (row r, column c) lies at (c + 0.5, r + 0.5)."""

    width: int
    height: int
    focal_px: float
    cx: float
    cy: float

    def __post_init__(self) -> None:
        """Raise :class:`ShapeError` for a picture without pixels or intrinsics that are not finite."""
        for name in ("width", "height"):
            extent = getattr(self, name)
            if not 1 <= extent <= MAX_EXTENT_PX:
                raise ShapeError(f"camera {name} is {extent}, expected 1 to {MAX_EXTENT_PX} pixels")
        if not (math.isfinite(self.focal_px) and self.focal_px > 0):
            raise ShapeError(f"camera focal_px is {self.focal_px}, expected a positive number of pixels")
        if not (math.isfinite(self.cx) and math.isfinite(self.cy)):
            raise ShapeError(f"camera centre is ({self.cx}, {self.cy}), expected finite pixels")

    def resized(self, width: int, height: int) -> Camera:
        """The same view in a picture of another size; the focal length follows the width.

        Raises:
            ShapeError: the aspect ratio changes by more than a pixel's rounding.
        """
        scale = width / self.width
        if abs(self.height * scale - height) > 1.0:
            raise ShapeError(
                f"size {width}x{height} changes the aspect ratio of {self.width}x{self.height}; "
                f"for this width use {width}x{round(self.height * scale)}"
            )
        return Camera(width, height, self.focal_px * scale, self.cx * scale, self.cy * scale)

    def ray_directions(self, device: torch.device | str = "cpu") -> torch.Tensor:
        """Unit directions through the pixel centres: (H, W, 3) float32."""
        x = (torch.arange(self.width, device=device, dtype=torch.float32) + 0.5 - self.cx) / self.focal_px
        y = (torch.arange(self.height, device=device, dtype=torch.float32) + 0.5 - self.cy) / self.focal_px
        grid_y, grid_x = torch.meshgrid(y, x, indexing="ij")
        return torch.nn.functional.normalize(torch.stack([grid_x, grid_y, torch.ones_like(grid_x)], dim=-1), dim=-1)
