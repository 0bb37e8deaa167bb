"""A real sound server that goes away in the middle, and comes back."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np
import pytest

from dfanerf_rt.audio.returning import ReturningMicrophone
from dfanerf_rt.audio.ring import AudioChunk
from dfanerf_rt.clip.format import write_wav
from tests.live.virtual_microphone import play, skip_without_pulseaudio, virtual_microphone


def test_unplugged_and_back(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    skip_without_pulseaudio()
    write_wav(tmp_path / "tone.wav", (0.5 * np.sin(np.arange(10 * 16000) * 0.3)).astype(np.float32))
    lines: list[str] = []
    chunks: list[AudioChunk] = []

    def read(seconds: float) -> np.ndarray:
        parts: list[np.ndarray] = []
        while sum(map(len, parts)) < seconds * 16000:
            chunk = microphone.read()
            assert chunk is not None
            chunks.append(chunk)
            parts.append(chunk.samples)
        return np.concatenate(parts)

    with tempfile.TemporaryDirectory(prefix="dfa", dir="/tmp") as folder:
        with virtual_microphone(Path(folder)) as environment:
            for name in ("XDG_RUNTIME_DIR", "PULSE_RUNTIME_PATH", "HOME", "PULSE_SERVER"):
                monkeypatch.setenv(name, environment[name])
            microphone = ReturningMicrophone("pulse", on_change=lines.append)
            microphone.start()
            play(tmp_path / "tone.wav", environment)
            assert np.abs(read(2.0)).max() > 0.3
        read(2.5)  # unplugged
        assert microphone.outages == 1 and len(lines) == 1
        assert "microphone 'pulse' hands over no sound" in lines[0]
        assert not read(0.5).any()
        with virtual_microphone(Path(folder)) as environment:
            play(tmp_path / "tone.wav", environment)
            deadline = time.monotonic() + 60
            while len(lines) < 2 and time.monotonic() < deadline:
                read(0.5)
            assert "is back" in lines[1]
            assert np.abs(read(3.0)).max() > 0.3
            microphone.stop()
    starts = [chunk.start for chunk in chunks]
    assert starts == [0, *np.cumsum([len(chunk.samples) for chunk in chunks])[:-1]], "one clock"
    began_s = np.array([chunk.captured_s - chunk.end / 16000 for chunk in chunks])
    assert abs(np.median(began_s[-50:]) - np.median(began_s[:50])) < 0.1, "in step with real time after the outage"
    assert microphone.dropped_samples >= 2.5 * 16000
