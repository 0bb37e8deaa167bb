"""``dfanerf prepare VIDEO --out CLIP``: frames, matte, sound and 3DMM track from a video of one person."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

if TYPE_CHECKING:
    from dfanerf_rt.face.model import FaceModel


@dataclass(frozen=True)
class PrepareCommand:
    """Prepare a clip from a video of one person, uncut and looking towards the camera. Works without a network."""

    video: Annotated[Path, tyro.conf.Positional]
    """The video: any container, size and frame rate."""
    out: Path
    """The folder to write; must not exist yet."""
    size: int | None = None
    """Side of the square frames in pixels. Left out: 512, or less where the video has less."""
    audio: bool = True
    """--no-audio prepares a silent clip."""
    photometric: bool = True
    """--no-photometric leaves the head's poses as the landmarks have them; by default they follow the pictures."""
    sound_late_ms: float | None = None
    """By how much the sound of the video is late to the lips. Left out: found out by the lips, and moved where it is
    certain. 0 leaves it as it is."""
    consent: str = "not stated"
    """Who agreed to become an avatar, and how; kept in the clip and in the avatar."""
    licence: str = "not stated"
    """Licence of the video; kept in the clip and in the avatar."""
    face_model: Path | None = None
    """A 3DMM of your own instead of the bundled head: .safetensors of this package, or an ICT-FaceKit folder."""


def run(command: PrepareCommand) -> int:
    """Prepare, with progress on standard error and the result on standard output."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    from dfanerf_rt.clip.prepare import PrepareConfig, prepare
    from dfanerf_rt.face.fit import FitConfig

    config = PrepareConfig(
        command.size,
        command.audio,
        command.sound_late_ms,
        consent=command.consent,
        licence=command.licence,
        fit=FitConfig() if command.photometric else FitConfig(photometric=None),
    )
    model = _load_model(command.face_model) if command.face_model is not None else None
    columns = (TextColumn("{task.description:<24}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    bars = Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty())
    said = ""
    with bars:
        task = bars.add_task("", total=1.0)

        def report(share: float, message: str) -> None:
            nonlocal said
            if bars.disable and message != said:
                print(message, file=sys.stderr, flush=True)
                said = message
            bars.update(task, completed=share, description=message)

        made = prepare(command.video, command.out, config, report, model)
    meta = made.clip.meta
    for warning in made.judgement.warnings(range(meta.n_frames), meta.fps):
        print(f"dfanerf prepare: {warning}", file=sys.stderr)
    print(
        f"{command.out}: {made.n_frames} frames of {meta.width}x{meta.height} at {meta.fps:g} fps, "
        f"{made.n_tracked} tracked ({100 * made.n_tracked / made.n_frames:.1f} %), {made.seconds:.0f} s\n"
        f"reprojection error at 512 px: median {made.median_error_px:.2f} px, 95 % below {made.p95_error_px:.2f} px "
        f"(face model alone: median {made.model_error_px:.2f} px)\n"
        f"{made.sound}\n"
        f"look at {command.out / 'contact_sheet.jpg'} before training"
    )
    return 0


def _load_model(path: Path) -> FaceModel:
    from dfanerf_rt.face.model import FaceModel

    return FaceModel.from_ict(path) if path.is_dir() else FaceModel.load(path)
