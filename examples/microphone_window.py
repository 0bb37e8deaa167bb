"""Speak, and the avatar speaks, in a window, until it is closed: microphone_window.py [AVATAR] [SECONDS]"""

import sys

from dfanerf_rt.audio.sources import ReturningMicrophone
from dfanerf_rt.live.chain import load_chain
from dfanerf_rt.live.pipeline import LiveConfig, LivePipeline
from dfanerf_rt.live.sinks.window import WindowSink

avatar = sys.argv[1] if len(sys.argv) > 1 else "presenter"
seconds = float(sys.argv[2]) if len(sys.argv) > 2 else None
microphone = ReturningMicrophone(on_change=print)
chain = load_chain(avatar)
window = WindowSink("speak", on_close=lambda: pipeline.stop())
pipeline = LivePipeline(microphone, chain.encoder, chain.motion, chain.renderer, [window], LiveConfig())
report = pipeline.run(seconds)
print(f"{report.frames} frames, sound to picture {report.latency_ms_p50:.0f} ms (p95 {report.latency_ms_p95:.0f} ms)")
