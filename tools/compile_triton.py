"""Compile every Triton kernel to machine code for several GPUs, with no GPU at hand, and say what it needs.

    python tools/compile_triton.py [--arch 80 90 120] [--only NAME] [--json FILE] [--save FOLDER]

Exit status 1 where a kernel spills registers, or a kernel meant for tensor cores does not use them.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

ARCHITECTURES = (80, 90, 120)
TYPES = {
    **dict.fromkeys(("sizes", "offsets", "counts", "ray"), "*i64"),
    **dict.fromkeys(("cells", "hits", "background", "image"), "*u8"),
    **dict.fromkeys(("frame", "queue"), "*i32"),
    **dict.fromkeys(("n", "n_frames", "n_columns", "n_steps", "resolution", "weight_stride", "width", "height"), "i32"),
    **dict.fromkeys(("near_m", "step_m", "focal_px", "cx", "cy"), "fp32"),
}
"""Types of the kernels' arguments by their names; all others are pointers to float32."""


@dataclass(frozen=True)
class Case:
    """One kernel with the sizes that it usually runs with."""

    name: str
    module: str
    """File in dfanerf_rt/backends/triton/kernels."""
    kernel: str
    constants: Mapping[str, Any]
    types: Mapping[str, str]
    """Of arguments that are not as the tables above say."""
    tensor_cores: bool
    launch: str
    """Name in the module of what it is launched with."""


@dataclass(frozen=True)
class Compiled:
    """What ptxas made of a case."""

    name: str
    arch: int
    cubin_bytes: int
    registers: int
    stack_bytes: int
    """Memory for what registers do not hold: spills."""
    shared_bytes: int
    tensor_core_instructions: int
    needs_tensor_cores: bool

    @property
    def fault(self) -> str | None:
        """Why this kernel is not as fast as it should be, or None."""
        if self.stack_bytes:
            return f"spills {self.stack_bytes} bytes"
        if self.needs_tensor_cores and not self.tensor_core_instructions:
            return "does not use tensor cores"
        return None


def _case(
    module: str,
    kernel: str,
    label: str = "",
    types: Mapping[str, str] = MappingProxyType({}),
    tensor_cores: bool = False,
    launch: str = "LAUNCH",
    **sizes: Any,
) -> Case:
    name = f"{kernel}[{label}]" if label else kernel
    return Case(name, module, kernel, sizes, types, tensor_cores, launch)


CASES = (
    *(
        _case("hash_encode", kernel, f"F={features}", N_LEVELS=16, N_FEATURES=features)
        for kernel in ("encode_kernel", "table_gradient_kernel", "position_gradient_kernel")
        for features in (2, 8)
    ),
    _case("composite_rays", "composite_kernel"),
    _case("composite_rays", "composite_gradient_kernel"),
    *(
        _case("condition_layer", kernel, tensor_cores=True, D=32, H=64)
        for kernel in ("layer_kernel", "feature_gradient_kernel")
    ),
    _case("condition_layer", "weight_gradient_kernel", tensor_cores=True, launch="SUMS", D=32, H=64),
    _case("march_rays", "march_kernel"),
    _case("march_rays", "write_samples_kernel"),
    *(
        _case(
            "render_field",
            "render_kernel",
            label,
            {"table": table},
            tensor_cores=True,
            L=16,
            N_LEVELS=16,
            N_FEATURES=2,
            H=64,
            N_HIDDEN=64,
            HALF=half,
        )
        for label, table, half in (("float32", "*fp32", False), ("float16", "*fp16", True))
    ),
)


def compile_case(case: Case, arch: int, save: Path | None = None) -> Compiled:
    """Compile for compute capability ``arch`` (80 is 8.0); writes .ptx and .cubin into ``save``."""
    import importlib

    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    module = importlib.import_module(f"dfanerf_rt.backends.triton.kernels.{case.module}")
    function = getattr(module, case.kernel)
    launch = getattr(module, case.launch)
    constants = {**{name: value for name, value in launch.items() if name in function.arg_names}, **case.constants}
    options = {name: value for name, value in launch.items() if name not in function.arg_names}
    signature = {
        name: "constexpr" if name in constants else case.types.get(name, TYPES.get(name, "*fp32"))
        for name in function.arg_names
    }
    # torch's allocations are aligned, and a launch tells the compiler so.
    aligned = {(i,): [["tt.divisibility", 16]] for i, kind in enumerate(signature.values()) if kind.startswith("*")}
    source = ASTSource(fn=function, signature=signature, constexprs=constants, attrs=aligned)
    done = triton.compile(source, target=GPUTarget("cuda", arch, 32), options=options)
    ptx, cubin = done.asm["ptx"], done.asm["cubin"]
    if save is not None:
        save.mkdir(parents=True, exist_ok=True)
        (save / f"{case.name}.sm_{arch}.ptx").write_text(ptx)
        (save / f"{case.name}.sm_{arch}.cubin").write_bytes(cubin)
    usage = _resource_usage(cubin)
    return Compiled(
        name=case.name,
        arch=arch,
        cubin_bytes=len(cubin),
        registers=usage["REG"],
        stack_bytes=max(usage["STACK"], usage["LOCAL"]),
        shared_bytes=int(done.metadata.shared),
        tensor_core_instructions=len(re.findall(r"\bwgmma\.mma_async|\bmma\.sync", ptx)),
        needs_tensor_cores=case.tensor_cores,
    )


def _resource_usage(cubin: bytes) -> dict[str, int]:
    import triton.backends.nvidia

    tool = Path(next(iter(triton.backends.nvidia.__path__))) / "bin" / "cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        command = [str(tool), "--dump-resource-usage", file.name]
        told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return {name: int(value) for name, value in re.findall(r"(REG|STACK|LOCAL):(\d+)", told)}


def main() -> int:
    """Compile, print a table, and return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--arch", type=int, nargs="+", default=ARCHITECTURES, help="compute capabilities")
    parser.add_argument("--only", default="", help="kernels whose name contains this")
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--save", type=Path, help="write .ptx and .cubin files into this folder")
    arguments = parser.parse_args()
    os.environ.pop("TRITON_INTERPRET", None)  # read when Triton is imported, below: interpreted kernels do not compile
    results = []
    for case in (case for case in CASES if arguments.only in case.name):
        for arch in arguments.arch:
            result = compile_case(case, arch, arguments.save)
            results.append(result)
            memory = f"{result.stack_bytes:5} B stack {result.shared_bytes:6} B shared"
            used = f"{result.registers:3} registers {memory} {result.tensor_core_instructions:3} tensor-core"
            print(f"{result.name:<36} sm_{arch:<3} {used}  {result.fault or ''}", flush=True)
    if arguments.json is not None:
        arguments.json.write_text(json.dumps([{**asdict(result), "fault": result.fault} for result in results]))
    return int(any(result.fault for result in results))


if __name__ == "__main__":
    sys.exit(main())
