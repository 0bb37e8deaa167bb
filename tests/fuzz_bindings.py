"""Calls the native module with random and nearly right arguments: ``python fuzz_bindings.py SEED CALLS``.

Run in a process of its own by test_bindings.py, since what it looks for ends the process. Every array lies inside a
larger block whose margins must stay as they are; whatever a call raises is fine, as long as it raises.
"""

from __future__ import annotations

import contextlib
import faulthandler
import random
import sys
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from dfanerf_rt import _C
from dfanerf_rt.errors import ShapeError
from dfanerf_rt.ops.hash_encode import HashGridConfig

MARGIN = 4096
GRID = HashGridConfig(n_levels=3, log2_table_size=6, base_resolution=2, max_resolution=16)
LEVELS = [tuple(level) for level in GRID.levels]
INPUTS, ENTRIES = GRID.n_output, GRID.n_entries
HIDDEN, CELLS, TABLES, RAYS, SAMPLES, HEIGHT, WIDTH = 16, 5, 2, 7, 11, 9, 13


@dataclass(frozen=True)
class Array:
    """An array that a function takes; made anew for each call."""

    shape: tuple[int, ...]
    dtype: str = "float32"
    values: tuple[float, ...] | None = None


def floats(*shape: int) -> Array:
    return Array(shape)


BOX = Array((2, 3), "float32", (-0.2, -0.2, -0.2, 0.2, 0.3, 0.2))
POSE = Array((3, 4), "float32", (1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0.8))
OCCUPANCY = Array((CELLS, CELLS, CELLS), "uint8", tuple(int(i % 3 == 0) for i in range(CELLS**3)))
OFFSETS = Array((RAYS + 1,), "int64", (0, 0, 2, 2, 5, 9, 11, 11))
MARCH = {"near_m": 0.5, "step_m": 0.02, "n_steps": 40, "hits": Array((RAYS, 2), "int32")}
PACKED = {
    "offsets": OFFSETS,
    "sigma": floats(SAMPLES),
    "rgb": floats(SAMPLES, 3),
    "t": floats(SAMPLES),
    "step_m": 0.02,
}
GRID_INPUTS = {"grid": _C.HashGrid(LEVELS, 2), "positions": floats(SAMPLES, 3), "table": floats(ENTRIES, 2)}
FUNCTIONS: dict[str, dict[str, Any]] = {
    "HashGrid": {"levels": LEVELS, "n_features": 2},
    "hash_encode_forward": {**GRID_INPUTS, "out": floats(SAMPLES, INPUTS), "n_threads": 2},
    "hash_encode_backward": {
        **GRID_INPUTS,
        "grad_out": floats(SAMPLES, INPUTS),
        "grad_table": floats(ENTRIES, 2),
        "grad_positions": floats(SAMPLES, 3),
        "n_threads": 2,
    },
    "march_rays_count": {
        "head_origin": floats(3),
        "torso_origin": floats(3),
        "neck_origin": floats(),
        "head_slope": floats(RAYS, 3),
        "torso_slope": floats(RAYS, 3),
        "neck_slope": floats(RAYS),
        "jitter": floats(RAYS),
        "occupancy": OCCUPANCY,
        **MARCH,
        "counts": Array((RAYS,), "int64"),
        "n_threads": 2,
    },
    "march_rays_write": {
        "jitter": floats(RAYS),
        **MARCH,
        "offsets": OFFSETS,
        "ray": Array((SAMPLES,), "int64"),
        "t": floats(SAMPLES),
        "n_threads": 2,
    },
    "composite_rays_forward": {
        **PACKED,
        "colour": floats(RAYS, 3),
        "transmittance": floats(RAYS),
        "distortion": floats(RAYS),
        "weights": floats(SAMPLES),
        "n_threads": 2,
    },
    "composite_rays_backward": {
        **PACKED,
        "transmittance": floats(RAYS),
        "weights": floats(SAMPLES),
        "grad_colour": floats(RAYS, 3),
        "grad_transmittance": floats(RAYS),
        "grad_distortion": floats(RAYS),
        "grad_sigma": floats(SAMPLES),
        "grad_rgb": floats(SAMPLES, 3),
        "n_threads": 2,
    },
    "FieldRenderer": {
        "levels": LEVELS,
        "hidden": HIDDEN,
        "occupancy": OCCUPANCY,
        "aabb": BOX,
        "precision": "bfloat16",
        "n_threads": 2,
    },
}
METHODS: dict[str, dict[str, Any]] = {
    "load_network": {
        "w1": floats(HIDDEN, INPUTS),
        "w2": floats(HIDDEN, HIDDEN),
        "w3": floats(4, HIDDEN),
        "b1": floats(HIDDEN),
        "b2": floats(HIDDEN),
        "b3": floats(4),
    },
    "load_constants": {
        "condition_mean": floats(48),
        "condition_std": floats(48),
        "pose_mean": floats(6),
        "pose_std": floats(6),
        "condition_weight": floats(HIDDEN, 48),
        "pose_weight": floats(HIDDEN, 6),
        "mixer_weight": floats(TABLES, 48),
        "head_follow": floats(6, 6),
        "torso_follow": floats(6, 6),
        "neck": floats(4),
        "step_m": 0.01,
        "base": floats(ENTRIES, 2),
        "tables": floats(TABLES, ENTRIES, 2),
    },
    "fold": {"condition": floats(48), "head_pose": Array((6,), "float32", (0.1, 0, 0, 0, 0, 0.8))},
    "load_table": {"table": floats(ENTRIES, 2)},
    "place": {
        "head_to_camera": POSE,
        "torso_to_camera": POSE,
        "neck": floats(4),
        "near_far_step_m": (0.4, 1.3, 0.01),
    },
    "render": {
        "focal_cx_cy": (20.0, 6.0, 4.0),
        "background": Array((HEIGHT, WIDTH, 3), "uint8"),
        "image": Array((HEIGHT, WIDTH, 3), "uint8"),
        "alpha": floats(HEIGHT, WIDTH),
        "depth": floats(HEIGHT, WIDTH),
    },
}
"""Of FieldRenderer, in the order in which they are called."""


class Blocks:
    """Arrays with margins, checked after each call."""

    def __init__(self, seed: int) -> None:
        self.generator = np.random.default_rng(seed)
        self.kept: list[np.ndarray] = []

    def array(self, wanted: Array) -> np.ndarray:
        size = int(np.prod(wanted.shape)) * np.dtype(wanted.dtype).itemsize
        block = np.full(size + 2 * MARGIN, 0xA5, np.uint8)
        self.kept.append(block)
        array = block[MARGIN : MARGIN + size].view(wanted.dtype).reshape(wanted.shape)
        if wanted.values is not None:
            array[...] = np.reshape(wanted.values, wanted.shape)
        elif wanted.dtype == "float32":
            array[...] = self.generator.standard_normal(wanted.shape)
        return array

    def arguments(self, wanted: dict[str, Any]) -> dict[str, Any]:
        return {key: self.array(value) if isinstance(value, Array) else value for key, value in wanted.items()}

    def renderer(self, until: str) -> Any:
        """A FieldRenderer with some of what comes before a method loaded."""
        made = _C.FieldRenderer(**self.arguments(FUNCTIONS["FieldRenderer"]))
        missing = self.generator.random() < 0.2
        for name, wanted in METHODS.items():
            if name == until:
                break
            if not (missing and self.generator.random() < 0.5):
                with contextlib.suppress(ShapeError):
                    getattr(made, name)(**self.arguments(wanted))
        return made

    def check(self) -> None:
        for block in self.kept:
            if (block[:MARGIN] != 0xA5).any() or (block[-MARGIN:] != 0xA5).any():
                raise SystemExit("memory beside an array was written")
        self.kept.clear()


class Rubbish:
    """Looks like a tensor to whoever asks for its methods alone."""

    def __init__(self, answer: Any, device: Any = (1, 0)) -> None:
        self.answer, self.device = answer, device

    def __dlpack__(self, **_: Any) -> Any:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def __dlpack_device__(self) -> Any:
        return self.device


def odd_value(rng: random.Random, new: Blocks) -> Any:
    """Something that no function expects."""
    kind = rng.randrange(12)
    if kind < 5:
        shape = tuple(rng.choice((0, 1, 2, 3, 5, 7, 11, 16, 48, RAYS, SAMPLES)) for _ in range(rng.randrange(5)))
        dtype = rng.choice(
            ("float32", "float64", "float16", "int64", "int32", "uint8", "bool", ">f4", "complex64", "S3")
        )
        try:
            return new.array(Array(shape, dtype))
        except (TypeError, ValueError):
            return np.zeros(shape, dtype)
    if kind == 5:
        return rng.choice((None, "float32", b"x", (), [], {}, (1.0, 2.0, 3.0), [1.0] * 3, object(), 1j, True))
    if kind == 6:
        return rng.choice((0, 1, -1, 2, 7, 2**31 - 1, -(2**31), 2**40, 2**70))
    if kind == 7:
        return rng.choice((0.0, -1.0, 1e-30, 1e30, 1e300, float("nan"), float("inf"), -float("inf")))
    if kind == 8:
        return torch.zeros(rng.choice(((0,), (3,), (6,), (48,))), dtype=rng.choice((torch.float32, torch.bfloat16)))
    if kind == 9:
        return rng.choice(
            (torch.zeros(6, device="meta"), torch.zeros(6, requires_grad=True), torch.zeros(3, 3).to_sparse())
        )
    answers = (None, 1, ValueError("no"), BufferError("no"), np.zeros(3).__dlpack__(), "capsule")
    return Rubbish(rng.choice(answers), rng.choice(((1, 0), (2, 0), (99, 0), (), None, ("a", 0))))


def twisted(rng: random.Random, value: Any) -> Any:
    """Nearly what was there."""
    if isinstance(value, np.ndarray) and value.ndim:
        turns = (
            lambda: value[::-1],
            lambda: value[..., ::2],
            lambda: value.T,
            lambda: value[1:],
            lambda: value[None],
            lambda: value.astype(">f4"),
            lambda: value.astype("float64"),
            lambda: np.broadcast_to(value[:1], value.shape),
            lambda: np.broadcast_to(value, (2, *value.shape)),
            lambda: np.asfortranarray(value),
            lambda: value.view(np.uint8),
            lambda: torch.from_numpy(value),
            lambda: torch.from_numpy(value).requires_grad_(),
            lambda: filled(value, rng.choice((float("nan"), float("inf"), -float("inf"), 1e38, -1e38, 0.0))),
            lambda: filled(value, rng.choice((-1, 2**31 - 1, -(2**31), 2**62, -(2**63)))),
            lambda: np.resize(value, (value.shape[0] + 1, *value.shape[1:])),
            lambda: locked(value),
        )
        try:
            return rng.choice(turns)()
        except (TypeError, ValueError, RuntimeError):  # not for arrays of this type
            return value
    if isinstance(value, tuple):
        return tuple(rng.choice((0.0, -1.0, 1e-9, 1e9, float("nan"), float("inf"), x)) for x in value)
    if isinstance(value, list) and value and isinstance(value[0], tuple):
        levels = [list(level) for level in value]
        level = rng.choice(levels)
        level[rng.randrange(5)] = rng.choice((0, 1, 8, 64, 2**31, 2**32 - 1, 1e9, -1.0, float("nan"), True))
        return rng.choice(([tuple(each) for each in levels], value * 20, value[1:], []))
    if isinstance(value, (int, float)):
        return rng.choice((0, -1, 1, 3, 8, 128, 10**6, 2**31 - 1, 2**31, 0.5, 1e-12, 1e12, float("nan")))
    return value


def in_the_same_memory(value: Any, other: Any) -> Any:
    """``other``, looked at as ``value`` is, where it is large enough."""
    if not (isinstance(value, np.ndarray) and isinstance(other, np.ndarray)):
        return other
    if other.flags.c_contiguous and other.nbytes >= value.nbytes:
        return other.reshape(-1).view(np.uint8)[: value.nbytes].view(value.dtype).reshape(value.shape)
    return other


def use(made: Any, new: Blocks) -> None:
    """Whatever a constructor took, what it made must not harm."""
    if isinstance(made, _C.HashGrid):
        for name in ("hash_encode_forward", "hash_encode_backward"):
            with contextlib.suppress(ShapeError):
                getattr(_C, name)(*new.arguments({**FUNCTIONS[name], "grid": made}).values())
    if isinstance(made, _C.FieldRenderer):
        for name, wanted in METHODS.items():
            with contextlib.suppress(ShapeError):
                getattr(made, name)(*new.arguments(wanted).values())


def filled(value: np.ndarray, number: float) -> np.ndarray:
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        flat = value.reshape(-1)
        flat[: max(1, flat.size // 3)] = np.array(number).astype(value.dtype)
    return value


def locked(value: np.ndarray) -> np.ndarray:
    value = value.view()
    value.flags.writeable = False
    return value


def main(seed: int, calls: int) -> None:
    faulthandler.enable()
    faulthandler.dump_traceback_later(100, exit=True)
    torch.set_num_threads(1)
    rng, new = random.Random(seed), Blocks(seed)
    names = sorted(name for name in dir(_C) if callable(getattr(_C, name)) and not name.startswith("__"))
    passed = refused = 0
    for number in range(calls):
        name = rng.choice([*names, *METHODS, *METHODS])
        if name in METHODS:
            function, arguments = getattr(new.renderer(name), name), new.arguments(METHODS[name])
        elif name in FUNCTIONS:
            function, arguments = getattr(_C, name), new.arguments(FUNCTIONS[name])
        else:
            function, arguments = getattr(_C, name), {f"a{i}": odd_value(rng, new) for i in range(rng.randrange(8))}
        for key in rng.sample(sorted(arguments), min(len(arguments), rng.choice((0, 1, 1, 1, 2, 3)))):
            change = rng.randrange(8)
            if change == 0:
                arguments[key] = odd_value(rng, new)
            elif change == 1:
                arguments[key] = in_the_same_memory(arguments[key], rng.choice(list(arguments.values())))
            else:
                arguments[key] = twisted(rng, arguments[key])
        try:
            made = function(*arguments.values())
            passed += 1
            if made is not None:
                use(made, new)
        except Exception as fault:
            refused += 1
            if not str(fault):
                raise SystemExit(f"call {number}, {name}: {type(fault).__name__} says nothing") from fault
        new.check()
    print(f"{passed} calls passed, {refused} were refused")


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
