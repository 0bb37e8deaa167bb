"""The core in a C++ program of its own: examples/cpp, built against an installed core, shows what the session shows."""

from __future__ import annotations

import math
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dfanerf_rt import native
from dfanerf_rt.avatar import Avatar, resolve
from dfanerf_rt.field.field import ConditionalField
from dfanerf_rt.render.session import RenderSession

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def render_frame(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program, built by setup.py from what the native module was built of."""
    reason = native.unavailable_reason()
    if reason is not None:
        pytest.skip(reason)
    program = tmp_path_factory.mktemp("cpp") / "render_frame"
    command = [sys.executable, "setup.py", "-q", "cpp_example", f"--output={program}"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return program


def run(*command: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)


@pytest.mark.parametrize(("size", "yaw_degrees"), [(96, 12.0), (256, 0.0)])
def test_the_program_shows_what_the_session_shows(
    render_frame: Path, tmp_path: Path, size: int, yaw_degrees: float
) -> None:
    done = run(render_frame, resolve("presenter"), tmp_path / "frame.ppm", size, yaw_degrees)
    assert done.returncode == 0, done.stderr
    assert f"presenter: {size}x{size}" in done.stdout
    avatar = Avatar.load("presenter")
    field = ConditionalField.from_avatar(avatar)
    session = RenderSession(avatar, size=size, backend="cpu")
    head_pose = field.pose_mean.clone()
    head_pose[1] += math.radians(yaw_degrees)
    session.fold(field.condition_mean, head_pose)
    expected = session.render().float()
    found = torch.from_numpy(np.array(Image.open(tmp_path / "frame.ppm"))).float()
    assert float((found - expected).square().mean()) < 255.0**2 * 10.0**-5.0  # 50 dB
    assert float((found - expected).abs().max()) <= 2.0
    assert float(found.std()) > 20.0


def test_bad_input_is_one_line(render_frame: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(resolve("presenter").read_bytes()[:-1])
    picture = tmp_path / "frame.ppm"
    for arguments, message in (
        ((damaged, picture), "damaged.safetensors: tensor "),
        ((tmp_path / "absent", picture), "absent: cannot be opened"),
        ((resolve("presenter"), picture, 9000), "width is 9000, expected 1 to 8192"),
        ((resolve("presenter"), tmp_path / "no" / "folder", 8), "folder: cannot be written"),
        ((), "usage: render_frame"),
    ):
        done = run(render_frame, *arguments)
        assert done.returncode == 2 and message in done.stderr and done.stderr.count("\n") == 1, done.stderr
    assert not picture.exists()


def test_the_example_also_builds_inside_the_repositorys_tree(tmp_path: Path) -> None:
    if native.unavailable_reason() is not None:
        pytest.skip(str(native.unavailable_reason()))
    cmake = Path(sys.executable).with_name("cmake")
    environment = {**os.environ, "PATH": f"{cmake.parent}{os.pathsep}{os.environ.get('PATH', '')}"}
    command = ["cmake", "-S", str(REPOSITORY / "examples" / "cpp"), "-B", str(tmp_path), "-GNinja"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_python_example_renders_into_an_array() -> None:
    if native.unavailable_reason() is not None:
        pytest.skip(str(native.unavailable_reason()))
    done = run(sys.executable, REPOSITORY / "examples" / "embed.py")
    assert done.returncode == 0, done.stderr
    found = re.fullmatch(r"256x256, mean (\d+)\n", done.stdout)
    assert found and 50 < int(found[1]) < 200
