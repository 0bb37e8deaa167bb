"""Every example runs, with real parts."""

from __future__ import annotations

import asyncio
import io
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from dfanerf_rt.clip.format import write_wav
from tests.live.displays import virtual_display
from tests.live.head_avatar import write_head_avatar
from tests.live.virtual_microphone import skip_without_pulseaudio, virtual_microphone

REPOSITORY = Path(__file__).resolve().parents[2]
EXAMPLES = REPOSITORY / "examples"
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(REPOSITORY)}


@pytest.fixture(scope="module")
def avatar(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_head_avatar(tmp_path_factory.mktemp("avatar") / "head.safetensors"))


def n_pictures(path: Path) -> int:
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


def test_a_file_to_mp4(avatar: str, tmp_path: Path) -> None:
    write_wav(tmp_path / "a.wav", np.random.default_rng(0).uniform(-0.3, 0.3, 16000).astype(np.float32))
    command = [sys.executable, EXAMPLES / "file_to_mp4.py", tmp_path / "a.wav", tmp_path / "a.mp4", avatar]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0 and "a.mp4: 25 frames" in done.stdout, done.stderr
    assert n_pictures(tmp_path / "a.mp4") == 25


def test_a_microphone_to_a_window(avatar: str) -> None:
    skip_without_pulseaudio()
    pytest.importorskip("cv2")
    with (
        tempfile.TemporaryDirectory(prefix="dfa", dir="/tmp") as folder,
        virtual_microphone(Path(folder)) as environment,
        virtual_display() as display,
    ):
        command = [sys.executable, EXAMPLES / "microphone_window.py", avatar, "2"]
        environment = {**ENVIRONMENT, **environment, "PYTHONPATH": str(REPOSITORY), "DISPLAY": display}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0 and "frames, sound to picture" in done.stdout, done.stderr


def test_a_speech_synthesiser_piped_in(avatar: str, tmp_path: Path) -> None:
    if shutil.which("espeak-ng") is None:
        pytest.skip("needs espeak-ng (Debian: apt install espeak-ng)")
    live = tmp_path / "dfanerf-live"
    script = "import sys; from dfanerf_rt.cli.live import main; sys.exit(main())"
    live.write_text(f'#!/bin/sh\nexec "{sys.executable}" -c "{script}" "$@"\n')
    live.chmod(0o755)
    environment = {**ENVIRONMENT, "DFANERF_LIVE": str(live)}
    command = [EXAMPLES / "speak_text.sh", "Good day.", avatar, "--fast", "--out", tmp_path / "a.mp4"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert n_pictures(tmp_path / "a.mp4") >= 10


def test_a_websocket_server(avatar: str) -> None:
    aiohttp = pytest.importorskip("aiohttp")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, EXAMPLES / "websocket_server.py", avatar, str(port)],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )

    async def talk() -> tuple[bytes, int]:
        async with aiohttp.ClientSession() as client:
            for _ in range(600):
                try:
                    link = await client.ws_connect(f"http://127.0.0.1:{port}/")
                    break
                except aiohttp.ClientConnectorError:
                    assert server.poll() is None, server.stdout and server.stdout.read()
                    await asyncio.sleep(0.1)
            await link.send_bytes((np.sin(np.arange(8000) * 0.3) * 9000).astype("<i2").tobytes())
            loud, picture = 0, b""
            for _ in range(100):
                message = await link.receive_bytes(timeout=60)
                loud += int(np.count_nonzero(np.frombuffer(message[:1280], "<i2")))
                picture = message[1280:]
                if loud >= 7000:
                    break
            await link.send_str("clear")
            await link.close()
            return picture, loud

    try:
        picture, loud = asyncio.run(talk())
    finally:
        server.terminate()
        server.communicate(timeout=30)
    assert Image.open(io.BytesIO(picture)).size == (64, 64) and loud >= 7000
