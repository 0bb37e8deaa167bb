"""The fast path from an avatar to pictures: fold once a frame, then one native call that renders into a buffer."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image

from dfanerf_rt.avatar import Avatar
from dfanerf_rt.backends.native import render_field as native_backend
from dfanerf_rt.backends.native.render_field import NativeRenderer, Precision
from dfanerf_rt.backends.triton import render_field as triton_backend
from dfanerf_rt.errors import AvatarError, BackendUnavailable, ShapeError
from dfanerf_rt.field.config import CONDITION_DIM, HEAD_POSE_DIM
from dfanerf_rt.field.field import ConditionalField
from dfanerf_rt.ops.camera import Camera
from dfanerf_rt.ops.dispatch import dispatch
from dfanerf_rt.ops.render_field import FoldedField, render_field
from dfanerf_rt.render.cuda_frames import CudaFrames


class RenderSession:
    """Renders one avatar, frame after frame: :meth:`fold`, then :meth:`render`. For one thread at a time.

    On the CPU backend fold and render are one native call each, nothing is allocated, and the GIL is free meanwhile.
    On the CUDA backend both are one CUDA graph, and nothing waits for the GPU (but numbers to fold that lie on it are
    read first). On the Triton backend folding is left to torch, and rendering is one kernel. A picture whose condition
    and head pose are those of the last one is not rendered again.

    Args:
        avatar: whose field and background.
        device: where to render.
        size: width in pixels, or (width, height) of the avatar's aspect ratio; None for the avatar's own.
        backend: of the operator ``render_field``; None leaves the choice to the dispatcher.
        precision: of the CPU backend: "bfloat16" (the fast one) or "float32"; of the Triton backend, whose half
            precision is float16 in place of bfloat16.
        n_threads: of the CPU backend; None takes torch's number.

    Raises:
        AvatarError: the avatar has no usable field or background.
        ShapeError: the size is not positive or of another aspect ratio.
        BackendUnavailable: the backend asked for cannot run here.
    """

    def __init__(
        self,
        avatar: Avatar,
        device: str | torch.device = "cpu",
        size: int | tuple[int, int] | None = None,
        backend: str | None = None,
        *,
        precision: Precision = "bfloat16",
        n_threads: int | None = None,
    ) -> None:
        self.device = torch.device(device)
        if self.device.type == "cuda" and not torch.cuda.is_available():
            raise BackendUnavailable(f"device {device}: torch finds no CUDA GPU that it can use")
        self.camera = session_camera(avatar, size)
        self.alpha = torch.zeros(self.camera.height, self.camera.width, device=self.device)
        """(H, W) float32 alpha of the picture rendered last."""
        self.depth_m = torch.zeros_like(self.alpha)
        """(H, W) float32 depth of the picture rendered last, metres; 0 where it shows the background."""
        self._background = session_background(avatar, self.camera).to(self.device)
        self._picture = torch.zeros_like(self._background)
        self._shown: torch.Tensor | None = None
        """Condition and head pose that were folded last."""
        self._picture_is_current = False
        self._folded: FoldedField | None = None
        self._native: NativeRenderer | None = None
        self._frames: CudaFrames | None = None
        # Said once, so that a backend that cannot run is refused before the first frame.
        self._backend = backend
        runner = dispatch("render_field", backend, self.device)
        self._half = runner is triton_backend.render_field and precision != "float32"
        self._field = ConditionalField.from_avatar(avatar).to(self.device).eval()
        if runner is native_backend.render_field and self.device.type == "cuda":
            self._frames = CudaFrames(
                self._field, self.camera, self._background, self._picture, self.alpha, self.depth_m
            )
        elif runner is native_backend.render_field:
            field = self._field
            self._native = NativeRenderer(
                field.config.grid,
                field.config.hidden,
                field.occupancy,
                field.aabb,
                precision,
                n_threads or torch.get_num_threads(),
            )
            self._native.load_field(field)

    @property
    def width(self) -> int:
        """Pixels."""
        return self.camera.width

    @property
    def height(self) -> int:
        """Pixels."""
        return self.camera.height

    @property
    def samples(self) -> int | None:
        """Samples that the network evaluated for the last picture, where the backend counts them."""
        counter = self._native or self._frames
        return counter.samples if counter is not None else None

    @torch.inference_mode()
    def fold(self, condition: torch.Tensor | np.ndarray, head_pose: torch.Tensor | np.ndarray) -> None:
        """Set what the next picture shows.

        Args:
            condition: (48,) f_c = [audio code or mouth code, eye code].
            head_pose: (6,) rotation vector in radians, translation in metres.

        Raises:
            ShapeError: on other shapes, or numbers that are not finite.
        """
        for name, value, count in (("condition", condition, CONDITION_DIM), ("head_pose", head_pose, HEAD_POSE_DIM)):
            if tuple(value.shape) != (count,):
                raise ShapeError(f"{name} has shape {tuple(value.shape)}, expected ({count},)")
        wanted = torch.cat([torch.as_tensor(v).detach().to("cpu", torch.float32) for v in (condition, head_pose)])
        if not bool(torch.isfinite(wanted).all()):
            raise ShapeError("condition or head_pose holds NaN or infinity, expected finite numbers")
        if self._shown is not None and torch.equal(self._shown, wanted):
            return
        self._picture_is_current, self._shown = False, None
        if self._native is not None:
            self._native.fold(wanted[:CONDITION_DIM], wanted[CONDITION_DIM:])
        elif self._frames is not None:
            self._frames.fold(wanted[:CONDITION_DIM], wanted[CONDITION_DIM:])
        else:
            there = wanted.to(self.device)
            self._folded = self._field.fold(there[:CONDITION_DIM], there[CONDITION_DIM:])
        self._shown = wanted

    @torch.inference_mode()
    def render(self, out: torch.Tensor | np.ndarray | None = None) -> torch.Tensor:
        """The picture of what was folded last.

        Args:
            out: (H, W, 3) uint8 that receives it, a tensor or a numpy array, without a copy on the CPU; None for a
                buffer that the next call overwrites. Of a picture from a GPU, it may lie in host memory: if that is
                pinned, it is there when the current stream has come by.

        Returns:
            (H, W, 3) uint8 sRGB: ``out`` (of a numpy array, the tensor that shares its memory), or a buffer on the
            session's device.

        Raises:
            ShapeError: ``out`` is of another shape or dtype or read-only, or nothing was folded yet.
        """
        if isinstance(out, np.ndarray):
            if not out.flags.writeable or out.dtype != np.uint8 or min(out.strides, default=0) < 0:
                raise ShapeError("out is a numpy array that is read-only, reversed, or not of uint8")
            out = torch.from_numpy(out)
        if self._shown is None:
            raise ShapeError("render() before fold(): there is no condition and head pose to show")
        picture = self._picture if out is None else out
        if picture.shape != self._background.shape or picture.dtype != torch.uint8:
            raise ShapeError(
                f"out is {picture.dtype} {tuple(picture.shape)}, expected uint8 {tuple(self._background.shape)}"
            )
        if self._picture_is_current:  # neither condition nor pose has changed since
            return picture if out is None else picture.copy_(self._picture, non_blocking=True)
        if self._native is not None:
            self._native.render(self.camera, self._background, picture, self.alpha, self.depth_m)
        elif self._frames is not None:
            self._frames.render()
            self._picture_is_current = True
            return picture if out is None else out.copy_(self._picture, non_blocking=True)
        elif self._folded is not None:
            target = picture if picture.device == self._background.device else self._picture
            self.alpha, self.depth_m = self._render_folded(self._folded, target)
            if target is not picture:
                picture.copy_(target, non_blocking=True)
        self._picture_is_current = out is None
        return picture

    def _render_folded(self, folded: FoldedField, picture: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if self._half:
            return triton_backend.render_frame(folded, self.camera, self._background, picture, "float16")
        frame = render_field(folded, self.camera, self._background, out=picture, backend=self._backend)
        return frame.alpha, frame.depth_m


def session_camera(avatar: Avatar, size: int | tuple[int, int] | None) -> Camera:
    """The avatar's camera, scaled to a width or to (width, height)."""
    meta = avatar.meta
    camera = Camera(meta.width, meta.height, meta.focal_px, meta.cx, meta.cy)
    if size is None:
        return camera
    width, height = size if isinstance(size, tuple) else (size, max(1, round(size * meta.height / meta.width)))
    return camera.resized(width, height)


def session_background(avatar: Avatar, camera: Camera) -> torch.Tensor:
    """The avatar's background at the camera's size: (H, W, 3) uint8."""
    stored = avatar.section("background").get("image")
    if stored is None or stored.dtype != torch.uint8 or stored.ndim != 3 or stored.shape[2] != 3:
        found = "missing" if stored is None else f"{stored.dtype} {tuple(stored.shape)}"
        raise AvatarError(f"{avatar.where}: tensor 'background.image' is {found}, expected uint8 (H, W, 3)")
    if tuple(stored.shape[:2]) == (camera.height, camera.width):
        return stored.contiguous()
    picture = Image.fromarray(stored.numpy()).resize((camera.width, camera.height), Image.Resampling.LANCZOS)
    return torch.from_numpy(np.array(picture))
