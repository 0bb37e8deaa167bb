"""``dfanerf render AVATAR --audio WAV --out MP4``: the avatar speaks a sound file, offline."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

if TYPE_CHECKING:
    import numpy as np

    from dfanerf_rt.live.chain import Chain
    from dfanerf_rt.live.stats import LiveReport


@dataclass(frozen=True)
class RenderCommand:
    """Let an avatar speak a sound file into an MP4, as fast as the machine can, every frame rendered."""

    avatar: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="AVATAR")]
    """Avatar file, or 'presenter', the bundled one."""
    audio: Path
    """Sound or video file whose sound is spoken."""
    out: Path
    """The MP4 to write."""
    motion: Literal["generated", "recorded", "still"] | None = None
    """Head pose and blinks: generated from the sound, replayed from the avatar's own clip, or held still. Generated
    where it is not given, if the avatar can; else recorded."""
    size: int | None = None
    """Width of the picture in px; the avatar's own where it is not given."""
    seed: int | None = None
    """Of generated motion, 0 where it is not given: the same seed and sound give the same motion. Of recorded motion,
    where to begin; at its beginning where it is not given."""
    temperature: float = 1.0
    """How much chance there is in generated motion: 1 moves as the person does, 0 hardly."""
    look_at: tuple[float, float] | None = None
    """Where generated motion turns the head: degrees to the right of the picture, and downwards, from where the person
    usually looks."""
    hold_still: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Generated motion keeps to the person's usual pose; eyes go on blinking."""
    lookahead_ms: float | None = None
    """How much future sound a frame depends on; the most the avatar was trained with where it is not given."""
    mark: bool = True
    """Draw a small visible mark 'synthetic'. The file's metadata says it in any case."""


def run(command: RenderCommand) -> int:
    """Render and say where the file is."""
    from dfanerf_rt.audio.sources import load_audio
    from dfanerf_rt.live.chain import MotionControls, load_chain

    check_out(command.out)
    samples = load_audio(command.audio)
    controls = MotionControls(command.temperature, command.look_at, command.hold_still)
    chain = load_chain(
        command.avatar,
        command.size,
        command.motion,
        command.seed,
        lookahead_ms=command.lookahead_ms,
        controls=controls,
    )
    report = render_file(chain, samples, command.out, command.mark)
    print(
        f"{command.out}: {report.frames} frames, {chain.renderer.width}x{chain.renderer.height}, "
        f"{report.sound_s:.1f} s, rendered at {report.fps:.1f} frames per second ({chain.motion_name} motion)"
    )
    return 0


def render_file(chain: Chain, samples: np.ndarray, out: Path, mark: bool) -> LiveReport:
    """Run the live pipeline over (N,) samples as fast as it goes, with a bar of progress."""
    from dfanerf_rt.audio.sources import FileSource
    from dfanerf_rt.live.pipeline import LiveConfig, LivePipeline
    from dfanerf_rt.live.sinks.mp4 import Mp4Sink
    from dfanerf_rt.live.stages import FRAME_SAMPLES

    source = FileSource(samples, realtime=False)
    sink = Mp4Sink(out, chain.renderer.width, chain.renderer.height, mark)
    pipeline = LivePipeline(source, chain.encoder, chain.motion, chain.renderer, [sink], LiveConfig(realtime=False))
    with progress(-(-len(samples) // FRAME_SAMPLES)) as advance:
        return pipeline.run(on_frame=advance)


@contextmanager
def progress(n_frames: int) -> Iterator[Callable[[int], None]]:
    """A bar with the time left on a terminal, nothing elsewhere; call the result with each frame's index."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    bars = Progress(
        TextColumn("rendering"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        disable=not sys.stderr.isatty(),
    )
    with bars:
        task = bars.add_task("frames", total=n_frames)
        yield lambda index: bars.update(task, completed=index + 1)


def check_out(out: Path) -> None:
    """Refuse an output that is not an MP4 before anything slow begins."""
    from dfanerf_rt.errors import DfanerfError

    if out.suffix.lower() != ".mp4":
        raise DfanerfError(f"{out}: the output must end in .mp4")
    if out.is_dir():
        raise DfanerfError(f"{out}: is a folder")
