"""Reads pickles that hold nothing but arrays, and refuses everything else.

Face models are handed out as pickles, and a pickle may run any code. Here only the names that arrays,
dictionaries and sparse matrices need are known, and chumpy's and scipy's classes become plain holders of
their state, so that neither library is needed and nothing of theirs runs.
"""

from __future__ import annotations

import collections
import pickle
from pathlib import Path
from typing import IO, Any

import numpy as np

from dfanerf_rt.errors import FaceModelError


class Holder:
    """Stands in for an instance of chumpy's or scipy's classes: keeps its state, does nothing."""

    state: dict[str, Any]

    def __init__(self, *arguments: Any) -> None:
        self.state = {}

    def __setstate__(self, state: Any) -> None:
        self.state = dict(state) if isinstance(state, dict) else {"state": state}


def _holder(*arguments: Any) -> Holder:
    return Holder()


def _to_bytes(text: str, encoding: str = "latin1") -> bytes:
    return text.encode("latin1" if encoding == "latin1" else "utf-8")


def _known() -> dict[tuple[str, str], Any]:
    multiarray = np.core.multiarray if np.lib.NumpyVersion(np.__version__) < "2.0.0" else np._core.multiarray  # type: ignore[attr-defined]
    known: dict[tuple[str, str], Any] = {
        ("_codecs", "encode"): _to_bytes,
        ("collections", "OrderedDict"): collections.OrderedDict,
        ("copy_reg", "_reconstructor"): _holder,
        ("copyreg", "_reconstructor"): _holder,
        ("__builtin__", "object"): Holder,
        ("builtins", "object"): Holder,
    }
    for core in ("numpy.core", "numpy._core"):
        known[f"{core}.multiarray", "_reconstruct"] = multiarray._reconstruct
        known[f"{core}.multiarray", "scalar"] = multiarray.scalar
    known["numpy", "ndarray"] = np.ndarray
    known["numpy", "dtype"] = np.dtype
    return known


class _ArraysOnly(pickle.Unpickler):
    _names = _known()

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in self._names:
            return self._names[module, name]
        if module.split(".")[0] == "chumpy" or module.startswith("scipy.sparse"):
            return Holder
        raise pickle.UnpicklingError(f"it asks for '{module}.{name}', which no array needs")


def load_pickle(path: Path) -> dict[str, Any]:
    """Read a pickled dictionary of arrays (FLAME's layout).

    Raises:
        FaceModelError: damaged, not a dictionary, or it asks for code to run.
    """
    with Path(path).open("rb") as stream:
        return _dictionary(path, _unpickle(path, stream))


def load_npy(path: Path) -> dict[str, Any]:
    """Read a dictionary of arrays that ``numpy.save`` pickled into an ``.npy`` file.

    Raises:
        FaceModelError: damaged, not a dictionary, or it asks for code to run.
    """
    with Path(path).open("rb") as stream:
        try:
            version = np.lib.format.read_magic(stream)
            read_header = (
                np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            )
            shape, _, dtype = read_header(stream)
        except (ValueError, EOFError) as fault:
            raise FaceModelError(f"{path}: not an .npy file ({fault})") from fault
        if shape != () or dtype != np.dtype(object):
            raise FaceModelError(f"{path}: holds an array {shape} of {dtype}, expected one dictionary of arrays")
        stored = _unpickle(path, stream)
    return _dictionary(path, stored.item() if isinstance(stored, np.ndarray) and stored.shape == () else stored)


def _unpickle(path: Path, stream: IO[bytes]) -> Any:
    try:
        return _ArraysOnly(stream, encoding="latin1").load()
    except FaceModelError:
        raise
    except Exception as fault:
        # A damaged pickle can fail in any way; whatever it is, the file cannot be used.
        raise FaceModelError(f"{path}: this pickle is damaged or not a face model: {fault}") from fault


def _dictionary(path: Path, stored: Any) -> dict[str, Any]:
    if not isinstance(stored, dict):
        raise FaceModelError(f"{path}: holds a {type(stored).__name__}, expected a dictionary of arrays")
    return {str(key): value for key, value in stored.items()}


def array(path: Path, stored: dict[str, Any], key: str) -> np.ndarray:
    """The array under ``key``, float64 or integer; chumpy arrays and sparse matrices become dense arrays.

    Raises:
        FaceModelError: no such key, or nothing there that is an array.
    """
    if key not in stored:
        found = ", ".join(sorted(stored)) or "nothing"
        raise FaceModelError(f"{path}: '{key}' is missing; found {found}")
    value = stored[key]
    if isinstance(value, Holder):
        value = _sparse(value.state) if "indptr" in value.state else value.state.get("x")
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "fiu":
        raise FaceModelError(f"{path}: '{key}' is a {type(value).__name__}, expected an array of numbers")
    if value.dtype.kind == "f" and not np.isfinite(value).all():
        raise FaceModelError(f"{path}: '{key}' holds NaN or infinity")
    return value.astype(np.float64 if value.dtype.kind == "f" else np.int64)


def _sparse(state: dict[str, Any]) -> np.ndarray:
    """A compressed-column or compressed-row matrix made dense; FLAME stores columns, told by the pointer's length."""
    shape = tuple(state.get("_shape", state.get("shape", ())))
    pointer, indices, data = (np.asarray(state[name]) for name in ("indptr", "indices", "data"))
    dense = np.zeros(shape)
    by_column = len(pointer) == shape[1] + 1
    outer = np.repeat(np.arange(len(pointer) - 1), np.diff(pointer))
    dense[(indices, outer) if by_column else (outer, indices)] = data
    return dense
