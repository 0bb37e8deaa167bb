"""Sound to picture with real parts: a sound server, PyAudio, the presenter; from an onset in the sound to the change in
the picture, not from what the pipeline says of itself."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np
import pytest

from dfanerf_rt.audio.ring import AudioChunk
from dfanerf_rt.audio.sources import ReturningMicrophone, load_audio
from dfanerf_rt.clip.format import write_wav
from dfanerf_rt.live.chain import load_chain
from dfanerf_rt.live.pipeline import LivePipeline
from dfanerf_rt.live.stages import Frame
from tests.live.virtual_microphone import play, skip_without_pulseaudio, virtual_microphone

SENTENCE = Path(__file__).resolve().parents[2] / "dfanerf_rt" / "assets" / "demo_sentence.wav"
N_ONSETS, EVERY_S, SECONDS = 14, 1.0, 18.0


class Witness:
    """Writes down when which sound was captured, and when which picture came."""

    name = "witness"

    def __init__(self) -> None:
        self.sound: list[np.ndarray] = []
        self.captured_s: list[float] = []
        self.pictures: list[np.ndarray] = []
        self.shown_s: list[float] = []

    def write_audio(self, chunk: AudioChunk) -> None:
        self.sound.append(chunk.samples)
        self.captured_s.append(chunk.captured_s)

    def write_frame(self, frame: Frame) -> None:
        self.shown_s.append(time.monotonic())
        self.pictures.append(frame.image[::2, ::2].astype(np.int16))

    def close(self) -> None:
        pass

    def abort(self) -> None:
        pass


def loudest(voice: np.ndarray, seconds: float) -> np.ndarray:
    """The loudest stretch of a voice, beginning at once."""
    n = round(16000 * seconds)
    power = np.convolve(voice**2, np.ones(n), "valid")
    piece = voice[int(power.argmax()) :][:n].copy()
    return (piece / np.abs(piece).max() * 0.8).astype(np.float32)


@pytest.mark.slow
def test_sound_to_picture_from_outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    skip_without_pulseaudio()
    said = np.zeros(round(16000 * N_ONSETS * EVERY_S), np.float32)
    syllable = loudest(load_audio(SENTENCE), 0.35)
    for k in range(N_ONSETS):
        begin = round(16000 * (k + 0.3) * EVERY_S)
        said[begin : begin + len(syllable)] = syllable
    write_wav(tmp_path / "said.wav", said)
    with (
        tempfile.TemporaryDirectory(prefix="dfa", dir="/tmp") as folder,
        virtual_microphone(Path(folder)) as environment,
    ):
        for name in ("XDG_RUNTIME_DIR", "PULSE_RUNTIME_PATH", "HOME", "PULSE_SERVER"):
            monkeypatch.setenv(name, environment[name])
        chain = load_chain("presenter", size=256, motion="still")
        witness = Witness()
        microphone = ReturningMicrophone("pulse")
        pipeline = LivePipeline(microphone, chain.encoder, chain.motion, chain.renderer, [witness])
        player = []

        def begin_to_speak(line: dict[str, object]) -> None:
            if not player:
                player.append(play(tmp_path / "said.wav", environment))

        report = pipeline.run(SECONDS, begin_to_speak)

    sound = np.concatenate(witness.sound)
    ends = np.cumsum([len(samples) for samples in witness.sound])
    loud = np.flatnonzero(np.abs(sound) > 0.2)
    onsets = loud[np.diff(loud, prepend=-16000) > 16000 * 0.4]
    assert len(onsets) == N_ONSETS
    shown_s, rest = np.array(witness.shown_s), witness.pictures[5]
    away = np.array([np.abs(picture - rest).mean() for picture in witness.pictures])
    changed = away > 0.25 * np.percentile(away, 95)
    latencies_ms = []
    for onset in onsets:
        chunk = int(np.searchsorted(ends, onset, side="right"))
        spoken_s = witness.captured_s[chunk] - (ends[chunk] - onset) / 16000
        later = np.flatnonzero(changed & (shown_s > spoken_s))
        latencies_ms.append(1000 * (shown_s[later[0]] - spoken_s))
    p50, p95 = np.percentile(latencies_ms, [50, 95])
    print(f"{report.fps:.2f} fps, {report.dropped_frames} dropped; onset to picture {p50:.0f} ms p50, {p95:.0f} ms p95")
    print(f"the pipeline says {report.latency_ms_p50:.0f} ms p50, {report.latency_ms_p95:.0f} ms p95")
    assert not changed[:5].any(), "the mouth rests before"
    assert report.fps >= 24.5, "25 fps held"
    assert p95 <= 200.0
