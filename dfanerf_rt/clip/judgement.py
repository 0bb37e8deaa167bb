"""What of a clip can be learned from: which frames are left out and why, and where the background moves."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dfanerf_rt.clip.format import Clip
from dfanerf_rt.clip.interruptions import runs
from dfanerf_rt.errors import ClipError
from dfanerf_rt.files import check_tensors, load_tensors, save_tensors

JUDGEMENT_SCHEMA = "dfanerf-judgement/1"
FILE_NAME = "judgement.safetensors"

GOOD, INTERRUPTED, FROZEN, NO_FACE, MISFIT, NO_MATTE = range(6)
WORDS = {
    INTERRUPTED: "the picture is black, broken or of something else",
    FROZEN: "the picture stands still",
    NO_FACE: "no face was found",
    MISFIT: "the head model does not fit the face",
    NO_MATTE: "the matte fails",
}
"""What is wrong with a frame; where several things are, the first of them counts."""
SHOWN_RUNS = 4
"""A warning names so many stretches of frames."""
MOVING_WORTH_SAYING = 0.005
EYES_DOUBTED_BELOW = 0.5
"""See :attr:`Judgement.eye_contrast`."""


@dataclass(frozen=True)
class Judgement:
    """Of a clip of T frames of H x W pixels."""

    fault: np.ndarray
    """(T,) uint8: ``GOOD``, or what is wrong."""
    moving: np.ndarray
    """(H, W) bool: the background changes there over time, so that no still picture can stand for it."""
    moving_share: float
    """Share of the background's pixels that do."""
    eye_contrast: float | None
    """How much the eyes' picture differs between tracked as closed and tracked as open, against its spread within
    both; None where too few frames are closed to tell. Eyes that show give 1 and more, eyes behind dark glasses
    about 0."""

    @classmethod
    def faultless(cls, n_frames: int, height: int, width: int) -> Judgement:
        """Nothing to complain of."""
        return cls(np.zeros(n_frames, np.uint8), np.zeros((height, width), bool), 0.0, None)

    def tracked(self, frames: range) -> torch.Tensor:
        """(n,) bool: frames whose track says what the face did; the matte may be wrong."""
        fault = self.fault[frames.start : frames.stop]
        return torch.from_numpy((fault == GOOD) | (fault == NO_MATTE))

    def pictured(self, frames: range) -> torch.Tensor:
        """(n,) bool: frames whose picture, track and matte can all be learned from."""
        return torch.from_numpy(self.fault[frames.start : frames.stop] == GOOD)

    @property
    def eyes_trusted(self) -> bool:
        """Whether nothing speaks against what the track says of the eyes."""
        return self.eye_contrast is None or self.eye_contrast >= EYES_DOUBTED_BELOW

    def counts(self) -> dict[str, int]:
        """Frames left out for each reason."""
        counted = {words: int((self.fault == fault).sum()) for fault, words in WORDS.items()}
        return {words: count for words, count in counted.items() if count}

    def warnings(self, frames: range, fps: float) -> list[str]:
        """One line on everything among ``frames`` that is left out or doubted."""
        lines = []
        fault = self.fault[frames.start : frames.stop]
        for kind, words in WORDS.items():
            found = np.flatnonzero(fault == kind)
            if len(found):
                where = _stretches(found + frames.start, fps)
                lines.append(f"left out {len(found)} of {len(frames)} frames ({where}): {words}")
        if self.moving_share > MOVING_WORTH_SAYING:
            share = f"{100 * self.moving_share:.1f} %"
            lines.append(f"the background moves in {share} of its pixels; what it shows there is not learned from")
        if not self.eyes_trusted:
            lines.append(
                "the eyes look alike where they are tracked as closed and as open (dark glasses, glare or hair hide "
                "them?); blinks of this clip are doubtful"
            )
        return lines

    def save(self, folder: Path) -> None:
        """Write ``judgement.safetensors`` into the folder of a clip."""
        tensors = {
            "fault": torch.from_numpy(self.fault),
            "moving": torch.from_numpy(self.moving.astype(np.uint8)),
        }
        metadata: dict[str, Any] = {
            "schema": JUDGEMENT_SCHEMA,
            "moving_share": self.moving_share,
            "eye_contrast": self.eye_contrast,
        }
        save_tensors(folder / FILE_NAME, tensors, metadata)


def load_judgement(clip: Clip) -> Judgement | None:
    """The judgement that is stored with a clip, None without one.

    Raises:
        ClipError: the file is damaged, of another schema, or of another clip.
    """
    path, meta = clip.root / FILE_NAME, clip.meta
    if not path.is_file():
        return None
    tensors, metadata = load_tensors(path, ClipError)
    if metadata.get("schema") != JUDGEMENT_SCHEMA:
        raise ClipError(f"{path}: schema is {metadata.get('schema')!r}, expected {JUDGEMENT_SCHEMA!r}")
    expected: dict[str, tuple[int | None, ...]] = {"fault": (meta.n_frames,), "moving": (meta.height, meta.width)}
    check_tensors(path, tensors, expected, ClipError, torch.uint8)
    share, contrast = metadata.get("moving_share"), metadata.get("eye_contrast")
    if not isinstance(share, float) or not (contrast is None or isinstance(contrast, float)):
        raise ClipError(f"{path}: moving_share is {share!r}, eye_contrast {contrast!r}; expected numbers")
    fault = tensors["fault"].numpy()
    if int(fault.max()) > NO_MATTE:
        raise ClipError(f"{path}: fault holds {int(fault.max())}, expected {GOOD} to {NO_MATTE}")
    return Judgement(fault, tensors["moving"].numpy() > 0, share, contrast)


def good_stretches(good: torch.Tensor, shortest: int = 1) -> list[slice]:
    """Runs of at least ``shortest`` True in (T,) bool."""
    return [run for run in runs(good.numpy()) if run.stop - run.start >= shortest]


def bridged(values: torch.Tensor, good: torch.Tensor) -> torch.Tensor:
    """(T, C) with rows that are not ``good`` (T,) put on the straight way between the good ones around them.

    Raises:
        ClipError: no row is good.
    """
    if bool(good.all()):
        return values
    if not bool(good.any()):
        raise ClipError("no frame of the clip can be learned from")
    frames, known = np.arange(len(values)), np.flatnonzero(good.numpy())
    columns = [np.interp(frames, known, column[known]) for column in values.double().numpy().T]
    return torch.from_numpy(np.stack(columns, axis=1)).to(values.dtype)


def _stretches(frames: np.ndarray, fps: float) -> str:
    """Runs of frames in words: "40 to 52 at 1.6 s, 80 at 3.2 s and 3 more stretches"."""
    parts = np.split(frames, np.flatnonzero(np.diff(frames) > 1) + 1)
    said = [
        (f"{run[0]} to {run[-1]}" if len(run) > 1 else f"{run[0]}") + f" at {run[0] / fps:.1f} s"
        for run in parts[:SHOWN_RUNS]
    ]
    more = len(parts) - SHOWN_RUNS
    return ", ".join(said) + (f" and {more} more stretch{'es' if more > 1 else ''}" if more > 0 else "")
