"""Reading and writing files so that nothing is half-written and nothing damaged is believed."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_origin, get_type_hints

from dfanerf_rt.errors import DfanerfError

if TYPE_CHECKING:
    import torch

Config = TypeVar("Config")
JSON_KINDS = {int: "a whole number", float: "a finite number", str: "a text", bool: "true or false", dict: "an object"}
TENSOR_DTYPES = ("float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool")


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary sibling of ``path`` that replaces it on success and vanishes on failure.

    Raises:
        DfanerfError: ``path`` is a folder, or nothing can be written beside it.
    """
    if path.is_dir():
        raise DfanerfError(f"{path}: cannot be written (it is a folder)")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.stem}.", suffix=path.suffix, dir=path.parent)
    except OSError as fault:
        raise DfanerfError(f"{path}: cannot be written ({fault.strerror or fault})") from fault
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
            value that is not finite or of a type that the package does not use.
    """
    import torch
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    if not path.is_file():
        raise error(f"{path}: is a folder, expected a file" if path.is_dir() else f"{path}: no such file")
    with path.open("rb") as stream:
        head = stream.read(9)
    # A safetensors file begins with a length, whose bytes may be any, and "{".
    if head[8:] != b"{" and (
        head[:2] in (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05") or head[:4] == b"PK\x03\x04"
    ):
        raise error(f"{path}: this is a pickle or zip archive, which is never loaded; a .safetensors file is expected")
    try:
        with safe_open(str(path), framework="pt", device="cpu") as stored:
            metadata = (stored.metadata() or {}).get("json")
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as fault:
        raise error(f"{path}: truncated or not a safetensors file ({fault})") from fault
    if metadata is None:
        raise error(f"{path}: a safetensors file without this package's metadata; it was written by something else")
    decoded = parse_json_object(metadata, f"{path}: damaged metadata", error)
    for name, tensor in tensors.items():
        dtype = str(tensor.dtype).removeprefix("torch.")
        if dtype not in TENSOR_DTYPES:
            raise error(f"{path}: tensor '{name}' is of type {dtype}, expected one of {', '.join(TENSOR_DTYPES)}")
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise error(f"{path}: tensor '{name}' holds NaN or infinity")
    return tensors, decoded


def check_tensors(
    path: Path,
    tensors: Mapping[str, torch.Tensor],
    expected: Mapping[str, tuple[int | None, ...]],
    error: type[DfanerfError],
    dtype: torch.dtype | None = None,
) -> None:
    """Check that each expected tensor is there with its shape; ``None`` allows any extent, or any dtype.

    Raises:
        error: names the first tensor that is missing, misshapen or of another dtype, with what was expected.
    """
    for name, shape in expected.items():
        if name not in tensors:
            raise error(f"{path}: tensor '{name}' is missing")
        found = tuple(tensors[name].shape)
        if len(found) != len(shape) or any(
            want is not None and have != want for have, want in zip(found, shape, strict=True)
        ):
            wanted = tuple("any" if extent is None else extent for extent in shape)
            raise error(f"{path}: tensor '{name}' has shape {found}, expected {wanted}")
        if dtype is not None and tensors[name].dtype != dtype:
            raise error(f"{path}: tensor '{name}' is {tensors[name].dtype}, expected {dtype}")


def parse_json_object(text: str | bytes, where: str, error: type[DfanerfError]) -> dict[str, Any]:
    """Parse a JSON object from a file that may be damaged.

    Args:
        text: the JSON; bytes are read as UTF-8.
        where: begins the message, such as "clip/clip.json: damaged JSON".

    Raises:
        error: not UTF-8, not JSON, nested too deeply, or not an object.
    """
    try:
        value = json.loads(text if isinstance(text, str) else text.decode("utf-8"))
    except RecursionError:
        raise error(f"{where} (nested too deeply)") from None
    except ValueError as fault:
        raise error(f"{where} ({fault})") from fault
    if not isinstance(value, dict):
        raise error(f"{where} (a JSON object is expected)")
    return value


def from_json_object(kind: type[Config], values: Mapping[str, Any], where: str, error: type[DfanerfError]) -> Config:
    """Build a dataclass of numbers, texts and objects from what a JSON object says.

    Raises:
        error: names the first key that is unknown, missing, or of another type; a number that is not finite is no
            number.
    """
    entries = {entry.name: entry for entry in fields(kind)}  # type: ignore[arg-type]
    unknown = sorted(set(values) - set(entries))
    if unknown:
        raise error(f"{where}: unknown key {unknown[0]!r}")
    hints = get_type_hints(kind)
    for name, entry in entries.items():
        if name not in values:
            if entry.default is MISSING and entry.default_factory is MISSING:
                raise error(f"{where}: key {name!r} is missing")
            continue
        wanted, value = get_origin(hints[name]) or hints[name], values[name]
        # bool is an int to Python; an int beyond float's range is no measure of anything.
        number = isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e300
        fits = number if wanted is float else isinstance(value, wanted) and (wanted is not int or number)
        if not fits:
            shown = repr(value) if len(repr(value)) <= 40 else type(value).__name__
            raise error(f"{where}: {name} is {shown}, expected {JSON_KINDS.get(wanted, wanted.__name__)}")
    return kind(**values)
