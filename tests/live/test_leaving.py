"""Python ends while something is live: its sinks are finished first, and its status is the program's own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import av

REPOSITORY = Path(__file__).resolve().parents[2]
SESSION = """
import asyncio, sys
from dfanerf_rt.live.chain import load_chain
from dfanerf_rt.live.session import LiveSession

async def run():
    for realtime in (True, False):
        session = LiveSession(load_chain("presenter", size=128), realtime=realtime)
        await session.start()
        await session.push_audio(np.zeros(32000, np.float32))
        await anext(session)
    raise RuntimeError("a test that fails leaves its sessions behind")

import numpy as np
asyncio.run(run())
"""
RECORDING = """
import sys, threading, time
from pathlib import Path
from dfanerf_rt.audio.push import PushSource
from dfanerf_rt.live.chain import load_chain
from dfanerf_rt.live.pipeline import LivePipeline
from dfanerf_rt.live.sinks.mp4 import Mp4Sink

chain = load_chain("presenter", size=128)
sink = Mp4Sink(Path(sys.argv[1]), 128, 128)
pipeline = LivePipeline(PushSource(), chain.encoder, chain.motion, chain.renderer, [sink])
begun = threading.Event()
run = lambda: pipeline.run(on_frame=lambda index: index >= 12 and begun.set())
threading.Thread(target=run, daemon=True).start()
assert begun.wait(60)
sys.exit(3)
"""


def ended(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "-c", script, *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)


def test_sessions_left_running_do_not_take_the_process_down() -> None:
    done = ended(SESSION)
    assert done.stderr.rstrip().endswith("leaves its sessions behind") and done.returncode == 1


def test_a_recording_left_running_is_finished(tmp_path: Path) -> None:
    done = ended(RECORDING, str(tmp_path / "a.mp4"))
    assert done.stderr == "" and done.returncode == 3
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert len(list(container.decode(video=0))) >= 13
