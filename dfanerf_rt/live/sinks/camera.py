"""The live show as a camera that other programs can choose."""

from __future__ import annotations

from typing import Any

from dfanerf_rt.audio.ring import AudioChunk
from dfanerf_rt.errors import DfanerfError
from dfanerf_rt.live.mark import draw_mark
from dfanerf_rt.live.stages import FPS, Frame


class CameraSink:
    """Sends pictures to a virtual camera, through pyvirtualcam. A camera has no sound.

    Args:
        width, height: size of the pictures, px.
        device: of the camera, e.g. ``/dev/video10``; None for the first that is free.
        mark: draw the visible mark "synthetic".

    Raises:
        DfanerfError: pyvirtualcam is not installed, or this machine has no virtual camera.
    """

    name = "camera"

    def __init__(self, width: int, height: int, device: str | None = None, mark: bool = True) -> None:
        try:
            import pyvirtualcam
        except ImportError as fault:
            raise DfanerfError(
                "a virtual camera needs pyvirtualcam, which is not installed: pip install 'dfanerf-rt[camera]'"
            ) from fault
        self.mark = mark
        try:
            self._camera: Any = pyvirtualcam.Camera(width, height, FPS, device=device)
        except (RuntimeError, OSError) as fault:
            raise DfanerfError(
                f"no virtual camera ({' '.join(str(fault).split())}); on Linux: apt install v4l2loopback-dkms, then "
                "modprobe v4l2loopback exclusive_caps=1; on Windows and macOS: install OBS Studio"
            ) from fault

    @property
    def device(self) -> str:
        """What other programs call the camera."""
        return str(self._camera.device)

    def write_audio(self, chunk: AudioChunk) -> None:
        """A camera has no sound."""

    def write_frame(self, frame: Frame) -> None:
        """Show the picture at once."""
        image = frame.image
        if self.mark:
            image = image.copy()
            draw_mark(image)
        self._camera.send(image)

    def close(self) -> None:
        """Let go of the camera."""
        self._camera.close()

    def abort(self) -> None:
        """The same."""
        self._camera.close()
