"""The live show in a window, through OpenCV."""

from __future__ import annotations

import os
import re
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from dfanerf_rt.audio.ring import AudioChunk
from dfanerf_rt.errors import DfanerfError
from dfanerf_rt.live.mark import draw_mark
from dfanerf_rt.live.stages import Frame

QUIT_KEYS = (ord("q"), 27)
"""Q and Escape."""


class WindowSink:
    """Shows pictures as they come. The voice beside it is a sink of its own (``dfanerf_rt.live.sinks.voice``).

    Args:
        title: of the window.
        on_close: called once when the person closes the window or presses Q or Escape.
        mark: draw the visible mark "synthetic".

    Raises:
        DfanerfError: there is no display, or no OpenCV that can open a window.
    """

    name = "window"

    def __init__(self, title: str, on_close: Callable[[], None], mark: bool = True) -> None:
        reason = window_unavailable_reason()
        if reason:
            raise DfanerfError(f"no window: {reason}")
        self.title, self.mark = title, mark
        self._on_close = on_close
        self._open = self._closed = False

    def write_audio(self, chunk: AudioChunk) -> None:
        """A window has no sound."""

    def write_frame(self, frame: Frame) -> None:
        """Show the picture, and see whether the person wants to end."""
        import cv2

        if self._closed:
            return
        if not self._open:
            cv2.namedWindow(self.title, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO)
        picture = np.ascontiguousarray(frame.image[:, :, ::-1])
        if self.mark:
            draw_mark(picture)
        cv2.imshow(self.title, picture)
        if not self._open:
            height, width = picture.shape[:2]
            scale = max(1, 512 // max(height, width))
            cv2.resizeWindow(self.title, width * scale, height * scale)
        self._open = True
        key = cv2.waitKey(1) & 0xFF
        if key in QUIT_KEYS or cv2.getWindowProperty(self.title, cv2.WND_PROP_VISIBLE) < 1:
            self._closed = True
            self._on_close()

    def close(self) -> None:
        """Take the window away."""
        if self._open:
            import cv2

            cv2.destroyAllWindows()
            cv2.waitKey(1)

    def abort(self) -> None:
        """The same."""
        self.close()


def window_unavailable_reason() -> str | None:
    """Why no window can be opened here, and how to mend it; None where one can."""
    if sys.platform == "linux":
        # Qt, in OpenCV, ends the whole process where it finds no display.
        display = os.environ.get("DISPLAY", "")
        if not display:
            return "there is no display (DISPLAY is not set); start it in a desktop, or use --web or --out FILE"
        if not _answers(display):
            return f"display {display} does not answer; start it in a desktop, or use --web or --out FILE"
    try:
        import cv2
    except ImportError:
        return "it needs OpenCV, which is not installed: pip install 'dfanerf-rt[track]'"
    gui = re.search(r"^\s*GUI:\s*(\S+)", cv2.getBuildInformation(), re.MULTILINE)
    if gui is None or gui.group(1) == "NONE":
        return "this OpenCV was built without windows: pip uninstall opencv-python-headless, pip install opencv-python"
    return None


def _answers(display: str) -> bool:
    """Whether an X server listens at HOST:NUMBER[.SCREEN]."""
    host, _, number = display.rpartition(":")
    digits = number.split(".")[0]
    if not digits.isdigit():
        return False
    local = f"/tmp/.X11-unix/X{digits}"
    places: list[tuple[socket.AddressFamily, str | tuple[str, int]]] = []
    if host in ("", "unix"):
        places = [(socket.AF_UNIX, f"\0{local}"), (socket.AF_UNIX, local)]
    elif Path(host).exists():
        return True  # macOS: the display is a socket of launchd
    else:
        places = [(socket.AF_INET, (host, 6000 + int(digits)))]
    for family, address in places:
        with socket.socket(family) as probe:
            probe.settimeout(1.0)
            if not probe.connect_ex(address):
                return True
    return False
