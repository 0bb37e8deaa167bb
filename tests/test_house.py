"""What holds for the whole package: imports, public names, the command line, the build."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import pkgutil
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
import torch

import dfanerf_rt
from dfanerf_rt import native
from dfanerf_rt.cli import main as cli
from dfanerf_rt.errors import DfanerfError

REPOSITORY = Path(__file__).resolve().parent.parent
ROOMS = sorted(module.name for module in pkgutil.iter_modules(dfanerf_rt.__path__) if module.ispkg)
MODULES = sorted(module.name for module in pkgutil.walk_packages(dfanerf_rt.__path__, "dfanerf_rt."))
BARE_ROOMS = ("field", "ops", "backends", "render", "train", "motion", "sync", "attributes")
HEAVY = ("av", "librosa", "mediapipe", "cv2", "rich", "tyro", "soundfile", "soxr", "pyaudio", "nerfacc", "scipy")
HEAVY += ("aiohttp", "aiortc", "pyvirtualcam")


def python(script: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a script in a fresh interpreter."""
    merged = {**os.environ, **environment}
    return subprocess.run([sys.executable, "-c", script], env=merged, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", MODULES)
def test_every_module_imports_and_has_the_names_it_promises(name: str) -> None:
    if name == "dfanerf_rt._C" and native.unavailable_reason():
        pytest.skip("no native module")
    if name.startswith("dfanerf_rt.backends.triton.kernels.") and importlib.util.find_spec("triton") is None:
        pytest.skip("triton is not installed")
    if name.startswith("dfanerf_rt.live.server."):
        pytest.importorskip("aiohttp")
        pytest.importorskip("aiortc")
    module = importlib.import_module(name)
    missing = [public for public in getattr(module, "__all__", []) if not hasattr(module, public)]
    assert not missing


def test_importing_the_package_loads_neither_torch_nor_the_native_module() -> None:
    done = python("import dfanerf_rt, sys; print([m for m in ('torch', 'numpy', 'dfanerf_rt._C') if m in sys.modules])")
    assert done.stdout.strip() == "[]", done.stderr


def test_importing_the_rooms_loads_nothing_heavy() -> None:
    imports = "".join(f"import dfanerf_rt.{room}\n" for room in ROOMS)
    done = python(f"import sys\n{imports}print([m for m in {(*HEAVY, 'triton')!r} if m in sys.modules])")
    assert done.stdout.strip() == "[]", done.stderr


def test_what_renders_and_trains_needs_torch_numpy_safetensors_and_pillow_alone() -> None:
    bare = [name for name in MODULES if name.split(".")[1] in BARE_ROOMS]
    bare += [name for name in ("dfanerf_rt.clip.format", "dfanerf_rt.audio.mfcc") if name in MODULES]
    script = (
        "import importlib, sys\n"
        "class Absent:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.split('.')[0] in {HEAVY!r}: raise ImportError(name + ' is absent on a bare machine')\n"
        "sys.meta_path.insert(0, Absent())\n"
        f"for name in {bare!r}: importlib.import_module(name)\n"
    )
    done = python(script)
    assert done.returncode == 0, done.stderr


def test_without_the_native_module_the_reference_runs_and_says_so() -> None:
    script = (
        "import sys; sys.modules['dfanerf_rt._C'] = None\n"
        "import torch, warnings\n"
        "from dfanerf_rt import native\n"
        "from dfanerf_rt.errors import BackendUnavailable\n"
        "from dfanerf_rt.ops.hash_encode import HashGridConfig, hash_encode\n"
        "config = HashGridConfig(n_levels=2, log2_table_size=6)\n"
        "arguments = torch.rand(4, 3), torch.rand(config.n_entries, 2), config\n"
        "with warnings.catch_warnings(record=True) as caught:\n"
        "    warnings.simplefilter('always'); hash_encode(*arguments)\n"
        "print(caught[0].message)\n"
        "try: hash_encode(*arguments, backend='cpu')\n"
        "except BackendUnavailable as error: print(error)\n"
    )
    done = python(script)
    warning, error = done.stdout.splitlines()
    assert "reference backend" in warning and "make setup" in warning
    assert "'cpu' cannot run hash_encode" in error and "make setup" in error


@pytest.mark.parametrize(
    ("file", "reason"),
    [
        (None, "_C is not built; build it with `make setup`"),
        ("_C.cpython-399-x86_64-linux-gnu.so", "was built for another Python (_C.cpython-399-x86_64-linux-gnu.so)"),
        (f"_C{sysconfig.get_config_var('EXT_SUFFIX')}", "does not load ("),
    ],
)
def test_a_native_module_that_cannot_be_loaded_says_why(tmp_path: Path, file: str | None, reason: str) -> None:
    package = tmp_path / "dfanerf_rt"
    package.mkdir()
    for name in ("__init__.py", "native.py", "errors.py"):
        shutil.copy(REPOSITORY / "dfanerf_rt" / name, package)
    if file is not None:
        (package / file).write_bytes(b"not a module")
    script = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
    script += "from dfanerf_rt import native; print(native.unavailable_reason())"
    # Without site: an installation for development would find the module of the repository.
    done = subprocess.run([sys.executable, "-S", "-c", script], capture_output=True, text=True, check=False)
    assert reason in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize("name", sorted(cli.SUBCOMMANDS))
def test_every_subcommand_is_there_and_explains_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.parse(
            getattr(importlib.import_module(cli.SUBCOMMANDS[name].module), cli.SUBCOMMANDS[name].command), name, ["-h"]
        )
    assert stop.value.code == 0
    assert f"usage: {name}" in capsys.readouterr().out


def test_the_help_needs_no_torch() -> None:
    done = python("from dfanerf_rt.cli.main import main; import sys; main(['-h']); print('torch' in sys.modules)")
    assert "evaluate" in done.stdout and done.stdout.strip().endswith("False")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["dance"], "dfanerf: unknown command 'dance'; expected one of prepare, "),
        (["info", "--loud"], "dfanerf info: Unrecognized options: --loud (see dfanerf info --help)"),
    ],
)
def test_bad_usage_is_one_line_and_status_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        status = cli.main(arguments)
    except SystemExit as stop:
        status = stop.code
    complaint = capsys.readouterr().err
    assert status == 2
    assert complaint.startswith(message) and complaint.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (DfanerfError("a.wav: no\nsuch file"), 2, "dfanerf x: a.wav: no such file"),
        (KeyboardInterrupt(), 130, "dfanerf x: interrupted"),
        (ValueError("odd"), 1, "dfanerf x: a fault of the program, not of its input: ValueError: odd"),
    ],
)
def test_errors_become_lines_and_statuses(
    error: BaseException, status: int, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def action() -> int:
        raise error

    assert cli.guarded("dfanerf x", action) == status
    assert capsys.readouterr().err.splitlines()[-1] == line


def test_info_names_every_operator_and_backend(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["info", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert set(report["operators"]["hash_encode"]) == {"cuda", "triton", "cpu", "reference", "nerfacc", "tcnn"}
    assert report["operators"]["hash_encode"]["reference"] is None
    assert torch.cuda.is_available() or report["operators"]["hash_encode"]["triton"] is not None
    assert report["modules"]["torch"]
    assert cli.main(["info"]) == 0
    text = capsys.readouterr().out
    if native.unavailable_reason() is None:
        assert native.load().BUILD_INFO["compiler"] in text
        assert native.load().simd_level() in text


def test_a_build_that_is_asked_for_and_impossible_is_an_error(tmp_path: Path) -> None:
    def build(**environment: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "setup.py", "-q", "build_ext"]
        merged = {"PATH": str(tmp_path), "DFANERF_BUILD_DIR": str(tmp_path / "build"), **environment}
        return subprocess.run(command, cwd=REPOSITORY, env=merged, capture_output=True, text=True, check=False)

    unknown = build(DFANERF_BUILD="gpu")
    assert unknown.returncode != 0 and "expected one of auto, cuda, cpu, none" in unknown.stderr
    impossible = build(DFANERF_BUILD="cuda", CUDACXX=str(tmp_path / "nvcc"))
    assert impossible.returncode != 0 and "no nvcc was found" in impossible.stderr
