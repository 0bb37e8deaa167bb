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


def build_directory(suffix: str = "") -> Path:
    default = ROOT / "build" / f"native-{sys.implementation.cache_tag}"
    directory = Path(os.environ.get("DFANERF_BUILD_DIR", default)).resolve()
    directory = directory.with_name(directory.name + suffix)
    directory.mkdir(parents=True, exist_ok=True)
    return directory


def cmake() -> str:
    found = find_tool("cmake")
    if found is None:
        sys.exit("the native module needs CMake 3.24 or newer: pip install cmake ninja, or DFANERF_BUILD=none")
    return found


def generator(build_dir: Path) -> list[str]:
    ninja = find_tool("ninja")
    return ["-GNinja", f"-DCMAKE_MAKE_PROGRAM={ninja}"] if ninja and not (build_dir / "Makefile").exists() else []


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
    return command + generator(build_dir)


def core_command(build_dir: Path, *options: str) -> list[str]:
    """Configures the C++ core alone: no Python, no CUDA."""
    off = ("-DDFANERF_PYTHON=OFF", "-DDFANERF_CUDA=OFF")
    return [cmake(), f"-S{ROOT}", f"-B{build_dir}", *off, *options, *generator(build_dir)]


def run_cmake(configure: list[str], build_dir: Path, target: str) -> None:
    """Configure, and build one target. Call it under :func:`build_lock`."""
    try:
        subprocess.run(configure, check=True, stdout=subprocess.DEVNULL)
        jobs = str(os.cpu_count() or 1)
        subprocess.run([cmake(), "--build", str(build_dir), "--target", target, "--parallel", jobs], check=True)
    except subprocess.CalledProcessError as fault:
        sys.exit(f"building the native module failed: {' '.join(map(str, fault.cmd[:3]))} ... see above")


def build(target: str) -> Path:
    """Build one target beside the Python module, and return the build tree. Call it under :func:`build_lock`."""
    build_dir = build_directory()
    run_cmake(configure_command(build_dir), build_dir, target)
    return build_dir


@contextlib.contextmanager
def build_lock(suffix: str = "") -> Iterator[None]:
    """Two builds in one tree at the same time would corrupt it."""
    with (build_directory(suffix) / ".lock").open("w") as lock:
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
    """Builds and runs the C++ tests, which need no Python, once for every SIMD variant that this processor runs."""

    description = "build and run the C++ tests"
    user_options: ClassVar[list[tuple[str, str | None, str]]] = [
        ("sanitize=", None, 'build the core alone with sanitizers: "address,undefined" or "thread"'),
        ("aarch64", None, "build the core alone for 64-bit ARM with a cross compiler, and run the tests under qemu"),
    ]
    boolean_options: ClassVar[list[str]] = ["aarch64"]

    def initialize_options(self) -> None:
        self.sanitize = ""
        self.aarch64 = False

    def finalize_options(self) -> None:
        if self.sanitize not in ("", "address,undefined", "thread"):
            sys.exit(f"--sanitize={self.sanitize!r} is not known; expected address,undefined or thread")
        if self.sanitize and self.aarch64:
            sys.exit("--sanitize and --aarch64 exclude each other")

    def run(self) -> None:
        if build_mode() == "none":
            print("C++ tests: skipped, DFANERF_BUILD=none")
            return
        suffix = "-" + (self.sanitize.replace(",", "-") or "aarch64") if self.sanitize or self.aarch64 else ""
        with build_lock(suffix):
            build_dir, runner = build_directory(suffix), []
            if self.aarch64:
                runner = self.build_for_aarch64(build_dir)
                if not runner:
                    return
            elif self.sanitize:
                options = ("-DCMAKE_BUILD_TYPE=Release", f"-DDFANERF_SANITIZE={self.sanitize}")
                run_cmake(core_command(build_dir, *options), build_dir, "dfanerf_tests")
            else:
                build("dfanerf_tests")
            program = [*runner, str(build_dir / "dfanerf_tests")]
            variants = subprocess.run([*program, "--variants"], check=True, capture_output=True, text=True).stdout
            for number, variant in enumerate(variants.split()):
                # The emulated GPU knows no SIMD: once is enough. A whole avatar takes it a minute where it is slow, and
                # the thread sanitizer does not follow its changes of stacks.
                once = number == 0 and self.sanitize != "thread"
                command = program if once else [*program, "--without", "cuda"]
                if suffix:
                    command = [*command, "--without", "bundled_avatar"]
                status = subprocess.run(command, check=False, env={**os.environ, "DFANERF_SIMD": variant}).returncode
                if status != 0:
                    sys.exit(f"the C++ tests failed with status {status}")

    @staticmethod
    def build_for_aarch64(build_dir: Path) -> list[str]:
        """Build, and return the command that runs programs of that processor; none where it cannot be done here."""
        compiler = shutil.which("aarch64-linux-gnu-g++")
        emulator = shutil.which("qemu-aarch64-static") or shutil.which("qemu-aarch64")
        if compiler is None:
            print("C++ tests for aarch64: skipped, no aarch64-linux-gnu-g++ (Debian: g++-aarch64-linux-gnu)")
            return []
        target = ("-DCMAKE_SYSTEM_NAME=Linux", "-DCMAKE_SYSTEM_PROCESSOR=aarch64", f"-DCMAKE_CXX_COMPILER={compiler}")
        run_cmake(core_command(build_dir, *target), build_dir, "dfanerf_tests")
        if emulator is None:
            print("C++ tests for aarch64: built, not run, no qemu-aarch64 (Debian: qemu-user-static)")
            return []
        return [emulator, "-L", "/usr/aarch64-linux-gnu"]


class CppExample(Command):
    """Builds examples/cpp as a project of its own against an installed core."""

    description = "build the C++ example"
    user_options: ClassVar[list[tuple[str, str | None, str]]] = [("output=", "o", "where to put the program")]

    def initialize_options(self) -> None:
        self.output = "render_frame"

    def finalize_options(self) -> None:
        """Nothing to settle."""

    def run(self) -> None:
        with build_lock():
            build_dir = build("dfanerf_core")
            prefix, example = build_dir / "prefix", build_dir / "example"
            install = [cmake(), "--install", str(build_dir), "--prefix", str(prefix)]
            subprocess.run(install, check=True, stdout=subprocess.DEVNULL)
            example.mkdir(exist_ok=True)
            options = ("-DDFANERF_INSTALLED=ON", f"-DCMAKE_PREFIX_PATH={prefix}")
            configure = [cmake(), f"-S{ROOT / 'examples' / 'cpp'}", f"-B{example}", *options, *generator(example)]
            run_cmake(configure, example, "render_frame")
            shutil.copy2(example / "render_frame", self.output)


setup(
    ext_modules=[] if build_mode() == "none" else [Extension("dfanerf_rt._C", sources=[])],
    cmdclass={"build_ext": CMakeBuild, "cpp_tests": CppTests, "cpp_example": CppExample},
)
