"""``dfanerf info``: what was built, what would run here, and why not the rest."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json as json_module
import platform
import sys
from dataclasses import dataclass
from typing import Any

OPTIONAL_MODULES = {
    "torch": "torch",
    "triton": "triton",
    "nerfacc": "nerfacc",
    "tiny-cuda-nn": "tinycudann",
    "mediapipe": "mediapipe",
    "av": "av",
    "librosa": "librosa",
    "pyaudio": "pyaudio",
    "aiohttp": "aiohttp",
    "aiortc": "aiortc",
    "pyvirtualcam": "pyvirtualcam",
}
"""What the package may use: name on the index, and name to import."""


@dataclass(frozen=True)
class InfoCommand:
    """Show what was built and what would run here, and why not the rest."""

    json: bool = False
    """Print JSON in place of text."""


def run(command: InfoCommand) -> int:
    """Print the report."""
    report = gather()
    print(json_module.dumps(report, indent=2) if command.json else as_text(report))
    return 0


def gather() -> dict[str, Any]:
    """Everything that ``dfanerf info`` shows, as plain values."""
    import torch

    from dfanerf_rt import __version__, native
    from dfanerf_rt.backends.registry import OPERATORS, PRIORITY
    from dfanerf_rt.ops.dispatch import reasons

    built: dict[str, Any] | None = None
    if native.unavailable_reason() is None:
        module = native.load()
        built = {
            **module.BUILD_INFO,
            "simd_here": module.simd_level(),
            "avx512_bf16_here": module.has_avx512_bf16(),
            "cuda_unavailable": module.cuda_unavailable_reason() or None,
        }
    return {
        "version": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "native": built,
        "native_unavailable": native.unavailable_reason(),
        "operators": {operator: reasons(operator) for operator in OPERATORS},
        "priority": [backend.name for backend in PRIORITY],
        "modules": {name: _version(name, module) for name, module in OPTIONAL_MODULES.items()},
    }


def as_text(report: dict[str, Any]) -> str:
    """The report for people."""
    lines = [
        f"dfanerf_rt {report['version']}, Python {report['python']}, {report['platform']}",
        f"threads: {report['threads']}, GPU: {report['gpu'] or 'none that torch can use'}",
    ]
    built = report["native"]
    if built is None:
        lines.append(f"native module: {report['native_unavailable']}")
    else:
        bf16 = " with bf16 dot products" if built["avx512_bf16_here"] else ""
        lines.append(
            f"native module: {built['compiler']}, {built['processor']}, SIMD variants {built['simd_variants']}"
        )
        lines.append(f"  this processor runs {built['simd_here']}{bf16}")
        if built["cuda"]:
            lines.append(f"  CUDA {built['cuda_version']} for {built['cuda_architectures'].replace(';', ' ')}")
        if built["cuda_unavailable"]:
            lines.append(f"  CUDA kernels cannot run here: {built['cuda_unavailable']}")
    for operator, why in report["operators"].items():
        first = next((name for name in report["priority"] if why[name] is None), "nothing")
        lines.append(f"{operator}: {first} would run")
        lines += [f"  {name:<10} {reason or 'can run'}" for name, reason in why.items()]
    lines.append("modules:")
    lines += [f"  {name:<13} {version or 'not installed'}" for name, version in report["modules"].items()]
    return "\n".join(lines)


def _version(distribution: str, module: str) -> str | None:
    if module not in sys.modules and importlib.util.find_spec(module) is None:
        return None
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "unknown version"
