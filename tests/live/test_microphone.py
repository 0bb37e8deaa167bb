"""The microphone, tested on a real sound server with no hardware."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest

from dfanerf_rt.audio.sources import MicrophoneSource, list_devices, load_audio
from dfanerf_rt.cli.demo import SENTENCE
from dfanerf_rt.clip.format import write_wav
from dfanerf_rt.errors import AudioError
from dfanerf_rt.live.pipeline import LivePipeline
from tests.live.doubles import BarRenderer, CountingMotion, LevelEncoder, MemorySink
from tests.live.head_avatar import write_head_avatar
from tests.live.virtual_microphone import play, skip_without_pulseaudio, virtual_microphone


@pytest.fixture(scope="module")
def environment() -> Iterator[dict[str, str]]:
    skip_without_pulseaudio()
    # A socket's path may not be longer than 108 characters, so pytest's own folders will not do.
    with tempfile.TemporaryDirectory(prefix="dfanerf-mic-") as folder, virtual_microphone(Path(folder)) as found:
        yield found


@pytest.fixture
def microphone(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The virtual microphone for PyAudio in this process."""
    for name in ("XDG_RUNTIME_DIR", "PULSE_RUNTIME_PATH", "HOME", "PULSE_SERVER"):
        monkeypatch.setenv(name, environment[name])
    return environment


def bursts() -> np.ndarray:
    """Chords of 60 ms every 400 ms, each of its own loudness and pitches, for 3 s."""
    generator = np.random.default_rng(0)
    times_s = np.arange(960) / 16000
    samples = np.zeros(48000, np.float32)
    for k, start in enumerate(range(3200, 48000, 6400)):
        chord = sum(np.cos(2 * np.pi * pitch_hz * times_s) for pitch_hz in generator.uniform(200, 2000, 3))
        samples[start : start + 960] = chord / 3 * (0.4 + 0.1 * (k % 4))
    return samples


def aligned_correlation(heard: np.ndarray, said: np.ndarray) -> tuple[float, int]:
    """Correlation at the best shift, and that shift in samples."""
    size = 1 << (len(heard) + len(said)).bit_length()
    spectrum = np.fft.rfft(heard, size) * np.conj(np.fft.rfft(said, size))
    shift = int(np.argmax(np.fft.irfft(spectrum, size)[: len(heard)]))
    both = heard[shift : shift + len(said)]
    return float(np.corrcoef(both, said[: len(both)])[0, 1]), shift


def test_hears_what_is_said_and_shows_it_at_once(microphone: dict[str, str], tmp_path: Path) -> None:
    said = bursts()
    write_wav(tmp_path / "said.wav", said)
    sink = MemorySink()
    source = MicrophoneSource()
    assert source.rate_hz == 16000
    pipeline = LivePipeline(source, LevelEncoder(), CountingMotion(), BarRenderer(), [sink])
    player: list[subprocess.Popen[bytes]] = []

    def begin(line: dict[str, object]) -> None:
        if not player:
            player.append(play(tmp_path / "said.wav", microphone))

    report = pipeline.run(duration_s=6.0, on_stats=begin)
    heard = np.concatenate(sink.sound)
    correlation, _ = aligned_correlation(heard, said)
    print(f"correlation {correlation:.5f}, latency {report.latency_ms_p50:.0f}/{report.latency_ms_p95:.0f} ms")
    assert len(heard) == 96000 and report.dropped_audio_samples == 0
    assert correlation > 0.99
    # A picture is white exactly where its own 40 ms of sound were loud.
    loud = np.array([np.abs(heard[k * 640 : (k + 1) * 640]).max() > 0.25 for k in sink.frames])
    np.testing.assert_array_equal(np.array(sink.levels) == 255, loud)
    assert loud.sum() >= 7
    assert report.frames + report.dropped_frames == 150 and report.frames >= 135
    assert 40.0 <= report.latency_ms_p50 < 80.0, "40 ms to complete the frame; the rest is threads"
    # Each burst from outside: wall time of its white picture against the capture of its first loud sample.
    starts = np.flatnonzero(np.abs(heard) > 0.25)
    starts = starts[np.diff(starts, prepend=-9999) > 1600]
    assert len(starts) == 7
    ends = np.cumsum([len(samples) for samples in sink.sound])
    for start in starts:
        chunk = int(np.searchsorted(ends, start, side="right"))
        spoken_s = sink.captured_s[chunk] - (ends[chunk] - start) / 16000
        shown_s = sink.delivered_s[next(i for i, k in enumerate(sink.frames) if k >= start // 640)]
        assert 0.0 <= shown_s - spoken_s < 0.25


def test_the_command_records_what_the_microphone_hears(environment: dict[str, str], tmp_path: Path) -> None:
    said = bursts()
    write_wav(tmp_path / "said.wav", said)
    avatar = write_head_avatar(tmp_path / "head.safetensors", width=96)
    report, lines = speak_into(str(avatar), tmp_path / "said.wav", 6, environment, tmp_path)
    assert 6 <= len(lines) <= 8
    check_recording(tmp_path / "x.mp4", said, 6)
    assert lines[-1]["frames"] <= int(report.split(" frames at ")[0].split()[-1]) <= lines[-1]["frames"] + 25
    assert lines[-1]["dropped_audio_samples"] == 0


def test_the_presenter_speaks_what_the_microphone_hears(environment: dict[str, str], tmp_path: Path) -> None:
    """The bundled avatar at its own size keeps most of its 25 frames a second, even on a busy machine."""
    said = load_audio(SENTENCE)[: 4 * 16000]
    write_wav(tmp_path / "said.wav", said)
    _, lines = speak_into("presenter", tmp_path / "said.wav", 6, environment, tmp_path)
    check_recording(tmp_path / "x.mp4", said, 6)
    assert lines[-1]["frames"] >= 75
    assert lines[-1]["dropped_audio_samples"] == 0


@pytest.mark.slow
def test_the_presenter_speaks_a_real_voice(environment: dict[str, str], shared_data: Path, tmp_path: Path) -> None:
    said = load_audio(shared_data / "audio" / "english_radio_8s.wav")
    write_wav(tmp_path / "said.wav", said)
    _, lines = speak_into("presenter", tmp_path / "said.wav", 10, environment, tmp_path)
    check_recording(tmp_path / "x.mp4", said, 10)
    assert lines[-1]["frames"] >= 125


def speak_into(
    avatar: str, said: Path, seconds: int, environment: dict[str, str], folder: Path
) -> tuple[str, list[dict[str, float]]]:
    """Run ``dfanerf-live AVATAR --mic`` while a file is spoken; returns its last line and its statistics."""
    out, stats = folder / "x.mp4", folder / "s.jsonl"
    command = [sys.executable, "-c", "import sys; from dfanerf_rt.cli.live import main; sys.exit(main())", avatar]
    command += ["--mic", "--duration", str(seconds), "--out", str(out), "--stats", str(stats), "--device", "pulse"]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not (stats.is_file() and stats.stat().st_size) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    # A voice that nobody waits for would speak into the next test.
    assert process.poll() is None, process.stderr and process.stderr.read()
    play(said, environment)
    _, report = process.communicate(timeout=60)
    assert process.returncode == 0 and report.count("\n") == 1, report
    return report, [json.loads(line) for line in stats.read_text().splitlines()]


def check_recording(video: Path, said: np.ndarray, seconds: int) -> None:
    """The file holds every place on its time line, and the sound that was spoken."""
    with av.open(str(video)) as container:
        pictures = sum(1 for _ in container.decode(video=0))
    heard = load_audio(video)
    assert pictures == 25 * seconds and len(heard) == pytest.approx(16000 * seconds, abs=1100)
    assert aligned_correlation(heard, said)[0] > 0.95, "AAC changes it a little"


def test_a_device_of_another_rate_and_two_channels(
    microphone: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Converted as it is read: the same sound, a true clock, and the conversion's own delay in the capture times."""
    monkeypatch.setattr(MicrophoneSource, "_format", lambda self: (48_000, 2))
    said = bursts()
    write_wav(tmp_path / "said.wav", said)
    source = MicrophoneSource("pulse")
    source.start()
    play(tmp_path / "said.wav", microphone)
    heard, behind_s = [], []
    try:
        while sum(map(len, heard)) < 4.5 * 16000:
            chunk = source.read()
            assert chunk is not None and chunk.start == sum(map(len, heard))
            heard.append(chunk.samples)
            behind_s.append(time.monotonic() - chunk.captured_s)
    finally:
        source.stop()
    assert source.rate_hz == 48_000 and source.channels == 2
    assert aligned_correlation(np.concatenate(heard), said)[0] > 0.99
    assert 0.0125 < min(behind_s) < 0.05


def test_devices_are_listed_and_found_by_name(microphone: dict[str, str]) -> None:
    names = {device.name for device in list_devices()}
    assert {"pulse", "default"} <= names
    source = MicrophoneSource("pulse")
    try:
        assert source.device.name == "pulse"
    finally:
        source.stop()
    with pytest.raises(AudioError, match="no microphone 'nothing like it'; there are"):
        MicrophoneSource("nothing like it")


def test_a_reader_that_sleeps_loses_sound_but_not_the_clock(microphone: dict[str, str]) -> None:
    source = MicrophoneSource(buffer_s=0.2)
    source.start()
    try:
        first = source.read()
        time.sleep(1.0)
        position, began = 0, time.monotonic()
        while time.monotonic() - began < 0.3:
            chunk = source.read()
            assert chunk is not None
            if position:
                assert chunk.start == position
            position = chunk.end
    finally:
        source.stop()
    assert first is not None and first.start == 0
    assert source.dropped_samples == pytest.approx(0.8 * 16000, abs=0.2 * 16000)
    assert position == pytest.approx(1.3 * 16000, abs=0.2 * 16000)


def test_no_microphone_is_one_line_that_says_how_to_mend_it(tmp_path: Path) -> None:
    pytest.importorskip("pyaudio")
    code = (
        "from dfanerf_rt.audio.sources import MicrophoneSource\n"
        "from dfanerf_rt.errors import AudioError\n"
        "try:\n"
        "    print('found', MicrophoneSource().device)\n"
        "except AudioError as fault:\n"
        "    print(fault)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code],
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "PULSE_SERVER": f"unix:{tmp_path}/none"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert result.stderr == "", "ALSA's own pages of errors are kept away"
    if result.stdout.startswith("found"):
        pytest.skip(f"this machine has a microphone: {result.stdout.strip()}")
    assert result.stdout.strip() == "no microphone found; connect one, or use --audio FILE"


def test_speech_is_heard_unchanged(microphone: dict[str, str], shared_data: Path, tmp_path: Path) -> None:
    said = load_audio(shared_data / "audio" / "english_radio_8s.wav")[: 4 * 16000]
    write_wav(tmp_path / "said.wav", said)
    source = MicrophoneSource()
    source.start()
    play(tmp_path / "said.wav", microphone)
    heard = []
    try:
        while sum(map(len, heard)) < 5.5 * 16000:
            chunk = source.read()
            assert chunk is not None
            heard.append(chunk.samples)
    finally:
        source.stop()
    assert aligned_correlation(np.concatenate(heard), said)[0] > 0.99
