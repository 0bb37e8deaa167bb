"""The renderer in C++ (backend "cpu"): tiles on a pool of threads, SIMD chosen for the processor at run time.

On a GPU (backend "cuda") it is that of cuda_render_field.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import torch

from dfanerf_rt import native
from dfanerf_rt.backends.native.cuda_render_field import CudaRenderer
from dfanerf_rt.backends.native.field_arguments import field_constants, field_network, folded_network, placement, plain
from dfanerf_rt.errors import ShapeError

if TYPE_CHECKING:
    from dfanerf_rt.field.field import ConditionalField
    from dfanerf_rt.ops.camera import Camera
    from dfanerf_rt.ops.hash_encode import HashGridConfig
    from dfanerf_rt.ops.render_field import FoldedField

Precision = Literal["float32", "bfloat16"]


def unavailable_reason(backend: str) -> str | None:
    """Why the native module cannot render on ``backend``, or None if it can."""
    if backend == "cuda":
        return native.cuda_unavailable_reason() or native.missing_reason("CudaFieldRenderer")
    return native.missing_reason("FieldRenderer")


def render_field(
    folded: FoldedField, camera: Camera, background: torch.Tensor, out: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """See :func:`dfanerf_rt.ops.render_field.render_field`; inputs checked by the caller.

    In float32 on the CPU, in float16 with sums in float32 on a GPU.
    """
    device, shape = folded.table.device, (camera.height, camera.width)
    field = (folded.grid, folded.weights[0].shape[0], folded.occupancy, folded.aabb)
    renderer: CudaRenderer | NativeRenderer
    if device.type == "cuda":
        renderer = CudaRenderer(*field, device)
    else:
        renderer = NativeRenderer(*field, "float32", torch.get_num_threads())
    renderer.load_network(folded)
    renderer.load_table(folded.table)
    renderer.place(folded)
    image = out if out is not None else torch.empty(*shape, 3, device=device)
    alpha, depth = torch.empty(shape, device=device), torch.empty(shape, device=device)
    target = image if image.is_contiguous() else torch.empty_like(image, memory_format=torch.contiguous_format)
    renderer.render(camera, background.contiguous(), target, alpha, depth)
    if target is not image:
        image.copy_(target)
    return image, alpha, depth


class NativeRenderer:
    """What stays from frame to frame in one place: occupancy, tables and weights. For one thread at a time.

    Load a conditional field and :meth:`fold` it each frame; or load table and network of a field that was folded
    elsewhere and :meth:`place` it. Then :meth:`render`.

    Args:
        grid: sizes of the hash grid, of 2 features an entry.
        hidden: width of the network.
        occupancy: (R, R, R) uint8; 0 is empty space.
        aabb: (2, 3) the box, metres in head coordinates.
        precision: "float32" is the operator's exact definition; "bfloat16" rounds table, weights and activations,
            sums stay in float32 (processors without bfloat16 dot products round the table alone).
        n_threads: threads that render.

    Raises:
        ShapeError: the renderer does not take fields of this kind.
    """

    def __init__(
        self,
        grid: HashGridConfig,
        hidden: int,
        occupancy: torch.Tensor,
        aabb: torch.Tensor,
        precision: Precision,
        n_threads: int,
    ) -> None:
        if grid.n_features != 2:
            raise ShapeError(f"the CPU renderer takes grids of 2 features an entry, found {grid.n_features}")
        self.samples = 0
        """Samples that the network evaluated in the last frame."""
        self.lookups = 0
        """Occupancy lookups of the last frame."""
        self._native: Any = native.load().FieldRenderer(
            levels=[tuple(level) for level in grid.levels],
            hidden=hidden,
            occupancy=occupancy.contiguous(),
            aabb=plain(aabb),
            precision=precision,
            n_threads=n_threads,
        )

    def load_table(self, table: torch.Tensor) -> None:
        """Take the mixed table (n_entries, 2) float32 of a frame."""
        self._native.load_table(plain(table))

    def load_network(self, folded: FoldedField) -> None:
        """Take weights and biases of the network."""
        self._native.load_network(*folded_network(folded))

    def load_field(self, field: ConditionalField) -> None:
        """Take everything of a conditional field, so that :meth:`fold` needs no torch."""
        self._native.load_network(*field_network(field))
        self._native.load_constants(**field_constants(field))

    def fold(self, condition: torch.Tensor, head_pose: torch.Tensor) -> None:
        """Set what :meth:`render` shows: condition (48,) and head pose (6,) float32, as ``ConditionalField.fold``.

        Raises:
            ShapeError: on other shapes, or numbers that are not finite.
        """
        self._native.fold(condition, head_pose)

    def place(self, folded: FoldedField) -> None:
        """Take poses, neck and range of a field that was folded elsewhere; not its table and network."""
        self._native.place(**placement(folded))

    def render(
        self,
        camera: Camera,
        background: torch.Tensor,
        image: torch.Tensor,
        alpha: torch.Tensor,
        depth_m: torch.Tensor,
    ) -> None:
        """Render what was folded or placed last.

        Args:
            camera: intrinsics; its size is that of the buffers.
            background: (H, W, 3) uint8 or float32, each row contiguous.
            image: (H, W, 3) uint8 or float32 that receives the picture, each row contiguous.
            alpha: (H, W) float32 output.
            depth_m: (H, W) float32 output.
        """
        self.samples, self.lookups = self._native.render(
            focal_cx_cy=(camera.focal_px, camera.cx, camera.cy),
            background=background,
            image=image,
            alpha=alpha,
            depth=depth_m,
        )
