"""Compiles the fused CUDA renderer for every architecture and shows what ptxas says: registers, spills, shared memory.

    python tools/check_kernels.py [--architectures 80 90]

Fails where the renderer spills registers or uses local memory. Where there is no nvcc it says so, and passes.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "csrc" / "cuda" / "render_field.cu"
ARCHITECTURES = (75, 80, 86, 89, 90, 100, 120)
THREADS = 256
"""kRenderThreads of csrc/cuda/render_field_job.cuh."""
LIMITS = {
    75: (64, 32),
    80: (164, 64),
    86: (100, 48),
    89: (100, 48),
    90: (228, 64),
    100: (228, 64),
    120: (100, 48),
}
"""KiB of shared memory and warps that a multiprocessor of each architecture holds (CUDA C++ Programming Guide)."""
RESERVED_BYTES = 1024
"""Shared memory that the system takes of every block from compute capability 8.0 on."""
REGISTERS = 65536


@dataclass(frozen=True)
class Kernel:
    """What was compiled for one shape of network."""

    architecture: int
    inputs: int
    hidden: int
    registers: int
    spilled_bytes: int
    stack_bytes: int

    @property
    def shared_bytes(self) -> int:
        """As Network in csrc/cuda/render_field_job.cuh lays it out."""
        tiles, hidden_tiles = self.inputs // 16, self.hidden // 16
        words = hidden_tiles * (tiles + hidden_tiles) * 128 + hidden_tiles * 64
        biases = -(-(2 * self.hidden + 4) * 4 // 16) * 16
        frame = 144  # a RayFrame and a number, with room to spare for alignment
        return frame + biases + words * 4 + THREADS // 32 * self.inputs // 2 * 32 * 4

    @property
    def warps(self) -> int:
        """That a multiprocessor holds at a time; 0 where a block does not fit."""
        shared_kib, most_warps = LIMITS[self.architecture]
        each = -(-self.registers // 8) * 8 * THREADS
        shared = self.shared_bytes + (RESERVED_BYTES if self.architecture >= 80 else 0)
        blocks = min(REGISTERS // each, shared_kib * 1024 // shared, most_warps * 32 // THREADS)
        return blocks * THREADS // 32

    @property
    def bad(self) -> bool:
        """Whether it keeps anything in local memory."""
        return self.spilled_bytes > 0 or self.stack_bytes > 0


def find_nvcc() -> str | None:
    """As setup.py finds it."""
    for name in (os.environ.get("CUDACXX"), os.environ.get("CUDA_HOME", "/usr/local/cuda") + "/bin/nvcc", "nvcc"):
        if name and (found := shutil.which(name)):
            return found
    return None


def parse(text: str, architecture: int) -> list[Kernel]:
    """The renderer's kernels in what ptxas -v printed."""
    found = []
    for block in text.split("Compiling entry function ")[1:]:
        name = re.match(r"'\w*render_kernel\w*NetworkILi(\d+)ELi(\d+)E", block)
        if name is None:
            continue
        registers = re.search(r"Used (\d+) registers", block)
        memory = re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", block)
        if registers is None or memory is None:
            raise ValueError(f"ptxas printed something unexpected for sm_{architecture}:\n{block[:400]}")
        tiles, hidden = int(name[1]), int(name[2])
        spilled = int(memory[2]) + int(memory[3])
        found.append(Kernel(architecture, 16 * tiles, hidden, int(registers[1]), spilled, int(memory[1])))
    if not found:
        raise ValueError(f"no render_kernel in what ptxas printed for sm_{architecture}")
    return sorted(found, key=lambda kernel: (kernel.inputs, kernel.hidden))


def compile_for(nvcc: str, architecture: int) -> list[Kernel]:
    """Compile the renderer for one architecture."""
    with tempfile.TemporaryDirectory() as folder:
        command = [nvcc, "-std=c++17", "-O3", f"-arch=sm_{architecture}", "--expt-relaxed-constexpr", "-cubin"]
        command += ["-DDFANERF_WITH_CUDA=1", f"-I{ROOT / 'csrc'}", f"-I{ROOT / 'csrc' / 'include'}", "-Xptxas", "-v"]
        done = subprocess.run(
            [*command, "-o", f"{folder}/kernel.cubin", str(SOURCE)], capture_output=True, text=True, check=False
        )
    if done.returncode != 0:
        raise RuntimeError(f"nvcc failed for sm_{architecture}:\n{done.stderr}")
    return parse(done.stdout + done.stderr, architecture)


def main(arguments: list[str] | None = None) -> int:
    """Print the table; 1 where a kernel keeps anything in local memory."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--architectures", type=int, nargs="+", choices=ARCHITECTURES, default=list(ARCHITECTURES))
    wanted = parser.parse_args(arguments).architectures
    nvcc = find_nvcc()
    if nvcc is None:
        print("check_kernels: NOT CHECKED, there is no nvcc (CUDACXX, CUDA_HOME, /usr/local/cuda or PATH)")
        return 0
    with ThreadPoolExecutor(max_workers=2) as pool:
        kernels = [kernel for each in pool.map(lambda a: compile_for(nvcc, a), wanted) for kernel in each]
    print("arch    network          registers  spilled B  stack B  shared B  warps an SM")
    for k in kernels:
        network = f"{k.inputs}-{k.hidden}-{k.hidden}-4"
        fits = f"{k.warps:11d}" if k.warps else "    no room"
        print(
            f"sm_{k.architecture:<4d} {network:16s} {k.registers:9d} {k.spilled_bytes:10d} {k.stack_bytes:8d} "
            f"{k.shared_bytes:9d}  {fits}{'  BAD' if k.bad else ''}"
        )
    bad = [k for k in kernels if k.bad]
    print(f"check_kernels: {len(kernels)} kernels, {len(bad)} with local memory")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
