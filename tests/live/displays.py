"""A display without a screen: Xvfb."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from PIL import ImageGrab


@contextmanager
def virtual_display() -> Iterator[str]:
    """Start it; yields what DISPLAY has to be."""
    if shutil.which("Xvfb") is None:
        pytest.skip("needs Xvfb (Debian: apt install xvfb)")
    reader, writer = os.pipe()
    command = ["Xvfb", "-displayfd", str(writer), "-screen", "0", "800x600x24", "-nolisten", "tcp"]
    server = subprocess.Popen(command, pass_fds=[writer], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    os.close(writer)
    try:
        with os.fdopen(reader) as told:
            number = told.readline().strip()
        assert number, "Xvfb does not start"
        yield f":{number}"
    finally:
        server.terminate()
        server.wait(10.0)


def picture_of(display: str) -> np.ndarray:
    """What the display shows now, (H, W, 3) uint8."""
    return np.asarray(ImageGrab.grab(xdisplay=display).convert("RGB"))
