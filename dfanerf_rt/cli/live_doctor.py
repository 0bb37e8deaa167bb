"""``dfanerf-live --doctor``: whether this machine can speak live, and what to change where it cannot."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from dfanerf_rt.live.chain import Chain

TIMED_FRAMES = 50
FRAME_MS = 40.0
SPARE = 0.75
"""A frame may take this share of its 40 ms; the rest is for sinks and for what else runs."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    what: str
    found: str
    advice: str = ""
    """What to change; nothing where all is well."""
    needed: bool = False
    """Whether live speech is impossible as it is."""

    def line(self) -> str:
        """For people."""
        sign = "no " if self.needed else "!  " if self.advice else "ok "
        return f"{sign} {self.what:<14} {self.found}" + (f"; {self.advice}" if self.advice else "")


def examine(avatar: str, size: int | None, lookahead_ms: float) -> int:
    """Print what was found, each thing as soon as it is known; 0 where live speech is possible, else 2."""
    findings = []
    for finding in look(avatar, size, lookahead_ms):
        findings.append(finding)
        print(finding.line(), flush=True)
    able = not any(finding.needed for finding in findings)
    print("this machine can speak live" if able else "this machine cannot speak live as it is: see the lines with 'no'")
    return 0 if able else 2


def look(avatar: str, size: int | None, lookahead_ms: float) -> Iterator[Finding]:
    """Everything, from the renderer outwards.

    Raises:
        AvatarError: the avatar cannot be used.
    """
    from dfanerf_rt.live.chain import load_chain

    yield _device()
    began_s = time.monotonic()
    chain = load_chain(avatar, size, lookahead_ms=lookahead_ms)
    loaded_s = time.monotonic() - began_s
    slow = "the first start after an installation compiles; later ones are quicker" if loaded_s > 5.0 else ""
    yield Finding("start", f"{avatar} is ready after {loaded_s:.1f} s", slow)
    yield from speed(chain)
    yield from _sound()
    yield from _sinks()


def speed(chain: Chain) -> Iterator[Finding]:
    """What a frame costs, by stage, timed on this machine as it is now."""
    import torch

    voice = np.random.default_rng(0).normal(0.0, 0.05, 640 * (TIMED_FRAMES + 10)).astype(np.float32)
    speech_ms, motion_ms, render_ms = [], [], []
    picture = torch.empty(chain.renderer.height, chain.renderer.width, 3, dtype=torch.uint8)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for begin in range(0, len(voice), 640):
            times_s = [time.perf_counter()]
            codes = chain.encoder.push(voice[begin : begin + 640])
            times_s.append(time.perf_counter())
            for code in codes:
                chain.motion.hear(code)
                head_pose, eye_code = chain.motion.next()
                times_s.append(time.perf_counter())
                chain.renderer.fold(torch.cat([code, eye_code]), head_pose)
                chain.renderer.render(picture)
                times_s.append(time.perf_counter())
                before, heard, moved, rendered = times_s[-4:]
                speech_ms.append(1000 * (heard - before))
                motion_ms.append(1000 * (moved - heard))
                render_ms.append(1000 * (rendered - moved))
                times_s = times_s[-1:] * 2
    finally:
        torch.set_num_threads(threads)
    render, whole = np.percentile(render_ms, 95), np.percentile(np.add(np.add(speech_ms, motion_ms), render_ms), 95)
    width, height = chain.renderer.width, chain.renderer.height
    found = (
        f"{width}x{height}: {1000 / np.median(render_ms):.0f} fps rendered, p95 {render:.1f} ms a frame; "
        f"speech {np.median(speech_ms):.1f} ms, motion {np.median(motion_ms):.1f} ms"
    )
    smaller = max(int(width * (SPARE * FRAME_MS / whole) ** 0.5) // 16 * 16, 32)
    if whole > FRAME_MS:
        yield Finding("speed", found, f"too slow for 25 fps: try --size {smaller}, or end what else runs", needed=True)
    elif whole > SPARE * FRAME_MS:
        yield Finding("speed", found, f"little to spare at 25 fps: --size {smaller} is safer")
    else:
        yield Finding("speed", found)
    lookahead_ms = chain.encoder.lookahead_ms
    yield Finding("latency", f"about {lookahead_ms + 10 + whole:.0f} ms, of which {lookahead_ms:.0f} ms are look-ahead")


def _device() -> Finding:
    import torch

    from dfanerf_rt import native

    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU that torch can use"
    reason = native.unavailable_reason()
    if reason is not None:
        return Finding("device", f"{gpu}; no native renderer", f"{reason}", needed=True)
    return Finding("device", f"{torch.get_num_threads()} threads, {native.load().simd_level()}, {gpu}")


def _sound() -> Iterator[Finding]:
    from dfanerf_rt.audio.sources import list_devices, list_loudspeakers
    from dfanerf_rt.errors import AudioError

    for what, devices, advice in (
        ("microphone", list_devices, "connect one, or use --audio FILE, --audio - or --web"),
        ("loudspeaker", list_loudspeakers, "connect one; only --voice needs it"),
    ):
        try:
            found = devices()
        except AudioError as fault:
            yield Finding(what, "none can be used", str(fault))
            continue
        if found:
            default = next((device for device in found if device.is_default), found[0])
            yield Finding(what, f"{len(found)} found, default '{default.name}' at {default.rate_hz} Hz")
        else:
            yield Finding(what, "none found", advice)


def _sinks() -> Iterator[Finding]:
    from dfanerf_rt.errors import DfanerfError
    from dfanerf_rt.live.sinks.camera import CameraSink
    from dfanerf_rt.live.sinks.window import window_unavailable_reason

    reason = window_unavailable_reason()
    yield Finding("window", "there is a display" if reason is None else "none", reason or "")
    missing = [name for name in ("aiohttp", "aiortc") if importlib.util.find_spec(name) is None]
    advice = "pip install 'dfanerf-rt[web]'" if missing else ""
    yield Finding("web page", f"{' and '.join(missing)} not installed" if missing else "can be served", advice)
    try:
        camera = CameraSink(64, 64)
    except DfanerfError as fault:
        yield Finding("virtual camera", "none", str(fault))
    else:
        yield Finding("virtual camera", camera.device)
        camera.close()
