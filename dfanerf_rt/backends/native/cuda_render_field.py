"""The fused CUDA renderer (backend "cuda"): one launch marches, encodes, runs the network and composites."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from dfanerf_rt import native
from dfanerf_rt.backends.native.field_arguments import field_constants, field_network, folded_network, placement, plain
from dfanerf_rt.backends.native.streams import stream_of
from dfanerf_rt.errors import ShapeError

if TYPE_CHECKING:
    from dfanerf_rt.field.field import ConditionalField
    from dfanerf_rt.ops.camera import Camera
    from dfanerf_rt.ops.hash_encode import HashGridConfig
    from dfanerf_rt.ops.render_field import FoldedField


class CudaRenderer:
    """What stays on the GPU from frame to frame: occupancy, tables and weights, the latter two in float16.

    Used as :class:`dfanerf_rt.backends.native.render_field.NativeRenderer`. All work is put on the current stream of
    the renderer's GPU, and nothing waits for it. :meth:`fold` and :meth:`render` allocate nothing, so they can be
    captured in a CUDA graph, whose replay reads what then stands in the tensors that were given.

    Args:
        grid: sizes of the hash grid, of 2 features an entry, up to 32 levels.
        hidden: width of the network: 32, 64 or 128.
        occupancy: (R, R, R) uint8; 0 is empty space.
        aabb: (2, 3) the box, metres in head coordinates.
        device: the GPU.

    Raises:
        ShapeError: the renderer does not take fields of this kind.
        BackendUnavailable: the native module is not built.
    """

    def __init__(
        self, grid: HashGridConfig, hidden: int, occupancy: torch.Tensor, aabb: torch.Tensor, device: torch.device
    ) -> None:
        if grid.n_features != 2:
            raise ShapeError(f"the CUDA renderer takes grids of 2 features an entry, found {grid.n_features}")
        if device.type != "cuda":
            raise ShapeError(f"the CUDA renderer works on a GPU, found device {device}")
        number = torch.cuda.current_device() if device.index is None else device.index
        self.device = torch.device("cuda", number)
        self._native: Any = native.load().CudaFieldRenderer(
            levels=[tuple(level) for level in grid.levels],
            hidden=hidden,
            occupancy=plain(occupancy).cpu(),
            aabb=plain(aabb).cpu(),
            device=number,
        )

    @property
    def samples(self) -> int:
        """Samples that the network evaluated in the last frame; waits for it."""
        return self._counts()[0]

    @property
    def lookups(self) -> int:
        """Occupancy lookups of the last frame; waits for it."""
        return self._counts()[1]

    def load_table(self, table: torch.Tensor) -> None:
        """Take the mixed table (n_entries, 2) float32 of a frame."""
        with stream_of(self.device) as stream:
            self._native.load_table(plain(table), stream)

    def load_network(self, folded: FoldedField) -> None:
        """Take weights and biases of the network."""
        with stream_of(self.device) as stream:
            self._native.load_network(*folded_network(folded), stream)

    def load_field(self, field: ConditionalField) -> None:
        """Take everything of a conditional field, so that :meth:`fold` needs no torch."""
        with stream_of(self.device) as stream:
            self._native.load_network(*field_network(field), stream)
            self._native.load_constants(**field_constants(field), stream=stream)

    def fold(self, condition: torch.Tensor, head_pose: torch.Tensor) -> None:
        """Set what :meth:`render` shows: condition (48,) and head pose (6,) float32 on the GPU, finite numbers.

        Raises:
            ShapeError: on other shapes, types or places.
        """
        with stream_of(self.device) as stream:
            self._native.fold(condition, head_pose, stream)

    def place(self, folded: FoldedField) -> None:
        """Take poses, neck and range of a field that was folded elsewhere; not its table and network."""
        with stream_of(self.device) as stream:
            self._native.place(**placement(folded), stream=stream)

    def render(
        self,
        camera: Camera,
        background: torch.Tensor,
        image: torch.Tensor,
        alpha: torch.Tensor | None,
        depth_m: torch.Tensor | None,
    ) -> None:
        """Render what was folded or placed last; all tensors on the GPU.

        Args:
            camera: intrinsics; its size is that of the buffers.
            background: (H, W, 3) uint8 or float32, each row contiguous.
            image: (H, W, 3) uint8 or float32 that receives the picture, each row contiguous.
            alpha: (H, W) float32 output, or None.
            depth_m: (H, W) float32 output, or None.
        """
        with stream_of(self.device) as stream:
            self._native.render((camera.focal_px, camera.cx, camera.cy), background, image, alpha, depth_m, stream)

    def _counts(self) -> tuple[int, int]:
        with stream_of(self.device) as stream:
            samples, lookups = self._native.counts(stream)
        return samples, lookups
