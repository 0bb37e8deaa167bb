"""The renderer in C++ (backend "cpu"): tiles on a pool of threads, SIMD chosen for the processor at run time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import torch

from dfanerf_rt import native
from dfanerf_rt.errors import ShapeError

if TYPE_CHECKING:
    from dfanerf_rt.ops.camera import Camera
    from dfanerf_rt.ops.render_field import FoldedField

Precision = Literal["float32", "bfloat16"]


def unavailable_reason(backend: str) -> str | None:
    """Why the native module cannot render on ``backend``, or None if it can."""
    if backend == "cuda":
        return "render_field has no cuda implementation"
    return native.missing_reason("FieldRenderer")


def render_field(
    folded: FoldedField, camera: Camera, background: torch.Tensor, out: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """See :func:`dfanerf_rt.ops.render_field.render_field`; in float32, inputs checked by the caller."""
    renderer = NativeRenderer(folded, "float32", torch.get_num_threads())
    renderer.load_table(folded.table)
    renderer.load_network(folded)
    image = out if out is not None else torch.empty(camera.height, camera.width, 3)
    alpha, depth = torch.empty(camera.height, camera.width), torch.empty(camera.height, camera.width)
    target = image if image.is_contiguous() else torch.empty_like(image, memory_format=torch.contiguous_format)
    renderer.render(folded, camera, background.contiguous(), target, alpha, depth)
    if target is not image:
        image.copy_(target)
    return image, alpha, depth


class NativeRenderer:
    """What stays from frame to frame in one place: the packed occupancy, tables and weights. For one thread at a time.

    Args:
        folded: gives the grid, the box and the occupancy, which may not change from frame to frame.
        precision: "float32" is the operator's exact definition; "bfloat16" rounds table, weights and activations,
            sums stay in float32 (processors without bfloat16 dot products round the table alone).
        n_threads: threads that render.

    Raises:
        ShapeError: the renderer does not take fields of this kind.
    """

    def __init__(self, folded: FoldedField, precision: Precision, n_threads: int) -> None:
        if folded.grid.n_features != 2:
            raise ShapeError(f"the CPU renderer takes grids of 2 features an entry, found {folded.grid.n_features}")
        self.samples = 0
        """Samples that the network evaluated in the last frame."""
        self.lookups = 0
        """Occupancy lookups of the last frame."""
        self._native: Any = native.load().FieldRenderer(
            levels=[tuple(level) for level in folded.grid.levels],
            hidden=folded.weights[0].shape[0],
            occupancy=folded.occupancy.contiguous(),
            aabb=_plain(folded.aabb),
            precision=precision,
            n_threads=n_threads,
        )

    def load_table(self, table: torch.Tensor) -> None:
        """Take the mixed table (n_entries, 2) float32 of a frame."""
        self._native.load_table(_plain(table))

    def load_blend(self, base: torch.Tensor, tables: torch.Tensor) -> None:
        """Keep base (n_entries, 2) and K tables (K, n_entries, 2) for :meth:`fold_table`, the K in half precision."""
        self._native.load_blend(_plain(base), _plain(tables))

    def fold_table(self, weights: torch.Tensor) -> None:
        """Mix the table of a frame: base + sum_k weights[k] tables[k]."""
        self._native.fold_table(_plain(weights))

    def load_network(self, folded: FoldedField) -> None:
        """Take weights and biases of the network."""
        self._native.load_network(*map(_plain, folded.weights), *map(_plain, folded.biases))

    def load_first_bias(self, folded: FoldedField) -> None:
        """Take the first layer's bias alone, the only one that the condition changes."""
        self._native.load_first_bias(_plain(folded.biases[0]))

    def render(
        self,
        folded: FoldedField,
        camera: Camera,
        background: torch.Tensor,
        image: torch.Tensor,
        alpha: torch.Tensor,
        depth_m: torch.Tensor,
    ) -> None:
        """Render with the poses of ``folded`` and the table and network loaded last.

        Args:
            folded: gives poses, neck and range; its table and network are not looked at.
            camera: intrinsics; its size is that of the buffers.
            background: (H, W, 3) uint8 or float32, each row contiguous.
            image: (H, W, 3) uint8 or float32 that receives the picture, each row contiguous.
            alpha: (H, W) float32 output.
            depth_m: (H, W) float32 output.
        """
        self.samples, self.lookups = self._native.render(
            head_to_camera=_plain(folded.head_to_camera),
            torso_to_camera=_plain(folded.torso_to_camera),
            neck=_plain(folded.neck),
            near_far_step_m=(folded.near_m, folded.far_m, folded.step_m),
            focal_cx_cy=(camera.focal_px, camera.cx, camera.cy),
            background=background,
            image=image,
            alpha=alpha,
            depth=depth_m,
        )


def _plain(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().contiguous()
