"""Builds the native module ``dfanerf_rt._C`` through CMake.

Environment:
    DFANERF_BUILD: auto (default: CUDA when nvcc is found), cuda (CUDA or an error), cpu, or none.
    DFANERF_CUDA_ARCHITECTURES: a CMake list in place of the default, e.g. "90-real".
    DFANERF_BUILD_DIR: folder of CMake's build tree in place of build/native-<python tag>.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from setuptools import Command, Extension, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).resolve().parent
MODES = ("auto", "cuda", "cpu", "none")


def build_mode() -> str:
    mode = os.environ.get("DFANERF_BUILD", "auto")
    if mode not in MODES:
        sys.exit(f"DFANERF_BUILD={mode!r} is not known; expected one of {', '.join(MODES)}")
    return mode


def find_nvcc() -> str | None:
    """The CUDA compiler that CUDACXX or CUDA_HOME name; if neither is set, from PATH or /usr/local/cuda."""
    if "CUDACXX" in os.environ:
        return shutil.which(os.environ["CUDACXX"])
    if "CUDA_HOME" in os.environ:
        return shutil.which(f"{os.environ['CUDA_HOME']}/bin/nvcc")
    return shutil.which("nvcc") or shutil.which("/usr/local/cuda/bin/nvcc")


def find_tool(name: str) -> str | None:
    """A build tool from this Python's environment, else from PATH."""
    return shutil.which(name, path=sysconfig.get_path("scripts")) or shutil.which(name)


def build_directory() -> Path:
    default = ROOT / "build" / f"native-{sys.implementation.cache_tag}"
    directory = Path(os.environ.get("DFANERF_BUILD_DIR", default)).resolve()
    directory.mkdir(parents=True, exist_ok=True)
    return directory


def cmake() -> str:
    found = find_tool("cmake")
    if found is None:
        sys.exit("the native module needs CMake 3.24 or newer: pip install cmake ninja, or DFANERF_BUILD=none")
    return found


def configure_command(build_dir: Path) -> list[str]:
    import pybind11

    mode = build_mode()
    nvcc = find_nvcc() if mode in ("auto", "cuda") else None
    if mode == "cuda" and nvcc is None:
        sys.exit(
            "DFANERF_BUILD=cuda, but no nvcc was found (CUDACXX, CUDA_HOME, else PATH and /usr/local/cuda); "
            "install the CUDA toolkit, or build with DFANERF_BUILD=cpu"
        )
    command = [
        cmake(),
        f"-S{ROOT}",
        f"-B{build_dir}",
        "-DCMAKE_BUILD_TYPE=Release",
        f"-DPython_EXECUTABLE={sys.executable}",
        f"-Dpybind11_DIR={pybind11.get_cmake_dir()}",
        f"-DDFANERF_CUDA={'ON' if nvcc else 'OFF'}",
    ]
    if nvcc:
        command.append(f"-DCMAKE_CUDA_COMPILER={nvcc}")
    architectures = os.environ.get("DFANERF_CUDA_ARCHITECTURES")
    if architectures:
        command.append(f"-DDFANERF_CUDA_ARCHITECTURES={architectures}")
    ninja = find_tool("ninja")
    if ninja and not (build_dir / "Makefile").exists():
        command += ["-GNinja", f"-DCMAKE_MAKE_PROGRAM={ninja}"]
    return command


def build(target: str) -> Path:
    """Configure, build one target, and return the build tree. Call it under :func:`build_lock`."""
    build_dir = build_directory()
    try:
        subprocess.run(configure_command(build_dir), check=True, stdout=subprocess.DEVNULL)
        jobs = str(os.cpu_count() or 1)
        subprocess.run([cmake(), "--build", str(build_dir), "--target", target, "--parallel", jobs], check=True)
    except subprocess.CalledProcessError as fault:
        sys.exit(f"building the native module failed: {' '.join(map(str, fault.cmd[:3]))} ... see above")
    return build_dir


@contextlib.contextmanager
def build_lock() -> Iterator[None]:
    """Two builds in one tree at the same time would corrupt it."""
    with (build_directory() / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


class CMakeBuild(build_ext):
    """Builds the module with CMake, and puts it where setuptools wants it."""

    def build_extension(self, ext: Extension) -> None:
        with build_lock():
            build_dir = build("_C")
            target = Path(self.get_ext_fullpath(ext.name))
            target.parent.mkdir(parents=True, exist_ok=True)
            # A new inode: a process that has the old module mapped keeps running.
            temporary = target.with_suffix(".new")
            shutil.copy2(build_dir / f"_C{sysconfig.get_config_var('EXT_SUFFIX')}", temporary)
            temporary.replace(target)


class CppTests(Command):
    """Builds and runs the C++ tests, which need no Python."""

    description = "build and run the C++ tests"
    user_options: ClassVar[list[tuple[str, str | None, str]]] = []

    def initialize_options(self) -> None:
        """No options."""

    def finalize_options(self) -> None:
        """No options."""

    def run(self) -> None:
        if build_mode() == "none":
            print("C++ tests: skipped, DFANERF_BUILD=none")
            return
        with build_lock():
            build_dir = build("dfanerf_tests")
            status = subprocess.run([str(build_dir / "dfanerf_tests")], check=False).returncode
        if status != 0:
            sys.exit(f"the C++ tests failed with status {status}")


setup(
    ext_modules=[] if build_mode() == "none" else [Extension("dfanerf_rt._C", sources=[])],
    cmdclass={"build_ext": CMakeBuild, "cpp_tests": CppTests},
)
