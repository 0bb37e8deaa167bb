"""``dfanerf demo``: a bundled avatar speaks a bundled sentence, and the machine's speed is reported."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dfanerf_rt.live.chain import Chain
    from dfanerf_rt.live.stats import LiveReport

SENTENCE = Path(__file__).parent.parent / "assets" / "demo_sentence.wav"
TIMED_FRAMES = 100
LIVE_S = 5.0


@dataclass(frozen=True)
class DemoCommand:
    """Let a bundled avatar speak a bundled sentence, and report how fast this machine renders."""

    avatar: str = "presenter"
    """'presenter', 'narrator', or an avatar file."""
    out: Path = Path("demo.mp4")
    """The MP4 to write."""
    size: int | None = None
    """Width of the picture in px; the avatar's own where it is not given."""
    mark: bool = True
    """Draw a small visible mark 'synthetic'. The file's metadata says it in any case."""


def run(command: DemoCommand) -> int:
    """Render the sentence, time the renderer alone, then the whole chain live."""
    import numpy as np

    from dfanerf_rt.audio.sources import load_audio
    from dfanerf_rt.cli.render import check_out, render_file
    from dfanerf_rt.live.chain import load_chain

    check_out(command.out)
    samples = load_audio(SENTENCE)
    chain = load_chain(command.avatar, command.size)
    report = render_file(chain, samples, command.out, command.mark)
    render_ms = time_render(chain)
    print(f"{command.out}: {report.sound_s:.1f} s, {chain.renderer.width}x{chain.renderer.height}")
    print(
        f"  whole chain, sound to file: {report.fps:6.1f} frames per second "
        f"({report.frames} frames in {report.wall_s:.1f} s)"
    )
    median, slow = np.percentile(render_ms, [50, 95])
    print(
        f"  render only:                {1000 / median:6.1f} frames per second "
        f"(a frame {median:.1f} ms p50, {slow:.1f} ms p95)"
    )
    live = speak_live(command)
    print(
        f"  live, in real time:         {live.fps:6.1f} frames per second, "
        f"{live.latency_ms_p50:.0f} ms from sound to picture p50, {live.latency_ms_p95:.0f} ms p95"
    )
    return 0


def speak_live(command: DemoCommand) -> LiveReport:
    """The first seconds of the sentence once more, as fast as they are spoken, into no file."""
    from dfanerf_rt.audio.sources import FileSource
    from dfanerf_rt.live.chain import load_chain
    from dfanerf_rt.live.pipeline import LivePipeline

    chain = load_chain(command.avatar, command.size)
    source = FileSource(SENTENCE, realtime=True)
    try:
        return LivePipeline(source, chain.encoder, chain.motion, chain.renderer, []).run(LIVE_S)
    finally:
        source.stop()


def time_render(chain: Chain) -> list[float]:
    """Milliseconds to fold and march each of a hundred frames, with a mouth that opens and closes."""
    import math

    import torch

    times_ms = []
    for k in range(TIMED_FRAMES):
        head_pose, eye_code = chain.motion.next()
        mouth_code = torch.full((chain.encoder.config.code_dim,), math.sin(k / 3))
        began_s = time.perf_counter()
        chain.renderer.fold(torch.cat([mouth_code, eye_code]), head_pose)
        chain.renderer.render()
        times_ms.append(1000.0 * (time.perf_counter() - began_s))
    return times_ms
