"""A microphone without hardware: a private PulseAudio whose loudspeaker is its microphone."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

PROGRAMS = ("pulseaudio", "pactl", "paplay", "pacat")


def skip_without_pulseaudio() -> None:
    """Say aloud what is missing."""
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if missing:
        pytest.skip(f"needs {', '.join(missing)} (Debian: apt install pulseaudio pulseaudio-utils libasound2-plugins)")
    pytest.importorskip("pyaudio", reason="needs PyAudio: pip install 'dfanerf-rt[mic]'")


@contextmanager
def virtual_microphone(folder: Path) -> Iterator[dict[str, str]]:
    """Start it; yields the environment in which programs hear and speak through it. ``folder`` has a short path."""
    folder.chmod(0o700)
    environment = {
        **os.environ,
        "XDG_RUNTIME_DIR": str(folder),
        "PULSE_RUNTIME_PATH": str(folder),
        "HOME": str(folder),
        "PULSE_SERVER": f"unix:{folder}/native",
    }
    server = ["pulseaudio", "-n", "--daemonize=no", "--exit-idle-time=-1", "--disallow-exit=no"]
    for module in (
        f"module-native-protocol-unix auth-anonymous=1 socket={folder}/native",
        "module-null-sink sink_name=vspk rate=16000 channels=1",
        "module-remap-source master=vspk.monitor source_name=vmic",
    ):
        server += ["-L", module]
    keep_awake = "pacat --playback --device=vspk --format=s16le --rate=16000 --channels=1 --latency-msec=20 /dev/zero"
    with ExitStack() as stack:
        stack.callback(_end, started := [_start(server, environment)])
        for _ in range(100):
            if (
                subprocess.run(["pactl", "set-default-source", "vmic"], env=environment, capture_output=True).returncode
                == 0
            ):
                break
            if started[0].poll() is not None:
                raise RuntimeError(f"pulseaudio ended with status {started[0].returncode}")
            time.sleep(0.05)
        else:
            raise RuntimeError("pulseaudio does not answer")
        started.append(_start(keep_awake.split(), environment))
        time.sleep(0.3)
        yield environment


def play(path: Path, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    """Speak a WAV file into the microphone."""
    return _start(["paplay", "--device=vspk", "--latency-msec=500", str(path)], environment)


def _start(command: list[str], environment: dict[str, str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _end(processes: list[subprocess.Popen[bytes]]) -> None:
    for process in reversed(processes):
        process.terminate()
        try:
            process.wait(5.0)
        except subprocess.TimeoutExpired:
            process.kill()
