"""The sinks with real parts: a streaming server that listens, a display, a loudspeaker, and what is said without."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from dfanerf_rt.audio.sources import FileSource, MicrophoneSource
from dfanerf_rt.errors import AudioError, DfanerfError
from dfanerf_rt.live.pipeline import LivePipeline
from dfanerf_rt.live.sinks.camera import CameraSink
from dfanerf_rt.live.sinks.rtmp import RtmpSink
from dfanerf_rt.live.sinks.window import window_unavailable_reason
from dfanerf_rt.live.stages import Frame
from tests.live.displays import picture_of, virtual_display
from tests.live.doubles import BarRenderer, CountingMotion, LevelEncoder, MemorySink
from tests.live.virtual_microphone import skip_without_pulseaudio, virtual_microphone


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def tones(seconds: float) -> np.ndarray:
    """Half a second of tone from the beginning of every second."""
    samples = np.zeros(round(16000 * seconds), np.float32)
    for start in range(0, len(samples), 16000):
        samples[start : start + 8000] = 0.5 * np.sin(np.arange(8000) * 0.3)
    return samples


class RtmpServer:
    """Takes one stream, and keeps what it shows."""

    def __init__(self, hang_up_after: int | None = None) -> None:
        self.url = f"rtmp://127.0.0.1:{free_port()}/live/key"
        self.levels: list[tuple[float, float]] = []
        self.sound: list[tuple[float, np.ndarray]] = []
        self.hang_up_after = hang_up_after
        self.fault: BaseException | None = None
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self) -> None:
        try:
            with av.open(self.url, options={"listen": "1", "timeout": "60"}) as container:
                for packet in container.demux():
                    for frame in packet.decode():
                        self.take(frame)
                    if self.hang_up_after is not None and len(self.levels) >= self.hang_up_after:
                        return
        except BaseException as fault:  # noqa: BLE001 - shown by the test
            # FFmpeg's server does not know a goodbye from a broken line.
            self.fault = None if isinstance(fault, OSError) and self.levels else fault

    def take(self, frame: Any) -> None:
        if isinstance(frame, av.VideoFrame):
            self.levels.append((float(frame.time), float(frame.to_ndarray(format="gray").mean())))
        else:
            self.sound.append((float(frame.time), frame.to_ndarray().mean(axis=0)))


def connected(server: RtmpServer, **arguments: Any) -> RtmpSink:
    """The listener needs a moment before it listens."""
    deadline = time.monotonic() + 30
    while True:
        try:
            return RtmpSink(server.url, 64, 48, **arguments)
        except DfanerfError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def run(sink: Any, seconds: float, *more: Any) -> Any:
    source = FileSource(tones(seconds))
    return LivePipeline(source, LevelEncoder(2), CountingMotion(), BarRenderer(), [sink, *more]).run()


def test_a_streaming_server_gets_picture_and_sound_in_step() -> None:
    server = RtmpServer()
    report = run(connected(server, mark=False), 3.0)
    server.thread.join(30.0)
    assert not server.thread.is_alive() and server.fault is None
    assert report.sinks[0].fault is None
    assert len(server.levels) == 75, "dropped pictures repeat"
    white = [level > 128 for _, level in server.levels]
    flashes = [server.levels[k][0] for k in range(1, 75) if white[k] and not white[k - 1]]
    rate_hz = 44100
    start_s = server.sound[0][0]
    loud = np.flatnonzero(np.abs(np.concatenate([samples for _, samples in server.sound])) > 0.2)
    clicks = loud[np.diff(loud, prepend=-rate_hz) > rate_hz // 10] / rate_hz + start_s
    assert len(flashes) == 2 and len(clicks) == 3
    # A flash may be late by pictures that a busy machine dropped; AAC's first frame is a lead-in of 23 ms.
    late_s = np.array(flashes) - clicks[1:]
    assert late_s.min() > -0.05 and late_s.max() < 0.25


def test_a_streaming_server_that_hangs_up_is_reported_and_the_others_go_on() -> None:
    server = RtmpServer(hang_up_after=10)
    whole = MemorySink("whole")
    report = run(connected(server), 6.0, whole)
    rtmp, memory = report.sinks
    assert "the streaming server hung up" in str(rtmp.fault)
    assert "key" not in str(rtmp.fault), "the key of a channel is a secret"
    assert memory.fault is None and sum(map(len, whole.sound)) == 96000


def test_no_streaming_server_is_said_at_once() -> None:
    with pytest.raises(DfanerfError, match="no streaming server answers"):
        RtmpSink(f"rtmp://127.0.0.1:{free_port()}/live/key", 64, 48)


WINDOW_SCRIPT = """
import sys, time
import numpy as np
from dfanerf_rt.live.sinks.window import WindowSink
from dfanerf_rt.live.outlets import Outlet
from dfanerf_rt.live.stages import Frame
ended = []
outlet = Outlet(WindowSink("a window", lambda: ended.append(True), mark=False), 4, block=False)
picture = np.zeros((128, 128, 3), np.uint8)
picture[:] = (250, 120, 20)
for index in range(3000):
    outlet.put(Frame(index, picture, 0.0, 0.0))
    time.sleep(0.02)
    if index == 5:
        print("shown", flush=True)
    if ended:
        break
outlet.close()
print("ended", bool(ended), outlet.fault, flush=True)
"""


def test_a_window_shows_the_picture_and_closing_it_ends() -> None:
    pytest.importorskip("cv2")
    with virtual_display() as display:
        environment = {**os.environ, "DISPLAY": display}
        process = subprocess.Popen(
            [sys.executable, "-c", WINDOW_SCRIPT], env=environment, stdout=subprocess.PIPE, text=True
        )
        try:
            assert process.stdout is not None and process.stdout.readline() == "shown\n"
            deadline = time.monotonic() + 60
            while True:
                screen = picture_of(display).astype(int)
                orange = (np.abs(screen - (250, 120, 20)) < 12).all(axis=2)
                if orange.sum() >= 128 * 128 or time.monotonic() > deadline:
                    break
                time.sleep(0.1)
            assert orange.sum() >= 128 * 128, "colours are the right way round"
            assert process.poll() is None
            if shutil.which("xdotool") is None:
                pytest.skip("needs xdotool to press a key (Debian: apt install xdotool)")
            while process.poll() is None and time.monotonic() < deadline:
                row, column = np.argwhere(orange)[len(np.argwhere(orange)) // 2]
                press = ["xdotool", "mousemove", str(column), str(row), "click", "1", "key", "q"]
                subprocess.run(press, env=environment, check=True, capture_output=True)
                time.sleep(0.3)
            assert process.communicate(timeout=60)[0].endswith("ended True None\n")
        finally:
            process.terminate()
            process.wait(20.0)


def test_without_a_display_the_reason_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    assert "DISPLAY is not set" in str(window_unavailable_reason())
    monkeypatch.setenv("DISPLAY", ":987")
    assert "display :987 does not answer" in str(window_unavailable_reason())
    monkeypatch.setenv("DISPLAY", "nonsense")
    assert "does not answer" in str(window_unavailable_reason())


def test_a_virtual_camera_shows_pictures_or_says_why_there_is_none() -> None:
    pytest.importorskip("pyvirtualcam")
    try:
        sink = CameraSink(64, 48)
    except DfanerfError as fault:
        assert "no virtual camera" in str(fault) and "modprobe v4l2loopback" in str(fault)
        return
    for index in range(3):
        sink.write_frame(Frame(index, np.zeros((48, 64, 3), np.uint8), 0.0, 0.0))
    assert sink.device
    sink.close()


@pytest.fixture
def loudspeaker(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A loudspeaker that the default microphone hears."""
    skip_without_pulseaudio()
    with (
        tempfile.TemporaryDirectory(prefix="dfa", dir="/tmp") as folder,
        virtual_microphone(Path(folder)) as environment,
        monkeypatch.context() as patch,
    ):
        for name in ("XDG_RUNTIME_DIR", "PULSE_RUNTIME_PATH", "HOME", "PULSE_SERVER"):
            patch.setenv(name, environment[name])
        yield


def test_the_voice_comes_with_its_lips(loudspeaker: None) -> None:
    """What a listener hears: all of the voice, not before the picture, and soon after it."""
    from dfanerf_rt.live.sinks.voice import VoiceSink

    ear = MicrophoneSource("pulse")
    ear.start()
    voice, eye = VoiceSink("pulse"), MemorySink()
    done = threading.Event()
    heard: list[tuple[float, np.ndarray]] = []

    def listen() -> None:
        while not done.is_set():
            chunk = ear.read()
            if chunk is None:
                return
            heard.append((chunk.captured_s - len(chunk.samples) / 16000, chunk.samples))

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    run(voice, 5.0, eye)
    time.sleep(0.3)
    done.set()
    listener.join(10.0)
    ear.stop()

    sound = np.concatenate([samples for _, samples in heard])
    times_s = np.concatenate([start_s + np.arange(len(samples)) / 16000 for start_s, samples in heard])
    loud = np.flatnonzero(np.abs(sound) > 0.2)
    clicks = times_s[loud[np.diff(loud, prepend=-16000) > 4000]]
    flashes = [
        eye.delivered_s[k] for k in range(len(eye.frames)) if eye.levels[k] and (k == 0 or not eye.levels[k - 1])
    ]
    assert len(flashes) == 5 and len(clicks) == 5, f"{voice.holes} holes"
    late_ms = 1000 * (clicks - np.array(flashes))
    print(f"the voice comes {np.round(late_ms)} ms after its picture; device {voice.device_delay_ms:.0f} ms")
    # 40 ms wait against holes, the sound server adds its own; the first flash is in the shutter of the first frame
    assert late_ms.min() > -10 and np.median(late_ms) < 250
    loud_s = len(loud) / 16000
    assert loud_s > 0.6 * 5 * 0.5 * 0.73, "a tone is above 0.2 for three quarters of the time"


def test_no_loudspeaker_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pyaudio")
    from dfanerf_rt.live.sinks.voice import VoiceSink

    monkeypatch.setenv("PULSE_SERVER", f"unix:{tmp_path}/none")
    monkeypatch.setenv("HOME", str(tmp_path))
    try:
        VoiceSink("no such loudspeaker")
    except AudioError as fault:
        assert "loudspeaker" in str(fault) and "\n" not in str(fault)
