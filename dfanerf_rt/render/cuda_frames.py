"""Fold and render of a session on a GPU, captured once as a CUDA graph: a frame is one copy and one launch."""

from __future__ import annotations

import torch

from dfanerf_rt.backends.native.cuda_render_field import CudaRenderer
from dfanerf_rt.field.config import CONDITION_DIM, HEAD_POSE_DIM
from dfanerf_rt.field.field import ConditionalField
from dfanerf_rt.ops.camera import Camera


class CudaFrames:
    """Renders a field into buffers that stay.

    Args:
        field: on the GPU.
        camera: intrinsics.
        background: (H, W, 3) uint8; may be changed in place between frames.
        picture: (H, W, 3) uint8 that every frame is rendered into.
        alpha: (H, W) float32, likewise.
        depth_m: (H, W) float32, likewise.
    """

    def __init__(
        self,
        field: ConditionalField,
        camera: Camera,
        background: torch.Tensor,
        picture: torch.Tensor,
        alpha: torch.Tensor,
        depth_m: torch.Tensor,
    ) -> None:
        self._renderer = CudaRenderer(
            field.config.grid, field.config.hidden, field.occupancy, field.aabb, picture.device
        )
        self._device = self._renderer.device
        self._camera, self._background = camera, background
        self._picture, self._alpha, self._depth_m = picture, alpha, depth_m
        self._inputs = torch.cat([field.condition_mean, field.pose_mean]).contiguous()
        self._renderer.load_field(field)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.device(self._device):
            stream = torch.cuda.Stream(self._device)
            stream.wait_stream(torch.cuda.current_stream(self._device))
            with torch.cuda.stream(stream):
                self._enqueue()  # kernels are loaded by their first launch, which cannot be captured
            torch.cuda.current_stream(self._device).wait_stream(stream)
            # Other threads may use the GPU meanwhile.
            with torch.cuda.graph(self._graph, stream=stream, capture_error_mode="thread_local"):
                self._enqueue()

    @property
    def samples(self) -> int:
        """Samples that the network evaluated for the last picture; waits for it."""
        return self._renderer.samples

    def fold(self, condition: torch.Tensor, head_pose: torch.Tensor) -> None:
        """Set what the next picture shows: condition (48,) and head pose (6,), finite numbers, on any device."""
        self._inputs[:CONDITION_DIM].copy_(condition)
        self._inputs[CONDITION_DIM:].copy_(head_pose)

    def render(self) -> None:
        """Fold and render into the picture, on the current stream; returns before the GPU has done so."""
        with torch.cuda.device(self._device):
            self._graph.replay()

    def _enqueue(self) -> None:
        self._renderer.fold(self._inputs[:CONDITION_DIM], self._inputs[CONDITION_DIM : CONDITION_DIM + HEAD_POSE_DIM])
        self._renderer.render(self._camera, self._background, self._picture, self._alpha, self._depth_m)
