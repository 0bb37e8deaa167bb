"""``dfanerf evaluate AVATAR CLIP``: how near an avatar comes to the held-out frames of its clip."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

if TYPE_CHECKING:
    from dfanerf_rt.evaluate.report import Evaluation


@dataclass(frozen=True)
class EvaluateCommand:
    """Score an avatar on the frames of a clip that training did not see, beside the mean training frame."""

    avatar: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="AVATAR")]
    """An avatar file, or 'presenter', the bundled one."""
    clip: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="CLIP")]
    """Folder written by 'dfanerf prepare'."""
    json: Path | None = None
    """Write the figures to this file."""
    out: Path | None = None
    """Write comparison.mp4 (truth, renders, error side by side) and worst.png (the ten worst frames) to this folder."""
    backend: str | None = None
    """Render on this backend (see 'dfanerf info'); the fastest that can run by default."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Where to render."""


def run(command: EvaluateCommand) -> int:
    """Evaluate, print the table, and write what was asked for."""
    from dfanerf_rt.avatar import Avatar
    from dfanerf_rt.clip.format import Clip
    from dfanerf_rt.errors import DfanerfError
    from dfanerf_rt.files import write_json

    if command.json is not None and command.json.is_dir():
        raise DfanerfError(f"{command.json}: is a folder; --json wants the name of a file")
    if command.out is not None and command.out.exists() and not command.out.is_dir():
        raise DfanerfError(f"{command.out}: is a file; --out wants a folder")
    avatar, clip = Avatar.load(command.avatar), Clip(command.clip)

    # What renders and tracks takes a second to import, so damaged files are refused before.
    from rich.console import Console

    from dfanerf_rt.evaluate.drive import evaluate_avatar
    from dfanerf_rt.evaluate.show import write_video, write_worst
    from dfanerf_rt.evaluate.table import build_table

    with _Bars() as bars:
        evaluation, rows = evaluate_avatar(avatar, clip, command.device, command.backend, bars.update)
        if command.json is not None:
            write_json(command.json, evaluation.report)
        if command.out is not None:
            write_worst(command.out / "worst.png", clip, rows, evaluation)
            write_video(command.out / "comparison.mp4", clip, rows, bars.update)
    console = Console(width=None if Console().is_terminal else 140)
    console.print(build_table(evaluation.report))
    for note in notes(evaluation):
        console.print(note)
    return 0


def notes(evaluation: Evaluation) -> list[str]:
    """What a reader of the table must know: rows that are absent, and frames in which no face was found."""
    report = evaluation.report
    lines = [f"no row '{name}': {reason}" for name, reason in report["absent"].items()]
    lines += report["doubts"]
    chance = report["mouth_opening_corr_chance"]
    if chance is not None:
        lines.append(f"opening corr. by chance (the same mouth saying something else, 95th percentile): {chance:.2f}")
    for name, series in evaluation.series.items():
        lost = int((~series.found[evaluation.kept]).sum())
        if lost:
            scored = report["frames"] - report["left_out"]
            lines.append(f"{name}: no face found in {lost} of {scored} frames; each counts as a mouth shrunk to a dot")
    if report["truth_landmarks_found"] < 1.0:
        share = report["truth_landmarks_found"]
        lines.append(f"truth: a face was found in {100 * share:.0f} % of the frames; LMD and opening cover only those")
    return lines


class _Bars:
    """A progress bar with the time left for each row, on standard error; silent where that is no terminal."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        console = Console(stderr=True)
        columns = (TextColumn("{task.description:>20}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._bars = Progress(*columns, console=console, disable=not console.is_terminal)
        self._tasks: dict[str, object] = {}

    def __enter__(self) -> _Bars:
        self._bars.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._bars.stop()

    def update(self, name: str, done: int, total: int) -> None:
        """Show that ``done`` of ``total`` frames of a step are ready."""
        if name not in self._tasks:
            self._tasks[name] = self._bars.add_task(name, total=total)
        self._bars.update(self._tasks[name], completed=done)  # type: ignore[arg-type]
