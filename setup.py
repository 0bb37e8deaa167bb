"""Builds the native module ``dfanerf_rt._C`` through CMake.

Environment:
    DFANERF_BUILD: auto (default: CUDA when nvcc is found), cuda (CUDA or an error), cpu, or none.
    DFANERF_CUDA_ARCHITECTURES: a CMake list in place of the default, e.g. "90-real".
    DFANERF_BUILD_DIR: folder of CMake's build tree in place of build/native-<python tag>.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).resolve().parent
MODES = ("auto", "cuda", "cpu", "none")


def build_mode() -> str:
    mode = os.environ.get("DFANERF_BUILD", "auto")
    if mode not in MODES:
        sys.exit(f"DFANERF_BUILD={mode!r} is not known; expected one of {', '.join(MODES)}")
    return mode


def find_nvcc() -> str | None:
    """The CUDA compiler from CUDACXX, CUDA_HOME, PATH, or /usr/local/cuda; None if there is none."""
    candidates = [os.environ.get("CUDACXX")]
    candidates += [f"{os.environ[name]}/bin/nvcc" for name in ("CUDA_HOME", "CUDA_PATH") if name in os.environ]
    candidates += ["nvcc", "/usr/local/cuda/bin/nvcc"]
    for candidate in candidates:
        found = shutil.which(candidate) if candidate else None
        if found:
            return found
    return None


def find_tool(name: str) -> str | None:
    """A build tool from this Python's environment, else from PATH."""
    return shutil.which(name, path=sysconfig.get_path("scripts")) or shutil.which(name)


class CMakeBuild(build_ext):
    """Configures and builds the CMake project, and puts the module where setuptools wants it."""

    def build_extension(self, ext: Extension) -> None:
        import pybind11

        mode = build_mode()
        nvcc = find_nvcc() if mode in ("auto", "cuda") else None
        if mode == "cuda" and nvcc is None:
            sys.exit(
                "DFANERF_BUILD=cuda, but no nvcc was found in CUDACXX, CUDA_HOME, PATH or /usr/local/cuda; "
                "install the CUDA toolkit, or build with DFANERF_BUILD=cpu"
            )
        cmake = find_tool("cmake")
        if cmake is None:
            sys.exit("the native module needs CMake 3.24 or newer: pip install cmake ninja, or DFANERF_BUILD=none")

        default_dir = ROOT / "build" / f"native-{sys.implementation.cache_tag}"
        build_dir = Path(os.environ.get("DFANERF_BUILD_DIR", default_dir)).resolve()
        build_dir.mkdir(parents=True, exist_ok=True)
        configure = [
            cmake,
            f"-S{ROOT}",
            f"-B{build_dir}",
            "-DCMAKE_BUILD_TYPE=Release",
            f"-DPython_EXECUTABLE={sys.executable}",
            f"-Dpybind11_DIR={pybind11.get_cmake_dir()}",
            f"-DDFANERF_CUDA={'ON' if nvcc else 'OFF'}",
            f"-DDFANERF_TESTS={'ON' if os.environ.get('DFANERF_TESTS') else 'OFF'}",
        ]
        if nvcc:
            configure.append(f"-DCMAKE_CUDA_COMPILER={nvcc}")
        architectures = os.environ.get("DFANERF_CUDA_ARCHITECTURES")
        if architectures:
            configure.append(f"-DDFANERF_CUDA_ARCHITECTURES={architectures}")
        ninja = find_tool("ninja")
        if ninja and not (build_dir / "Makefile").exists():
            configure += ["-GNinja", f"-DCMAKE_MAKE_PROGRAM={ninja}"]

        # Two builds in one tree at the same time would corrupt it.
        with (build_dir / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            try:
                subprocess.run(configure, check=True)
                subprocess.run([cmake, "--build", str(build_dir), "--parallel", str(os.cpu_count() or 1)], check=True)
            except subprocess.CalledProcessError as fault:
                sys.exit(f"building the native module failed: {' '.join(map(str, fault.cmd[:3]))} ... see above")
            target = Path(self.get_ext_fullpath(ext.name))
            target.parent.mkdir(parents=True, exist_ok=True)
            # A new inode: a process that has the old module mapped keeps running.
            temporary = target.with_suffix(".new")
            shutil.copy2(build_dir / f"_C{sysconfig.get_config_var('EXT_SUFFIX')}", temporary)
            temporary.replace(target)


setup(
    ext_modules=[] if build_mode() == "none" else [Extension("dfanerf_rt._C", sources=[])],
    cmdclass={"build_ext": CMakeBuild},
)
