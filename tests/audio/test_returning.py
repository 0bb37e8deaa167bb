"""A microphone that goes and comes back, with a device made of numbers; the real one is in tests/live."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from dfanerf_rt.audio.returning import ReturningMicrophone
from dfanerf_rt.audio.ring import AudioChunk
from dfanerf_rt.errors import AudioError


class Device:
    """Hands over ``n_chunks`` of ones in real time, then is gone."""

    def __init__(self, n_chunks: int) -> None:
        self.left, self.clock, self.dropped_samples = n_chunks, 0, 7
        self.stopped = threading.Event()

    def start(self) -> None:
        self.began_s = time.monotonic()

    def read(self) -> AudioChunk | None:
        if self.left == 0:
            raise AudioError("microphone 'x' hands over no sound")
        self.left -= 1
        captured_s = self.began_s + (self.clock + 160) / 16000
        if self.stopped.wait(max(captured_s - time.monotonic(), 0.0)):
            return None
        self.clock += 160
        return AudioChunk(np.ones(160, np.float32), self.clock - 160, captured_s)

    def stop(self) -> None:
        self.stopped.set()


def test_silence_on_time_until_it_is_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dfanerf_rt.audio.returning.RETRY_S", 0.1)
    devices: list[Device | None] = [Device(10), None, None, Device(1000)]

    def open_device(wanted: object) -> Device:
        assert wanted is None
        device = devices.pop(0)
        if device is None:
            raise AudioError("no microphone found")
        return device

    lines: list[str] = []
    microphone = ReturningMicrophone(None, lines.append, open_device)
    microphone.start()
    chunks: list[AudioChunk] = []
    while len(chunks) < 100:
        chunk = microphone.read()
        assert chunk is not None
        chunks.append(chunk)
    microphone.stop()
    assert microphone.read() is None
    ends = np.cumsum([len(chunk.samples) for chunk in chunks])
    assert [chunk.start for chunk in chunks] == [0, *ends[:-1]], "one clock"
    sound = np.concatenate([chunk.samples for chunk in chunks])
    lost = int((sound == 0).sum())
    assert sound[:1600].all() and lost >= 0.2 * 16000 and sound[-1600:].all()
    changes = np.flatnonzero(np.diff(sound != 0))
    assert len(changes) == 2, "sound, silence, sound"
    # In step with real time also after the outage.
    begins_s = np.array([chunk.captured_s - chunk.end / 16000 for chunk in chunks])
    assert np.ptp(begins_s) < 0.002
    assert microphone.outages == 1 and microphone.dropped_samples == lost + 14
    assert "hands over no sound; the avatar rests" in lines[0] and "is back" in lines[1]


def test_no_device_at_the_beginning_is_an_error() -> None:
    def none(wanted: object) -> Device:
        raise AudioError("no microphone found; connect one, or use --audio FILE")

    with pytest.raises(AudioError, match="no microphone found"):
        ReturningMicrophone(open_device=none)
