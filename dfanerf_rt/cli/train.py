"""``dfanerf train CLIP --out AVATAR``: learn an avatar from a prepared clip."""

from __future__ import annotations

import contextlib
import signal
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

if TYPE_CHECKING:
    from dfanerf_rt.train.presets import Preset


@dataclass(frozen=True)
class TrainCommand:
    """Learn an avatar from a prepared clip. Ctrl-C keeps a checkpoint; the same command goes on from it.

    Several processes train one field together: torchrun --nproc_per_node=2 -m dfanerf_rt.cli.main train CLIP ...
    """

    clip: Annotated[Path, tyro.conf.Positional]
    """Folder written by 'dfanerf prepare'."""
    out: Path
    """The avatar to write (.safetensors). Checkpoint and previews go to a folder beside it, OUT.training."""
    preset: Literal["tiny", "preview", "standard", "full"] = "preview"
    """Sizes and times: tiny shows that every stage runs, preview takes minutes at 256x256 on two cores, standard an
    hour, full minutes on a GPU."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Where the field is trained."""
    precision: Literal["float32", "bfloat16"] | None = None
    """Of the field's products in training, instead of the preset's; weights stay float32."""
    seed: int = 0
    """Seed of every stage."""
    name: str = ""
    """The avatar's name; the file's name where it is empty."""
    restart: bool = False
    """Throw away the checkpoint of an earlier run."""
    minutes: float | None = None
    """Time for the field's training instead of the preset's."""
    tensorboard: Path | None = None
    """Write scalars and contact sheets to this folder; 'tensorboard --logdir FOLDER' shows them."""


def run(command: TrainCommand) -> int:
    """Train and write the avatar."""
    from dfanerf_rt.clip.format import Clip
    from dfanerf_rt.errors import AvatarError
    from dfanerf_rt.train.field_stage import no_picture
    from dfanerf_rt.train.loop import Interrupted
    from dfanerf_rt.train.pipeline import discard, train_avatar
    from dfanerf_rt.train.team import join_team
    from dfanerf_rt.train.watch import TensorBoard

    if command.out.suffix != ".safetensors":
        raise AvatarError(f"{command.out}: an avatar file must end in .safetensors")
    clip = Clip(command.clip)
    preset = _preset(command)
    work = command.out.with_suffix(".training")
    stop = _StopOnSignal()
    started = time.monotonic()
    with contextlib.ExitStack() as stack:
        team = stack.enter_context(join_team(command.device))
        board = None
        if command.tensorboard is not None and team.first:
            board = stack.enter_context(contextlib.closing(TensorBoard(command.tensorboard)))
        if command.restart and team.first:
            discard(work)
        team.wait()
        stack.enter_context(stop)
        display = stack.enter_context(_ProgressDisplay(quiet=not team.first))

        def update(stage: str, fraction: float, scalars: dict[str, float]) -> None:
            display.update(stage, fraction, scalars)
            if board is not None:
                board.scalars(stage, fraction, scalars)

        try:
            avatar = train_avatar(
                clip,
                work,
                preset,
                command.name or command.out.stem,
                command.seed,
                update,
                stop.requested,
                team,
                no_picture if board is None else board.picture,
                lambda line: display.note(f"dfanerf train: {line}"),
            )
        except Interrupted as stopped:
            display.note(str(stopped))
            return 130
    if not team.first:
        return 0
    avatar.save(command.out)
    size_mb = command.out.stat().st_size / 1e6
    (work / "checkpoint.safetensors").unlink(missing_ok=True)
    (work / "sync.safetensors").unlink(missing_ok=True)
    (work / "motion.safetensors").unlink(missing_ok=True)
    minutes = (time.monotonic() - started) / 60
    print(f"{command.out}: {size_mb:.1f} MB, trained in {minutes:.1f} min; {work} holds a preview")
    return 0


def _preset(command: TrainCommand) -> Preset:
    """The preset with what the command line changes of it."""
    from dfanerf_rt.train.presets import PRESETS

    preset = PRESETS[command.preset]
    training = preset.field_training
    if command.precision is not None:
        training = replace(training, precision=command.precision)
    if command.minutes is not None:
        training = replace(training, budget_s=60.0 * command.minutes, n_steps=10**7)
    return replace(preset, field_training=training)


class _StopOnSignal:
    """Turns the first Ctrl-C into a request to stop after the present step; a second one interrupts at once."""

    def __init__(self) -> None:
        self._asked = False

    def requested(self) -> bool:
        return self._asked

    def __enter__(self) -> _StopOnSignal:
        self._previous = {code: signal.signal(code, self._handle) for code in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *exc: object) -> None:
        for code, handler in self._previous.items():
            signal.signal(code, handler)

    def _handle(self, code: int, frame: object) -> None:
        if self._asked:
            raise KeyboardInterrupt
        self._asked = True


class _ProgressDisplay:
    """A bar a stage on a terminal; a line every ten seconds elsewhere."""

    def __init__(self, quiet: bool) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

        self._quiet = quiet
        self._live = sys.stderr.isatty() and not quiet
        self._tasks: dict[str, object] = {}
        self._lines: dict[str, float] = {}
        self._begun: dict[str, tuple[float, float]] = {}
        self._bars = Progress(
            TextColumn("{task.description:>10}"),
            BarColumn(),
            TaskProgressColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[scalars]}"),
            console=Console(stderr=True),
            disable=not self._live,
        )

    def __enter__(self) -> _ProgressDisplay:
        self._started = time.monotonic()
        self._bars.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._bars.stop()

    def note(self, text: str) -> None:
        """Say something that stays on the screen."""
        if not self._quiet:
            self._bars.console.print(text, soft_wrap=True, markup=False, highlight=False)

    def update(self, stage: str, fraction: float, scalars: dict[str, float]) -> None:
        """Show the state of a stage."""
        if self._quiet:
            return
        shown = "  ".join(f"{name} {value:.4g}" for name, value in scalars.items())
        if self._live:
            task = self._tasks.get(stage)
            if task is None:
                task = self._tasks[stage] = self._bars.add_task(stage, total=1.0, scalars="")
            self._bars.update(task, completed=fraction, scalars=shown)  # type: ignore[arg-type]
            return
        now = time.monotonic()
        begun = self._begun.setdefault(stage, (now, fraction))
        if fraction >= 1.0 or now - self._lines.get(stage, 0.0) > 10.0:
            self._lines[stage] = now
            done = fraction - begun[1]
            left = f"{(now - begun[0]) * (1.0 - fraction) / done:4.0f} s left" if done > 0.0 else " " * 11
            since = now - self._started
            print(f"{since:7.1f} s  {stage:<10} {100 * fraction:5.1f} %  {left}  {shown}", file=sys.stderr, flush=True)
