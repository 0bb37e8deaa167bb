"""Watching a training in TensorBoard: scalars of every stage, and the contact sheets of the field."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from dfanerf_rt.errors import DfanerfError

STEPS_A_STAGE = 1000
"""Stages that count no steps are drawn over this many."""


class TensorBoard:
    """Writes event files into a folder, which ``tensorboard --logdir FOLDER`` shows.

    Raises:
        DfanerfError: the package tensorboard is not installed, or the folder cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as fault:
            raise DfanerfError(
                "--tensorboard needs the package tensorboard, which is not installed: pip install 'dfanerf_rt[watch]'"
            ) from fault
        if folder.exists() and not folder.is_dir():
            raise DfanerfError(f"{folder}: is a file; --tensorboard wants a folder")
        self._writer: Any = SummaryWriter(str(folder), flush_secs=10)  # type: ignore[no-untyped-call]

    def scalars(self, stage: str, fraction: float, values: dict[str, float]) -> None:
        """Draw the numbers of a stage; a number "step" among them says where."""
        step = int(values.get("step", round(fraction * STEPS_A_STAGE)))
        for name, value in values.items():
            if name != "step":
                self._writer.add_scalar(f"{stage}/{name}", value, step)

    def picture(self, step: int, sheet: np.ndarray) -> None:
        """Show a contact sheet (H, W, 3) uint8 of the field."""
        self._writer.add_image("field/preview", sheet, step, dataformats="HWC")

    def close(self) -> None:
        """Write what is not written yet."""
        self._writer.close()
