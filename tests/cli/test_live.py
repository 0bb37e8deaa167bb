"""``dfanerf-live``: usage, a file in real time, Ctrl-C."""

from __future__ import annotations

import importlib.util
import json
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import av
import numpy as np
import pytest

from dfanerf_rt.cli.live import main
from dfanerf_rt.clip.format import write_wav
from tests.live.head_avatar import write_head_avatar

LIVE = [sys.executable, "-c", "import sys; from dfanerf_rt.cli.live import main; sys.exit(main())"]
STATS_KEYS = ["t_s", "frames", "fps", "latency_ms_p50", "latency_ms_p95"]
STATS_KEYS += ["dropped_frames", "dropped_audio_samples", "av_offset_ms", "rss_mb"]


@pytest.fixture(scope="module")
def avatar(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_head_avatar(tmp_path_factory.mktemp("avatar") / "head.safetensors")


def noise(path: Path, seconds: float) -> Path:
    write_wav(path, np.random.default_rng(0).uniform(-0.3, 0.3, round(16000 * seconds)).astype(np.float32))
    return path


def contents(path: Path) -> tuple[int, int, float]:
    """Pictures, samples of sound, and the file's length in seconds."""
    with av.open(str(path)) as container:
        length_s = container.duration / 1e6
        n_pictures = sum(1 for _ in container.decode(video=0))
    with av.open(str(path)) as container:
        return n_pictures, sum(frame.samples for frame in container.decode(audio=0)), length_s


def test_bad_usage_is_one_line(avatar: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sound = str(noise(tmp_path / "a.wav", 0.2))
    for arguments, said in (
        ([], "exactly one of --mic, --audio FILE and --web"),
        (["--mic", "--audio", sound], "exactly one of --mic, --audio FILE and --web"),
        (["--mic", "--web"], "exactly one of --mic, --audio FILE and --web"),
        (["--web", "--window"], "--window does not go with --web"),
        (["--web", "--seed", "3"], "--seed does not go with --web"),
        (["--web", "--host", "0.0.0.0"], "give a secret with --token"),
        (["--web", "--host", "0.0.0.0", "--token", "short"], "fewer than 8 characters"),
        (["--web", "--certificate", "a.pem"], "--certificate and --key go together"),
        (["--web", "--certificate", "a.pem", "--key", "b.pem"], "no usable certificate"),
        (["--web", "--sessions", "0"], "expected at least 1"),
        ([str(tmp_path), "--web"], "holds no avatar"),
        (["--mic", "--fast"], "--fast goes with --audio"),
        (["--audio", sound, "--device", "1"], "--device goes with --mic"),
        (["--audio", sound, "--duration", "0"], "--duration"),
        (["--audio", sound, "--rate", "8000"], "go with --audio -"),
        (["--audio", sound, "--voice-device", "1"], "--voice-device goes with --voice"),
        (["--audio", sound, "--camera-device", "1"], "--camera-device goes with --camera"),
        (["--audio", sound, "--fast", "--window"], "--fast goes with --out alone"),
        ([str(avatar), "--audio", sound, "--rtmp", "http://a/b"], "expected an address like rtmp://"),
        ([str(avatar), "--audio", sound, "--rtmp", "rtmp://127.0.0.1:9/a/b"], "no streaming server answers"),
        (["--audio", sound, "--out", str(tmp_path / "a.wmv")], "must end in .mp4"),
        (["--audio", str(tmp_path / "none.wav")], "no such file"),
        ([str(tmp_path / "none.safetensors"), "--audio", sound], "no such file"),
        ([str(avatar), "--audio", sound, "--lookahead-ms", "300"], "trained for 0 to 200 ms"),
        ([str(avatar), "--audio", sound, "--lookahead-ms", "-1"], "trained for 0 to 200 ms"),
        (["--loud"], "--loud"),
    ):
        try:
            status = main(arguments)
        except SystemExit as stop:
            status = int(stop.code or 0)
        complaint = capsys.readouterr().err
        assert status == 2, arguments
        assert said in complaint and complaint.count("\n") == 1, complaint


def test_a_file_in_real_time(avatar: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sound = noise(tmp_path / "a.wav", 2.5)
    out, stats = tmp_path / "live.mp4", tmp_path / "stats.jsonl"
    began = time.monotonic()
    assert main([str(avatar), "--audio", str(sound), "--out", str(out), "--stats", str(stats)]) == 0
    assert time.monotonic() - began > 2.4
    n_pictures, n_samples, length_s = contents(out)
    assert n_pictures == 63 and n_samples == pytest.approx(40000, abs=1100) and length_s == pytest.approx(2.52, abs=0.1)
    lines = [json.loads(line) for line in stats.read_text().splitlines()]
    assert len(lines) >= 2 and all(list(line)[: len(STATS_KEYS)] == STATS_KEYS for line in lines)
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and f"{out}: 2.5 s, " in said and " fps, " in said and "dropped" in said


def test_fast_drops_nothing(avatar: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sound = noise(tmp_path / "a.wav", 1.0)
    assert main([str(avatar), "--audio", str(sound), "--out", str(tmp_path / "a.mp4"), "--fast"]) == 0
    assert "1.0 s, 25 frames" in capsys.readouterr().err
    assert contents(tmp_path / "a.mp4")[0] == 25


def test_ctrl_c_finishes_the_file(avatar: Path, tmp_path: Path) -> None:
    sound = noise(tmp_path / "a.wav", 60.0)
    out, stats = tmp_path / "live.mp4", tmp_path / "stats.jsonl"
    command = [*LIVE, str(avatar), "--audio", str(sound), "--out", str(out), "--stats", str(stats)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not (stats.is_file() and stats.stat().st_size):
        assert process.poll() is None and time.monotonic() < deadline, process.stderr and process.stderr.read()
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 0, said
    n_pictures, n_samples, length_s = contents(out)
    assert 1.0 < length_s < 20.0
    assert abs(n_pictures / 25 - n_samples / 16000) < 0.15


def test_speech_is_piped_in(avatar: Path, tmp_path: Path) -> None:
    """Raw PCM of another rate, as fast as it comes: all of it is shown and heard."""
    pcm = (3000 * np.sin(np.arange(44100) * 0.05)).astype("<i2").tobytes()
    command = [*LIVE, str(avatar), "--audio", "-", "--rate", "22050", "--fast", "--out", str(tmp_path / "a.mp4")]
    done = subprocess.run(command, input=pcm, capture_output=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    n_pictures, n_samples, _ = contents(tmp_path / "a.mp4")
    assert n_pictures == 50 and n_samples == pytest.approx(32000, abs=1100)
    empty = subprocess.run(
        [*LIVE, str(avatar), "--audio", "-"], input=b"", capture_output=True, timeout=300, check=False
    )
    assert empty.returncode == 2 and b"standard input: ended without any sound" in empty.stderr


def test_a_port_in_use_is_one_line(avatar: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("aiohttp")
    pytest.importorskip("aiortc")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert main([str(avatar), "--web", "--port", str(port)]) == 2
    said = capsys.readouterr().err
    assert f"cannot serve at 127.0.0.1:{port}" in said and "another --port" in said and said.count("\n") == 1


def test_without_what_the_page_needs_that_is_said(
    avatar: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "aiortc" else found(name))
    assert main([str(avatar), "--web"]) == 2
    assert "--web needs aiortc: pip install 'dfanerf-rt[web]'" in capsys.readouterr().err
