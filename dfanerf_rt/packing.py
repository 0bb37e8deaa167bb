"""What an avatar's file holds in place of its largest tensors: a third of the bytes, and nothing that can be seen.

- ``field.table`` and ``field.blend_tables``: entries that no sample in an occupied cell reads, about four of ten, are
  left out; ``field.kept`` says which are there, a bit an entry. The rest are int8: a value is code * peak / 127, with a
  peak for each 64 entries that follow one another. A picture moves by less than its own rounding to bytes (62 dB).
- ``occupancy.bits``: words of eight bytes that are 0 are left out; ``occupancy.kept`` says which are there.
- Matrices under ``sync.`` are float16: a mouth code moves by at most 0.4 % of its spread.

csrc/avatar/packing.h reads the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dfanerf_rt.errors import AvatarError, DfanerfError
from dfanerf_rt.field.config import FieldConfig
from dfanerf_rt.field.field import unpack_occupancy
from dfanerf_rt.field.reach import reached_entries
from dfanerf_rt.files import check_tensors, from_json_object

BLOCK_ENTRIES = 64
"""Entries that share a peak."""
LARGEST_CODE = 127
WORD_BYTES = 8
_KEPT, _TABLE, _BLENDED = "field.kept", "field.table", "field.blend_tables"
_BITS, _KEPT_WORDS = "occupancy.bits", "occupancy.kept"


def pack(tensors: Mapping[str, torch.Tensor], field_settings: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """What is stored for an avatar's tensors.

    Tables that are not float16 and of a hash grid's sizes stay as they are, and so does occupancy of another size than
    whole words.

    Args:
        tensors: all tensors of the avatar.
        field_settings: fields of ``FieldConfig``. Where they do not fit the table, all its entries are kept.
    """
    packed = dict(tensors)
    table, blended = tensors.get(_TABLE), tensors.get(_BLENDED)
    if table is not None and blended is not None and _are_tables(table, blended):
        kept = _kept_entries(tensors, field_settings, len(table))
        packed[_KEPT] = _to_bits(kept)
        for name, values in ((_TABLE, table), (_BLENDED, blended)):
            packed[name], packed[_peaks_of(name)] = _quantise(values[..., kept, :])
    bits = tensors.get(_BITS)
    if bits is not None and bits.dtype == torch.uint8 and bits.ndim == 1 and bits.numel() % (8 * WORD_BYTES) == 0:
        words = bits.reshape(-1, WORD_BYTES)
        filled = (words != 0).any(dim=1)
        packed[_KEPT_WORDS], packed[_BITS] = _to_bits(filled), words[filled].reshape(-1)
    for name, tensor in tensors.items():
        if name.startswith("sync.") and tensor.dtype == torch.float32 and tensor.ndim >= 2:
            half = tensor.half()
            packed[name] = half if bool(half.isfinite().all()) else tensor
    return packed


def unpack(stored: Mapping[str, torch.Tensor], path: Path) -> dict[str, torch.Tensor]:
    """The inverse of :func:`pack`, up to its rounding: tables in float16, occupancy as bits, ``sync.`` in float32.

    Raises:
        AvatarError: names the tensor that is missing, of another type or shape, or does not fit the others.
    """
    tensors = dict(stored)
    codes = tensors.get(_TABLE)
    if _KEPT in tensors or (codes is not None and codes.dtype == torch.int8):
        kept = _from_bits(tensors, _KEPT, path)
        for name, extents in ((_TABLE, (None, None)), (_BLENDED, (None, None, None))):
            check_tensors(path, tensors, {name: extents}, AvatarError, torch.int8)
            _restore(tensors, name, kept, path)
        del tensors[_KEPT]
    if _KEPT_WORDS in tensors:
        filled = _from_bits(tensors, _KEPT_WORDS, path)
        check_tensors(path, tensors, {_BITS: (None,)}, AvatarError, torch.uint8)
        _check_count(path, _KEPT_WORDS, WORD_BYTES * int(filled.sum()), _BITS, tensors[_BITS].numel())
        words = torch.zeros(len(filled), WORD_BYTES, dtype=torch.uint8)
        words[filled] = tensors[_BITS].view(-1, WORD_BYTES)
        tensors[_BITS] = words.view(-1)
        del tensors[_KEPT_WORDS]
    for name, tensor in tensors.items():
        if name.startswith("sync.") and tensor.dtype == torch.float16:
            tensors[name] = tensor.float()
    return tensors


def _peaks_of(name: str) -> str:
    return f"{name}_peaks"


def _are_tables(table: torch.Tensor, blended: torch.Tensor) -> bool:
    half = table.dtype == blended.dtype == torch.float16
    return half and table.ndim == 2 and blended.shape[1:] == table.shape and len(table) % 8 == 0


def _kept_entries(tensors: Mapping[str, torch.Tensor], settings: Mapping[str, Any], n_entries: int) -> torch.Tensor:
    """(n_entries,) bool: those that are read, as far as the settings say."""
    everything = torch.ones(n_entries, dtype=torch.bool)
    bits = tensors.get(_BITS)
    try:
        config = from_json_object(FieldConfig, settings, "field settings", AvatarError)
        grid, resolution = config.grid, config.occupancy_resolution
        fits = bits is not None and bits.dtype == torch.uint8 and tuple(bits.shape) == ((resolution**3 + 7) // 8,)
        if bits is None or not fits or grid.n_entries != n_entries:
            return everything
    except DfanerfError:
        return everything
    return reached_entries(unpack_occupancy(bits, resolution), grid)


def _quantise(values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(..., N, F) float16 to codes (..., N, F) int8 and peaks (..., ceil(N / 64)) float16."""
    *leading, n_entries, n_features = values.shape
    n_blocks = -(-n_entries // BLOCK_ENTRIES)
    padded = torch.nn.functional.pad(values.float(), (0, 0, 0, n_blocks * BLOCK_ENTRIES - n_entries))
    blocks = padded.view(*leading, n_blocks, BLOCK_ENTRIES * n_features)
    peaks = blocks.abs().amax(dim=-1)
    codes = (blocks * (LARGEST_CODE / peaks.clamp_min(1e-12))[..., None]).round().to(torch.int8)
    return codes.view(*padded.shape)[..., :n_entries, :].contiguous(), peaks.half()


def _restore(tensors: dict[str, torch.Tensor], name: str, kept: torch.Tensor, path: Path) -> None:
    """Put (..., len(kept), F) float16 in place of codes (..., N, F) and their peaks; 0 where an entry was left out."""
    codes = tensors[name]
    *leading, n_entries, n_features = codes.shape
    _check_count(path, _KEPT, int(kept.sum()), name, n_entries)
    blocks = (*leading, -(-n_entries // BLOCK_ENTRIES))
    check_tensors(path, tensors, {_peaks_of(name): blocks}, AvatarError, torch.float16)
    if bool((codes < -LARGEST_CODE).any()):
        raise AvatarError(f"{path}: tensor '{name}' holds a code below {-LARGEST_CODE}")
    peaks = tensors.pop(_peaks_of(name)).float()
    factors = peaks.repeat_interleave(BLOCK_ENTRIES, dim=-1)[..., :n_entries, None]
    try:
        restored = torch.zeros(*leading, len(kept), n_features, dtype=torch.float16)
        restored.index_copy_(-2, kept.nonzero()[:, 0], (codes * factors).div_(LARGEST_CODE).half())
    except RuntimeError as fault:
        raise AvatarError(f"{path}: tensor '{name}' is too large to unpack ({fault})") from fault
    tensors[name] = restored


def _check_count(path: Path, marks: str, n_marked: int, name: str, n_stored: int) -> None:
    if n_marked != n_stored:
        raise AvatarError(f"{path}: tensor '{marks}' stands for {n_marked} of what '{name}' holds {n_stored} of")


def _to_bits(flags: torch.Tensor) -> torch.Tensor:
    return torch.from_numpy(np.packbits(flags.cpu().numpy(), bitorder="little"))


def _from_bits(tensors: Mapping[str, torch.Tensor], name: str, path: Path) -> torch.Tensor:
    check_tensors(path, tensors, {name: (None,)}, AvatarError, torch.uint8)
    return torch.from_numpy(np.unpackbits(tensors[name].numpy(), bitorder="little")).bool()
