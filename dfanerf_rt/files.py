"""Reading and writing files so that nothing is half-written and nothing damaged is believed."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dfanerf_rt.errors import DfanerfError

if TYPE_CHECKING:
    import torch

MAX_HEADER_BYTES = 4 << 20


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary sibling of ``path`` that replaces it on success and vanishes on failure."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.stem}.", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as indented JSON, atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def save_tensors(path: Path, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, Any]) -> None:
    """Write one ``.safetensors`` file atomically; ``metadata`` is stored as JSON under the key "json"."""
    from safetensors.torch import save_file

    contiguous = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    with atomic_path(path) as temporary:
        save_file(contiguous, str(temporary), metadata={"json": json.dumps(dict(metadata))})


def load_tensors(path: Path, error: type[DfanerfError]) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Read a ``.safetensors`` file written by :func:`save_tensors`.

    Returns:
        The tensors on the CPU, and the JSON metadata.

    Raises:
        error: the file is missing, a pickle, truncated, not safetensors, without metadata, or holds a
            value that is not finite.
    """
    import torch
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    if not path.is_file():
        raise error(f"{path}: no such file")
    with path.open("rb") as stream:
        head = stream.read(8)
    if head[:2] in (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05") or head[:4] == b"PK\x03\x04":
        raise error(f"{path}: this is a pickle or zip archive, which is never loaded; a .safetensors file is expected")
    try:
        with safe_open(str(path), framework="pt", device="cpu") as stored:
            metadata = (stored.metadata() or {}).get("json")
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as fault:
        raise error(f"{path}: truncated or not a safetensors file ({fault})") from fault
    if metadata is None:
        raise error(f"{path}: a safetensors file without this package's metadata; it was written by something else")
    try:
        decoded = json.loads(metadata)
    except json.JSONDecodeError as fault:
        raise error(f"{path}: damaged metadata ({fault})") from fault
    if not isinstance(decoded, dict):
        raise error(f"{path}: damaged metadata (a JSON object is expected)")
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise error(f"{path}: tensor '{name}' holds NaN or infinity")
    return tensors, decoded


def check_tensors(
    path: Path,
    tensors: Mapping[str, torch.Tensor],
    expected: Mapping[str, tuple[int | None, ...]],
    error: type[DfanerfError],
) -> None:
    """Check that each expected tensor is there with its shape; ``None`` allows any extent.

    Raises:
        error: names the first tensor that is missing or misshapen, with both shapes.
    """
    for name, shape in expected.items():
        if name not in tensors:
            raise error(f"{path}: tensor '{name}' is missing")
        found = tuple(tensors[name].shape)
        if len(found) != len(shape) or any(want is not None and have != want for have, want in zip(found, shape, strict=True)):
            wanted = tuple("any" if extent is None else extent for extent in shape)
            raise error(f"{path}: tensor '{name}' has shape {found}, expected {wanted}")
