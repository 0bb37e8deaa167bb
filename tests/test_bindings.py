"""What the native module takes: arrays of numpy and torch without a copy, and an exception for everything else."""

from __future__ import annotations

import copy
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dfanerf_rt import native
from dfanerf_rt.errors import ShapeError
from dfanerf_rt.ops.hash_encode import HashGridConfig

pytestmark = pytest.mark.skipif(native.unavailable_reason() is not None, reason=str(native.unavailable_reason()))
GRID = HashGridConfig(n_levels=3, log2_table_size=6, base_resolution=2, max_resolution=16)
LEVELS = [tuple(level) for level in GRID.levels]
HIDDEN, CELLS = 8, 4
N = 5


def encode(positions: Any, out: Any = None, table: Any = None) -> np.ndarray:
    found = np.full((N, GRID.n_output), np.nan, np.float32) if out is None else out
    table = np.ones((GRID.n_entries, 2), np.float32) if table is None else table
    native.load().hash_encode_forward(native.load().HashGrid(LEVELS, 2), positions, table, found, 1)
    return found


def positions(dtype: str = "float32") -> np.ndarray:
    return np.linspace(0.0, 1.0, 3 * N).reshape(N, 3).astype(dtype)


def renderer(**changes: Any) -> Any:
    arguments: dict[str, Any] = {
        "levels": LEVELS,
        "hidden": HIDDEN,
        "occupancy": np.ones((CELLS, CELLS, CELLS), np.uint8),
        "aabb": np.array([[-0.2, -0.2, -0.2], [0.2, 0.2, 0.2]], np.float32),
        "precision": "float32",
        "n_threads": 1,
    }
    return native.load().FieldRenderer(**{**arguments, **changes})


def loaded_renderer() -> Any:
    made, generator = renderer(), np.random.default_rng(0)

    def normal(*shape: int) -> np.ndarray:
        return generator.standard_normal(shape).astype(np.float32)

    bias = np.array([3.0, 0.0, 0.0, 0.0], np.float32)
    made.load_network(
        normal(HIDDEN, GRID.n_output), normal(HIDDEN, HIDDEN), normal(4, HIDDEN), normal(HIDDEN), normal(HIDDEN), bias
    )
    made.load_table(normal(GRID.n_entries, 2))
    place(made)
    return made


def place(made: Any, near_far_step_m: tuple[float, float, float] = (0.4, 1.3, 0.01), depth_m: float = 0.8) -> None:
    pose = np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, depth_m]], np.float32)
    made.place(pose, pose, np.zeros(4, np.float32), near_far_step_m)


def render(
    made: Any,
    image: Any,
    background: Any = None,
    size: tuple[int, int] = (6, 9),
    alpha: Any = None,
    focal_cx_cy: tuple[float, float, float] = (10.0, 4.0, 3.0),
) -> None:
    background = np.full((*size, 3), 200, np.uint8) if background is None else background
    alpha = np.empty(size, np.float32) if alpha is None else alpha
    made.render(focal_cx_cy, background, image, alpha, np.empty(size, np.float32))


def test_inputs_that_are_read_only_or_torch_are_read_where_they_lie() -> None:
    expected = encode(positions())
    assert np.isfinite(expected).all()
    locked = positions()
    locked.flags.writeable = False
    for given in (
        locked,
        np.frombuffer(positions().tobytes(), np.float32).reshape(N, 3),
        torch.from_numpy(positions()),
    ):
        np.testing.assert_array_equal(encode(given), expected)


def test_an_empty_input_is_an_empty_output() -> None:
    out = np.empty((0, GRID.n_output), np.float32)
    assert encode(np.empty((0, 3), np.float32), out) is out


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (positions("float64"), "dtype float64, expected float32"),
        (positions(">f4"), "format '>f' is not supported"),
        (positions("complex64"), "not supported"),
        (positions("float16"), "dtype float16"),
        (positions()[::-1], "not contiguous"),
        (np.asfortranarray(positions()), "not contiguous"),
        (np.broadcast_to(positions()[:1], (N, 3)), "not contiguous"),
        (positions()[:, :2].copy(), r"shape \(5, 2\), expected \(any, 3\)"),
        (np.zeros((1,) * 9, np.float32), "more than 8 dimensions"),
        (np.zeros(3 * N * 4 + 1, np.uint8)[1:].view(np.float32).reshape(N, 3), "not aligned"),
        (torch.zeros(N, 3, requires_grad=True), "cannot be read: .*grad"),
    ],
)
def test_inputs_of_another_kind_are_named(given: Any, message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        encode(given)


def test_outputs_must_be_writable_memory_of_their_own() -> None:
    shape = (N, GRID.n_output)
    locked = np.empty(shape, np.float32)
    locked.flags.writeable = False
    spread = np.lib.stride_tricks.as_strided(np.empty(GRID.n_output, np.float32), shape, (0, 4))
    for out in (locked, np.broadcast_to(np.zeros(GRID.n_output, np.float32), shape)):
        with pytest.raises(ShapeError, match=r"written|read-only"):
            encode(positions(), out)
    with pytest.raises(ShapeError, match="not contiguous"):
        encode(positions(), spread)
    table = np.ones((GRID.n_entries, 2), np.float32)
    with pytest.raises(ShapeError, match="overlaps"):
        encode(positions(), table.reshape(-1)[: N * GRID.n_output].reshape(shape), table)


class Exporter:
    """An object that takes itself for a tensor."""

    def __init__(self, answer: Any, device: Any = (1, 0)) -> None:
        self.answer, self.device = answer, device

    def __dlpack__(self, **_: Any) -> Any:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def __dlpack_device__(self) -> Any:
        return self.device


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        (Exporter(None), ShapeError, "not a DLPack capsule"),
        (Exporter("dltensor"), ShapeError, "not a DLPack capsule"),
        (Exporter(RuntimeError("lost")), RuntimeError, "lost"),
        (Exporter(BufferError("kept back")), ShapeError, "kept back"),
        (Exporter(TypeError("odd")), TypeError, "odd"),
        (Exporter(None, None), ShapeError, "__dlpack_device__"),
        (Exporter(None, ("cpu", 0)), ShapeError, "__dlpack_device__"),
        (torch.zeros(N, 3, device="meta"), Exception, "meta"),
        (3.0, TypeError, "incompatible"),
        (None, TypeError, "incompatible"),
        ([[0.0, 0.0, 0.0]], TypeError, "incompatible"),
    ],
)
def test_what_is_no_tensor_is_an_exception(given: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        encode(given)


def test_a_picture_inside_a_larger_one_is_written_in_place() -> None:
    made = loaded_renderer()
    alone = np.full((6, 9, 3), 7, np.uint8)
    render(made, alone)
    assert len(np.unique(alone)) > 5
    large = np.full((20, 30, 3), 7, np.uint8)
    view = large[3:9, 5:14]
    render(made, view)
    np.testing.assert_array_equal(view, alone)
    view[...] = 7
    assert (large == 7).all()  # nothing else was touched
    upside_down = np.full((6, 9, 3), 7, np.uint8)
    render(made, upside_down[::-1])
    np.testing.assert_array_equal(upside_down[::-1], alone)
    tensor = torch.full((20, 30, 3), 7, dtype=torch.uint8)
    render(made, tensor[3:9, 5:14])
    np.testing.assert_array_equal(tensor[3:9, 5:14].numpy(), alone)


def test_pictures_of_another_kind_are_named() -> None:
    made = loaded_renderer()
    image = np.zeros((6, 9, 3), np.uint8)
    one_row = np.zeros((1, 9, 3), np.uint8)
    for given, message in (
        (np.zeros((6, 18, 3), np.uint8)[:, ::2], "pixels of a row"),
        (np.zeros((6, 9, 3), np.uint8)[:, ::-1], "pixels of a row"),
        (np.zeros((3, 6, 9), np.uint8).transpose(1, 2, 0), "pixels of a row"),
        (np.lib.stride_tricks.as_strided(one_row, (6, 9, 3), (0, 3, 1)), "rows overlap"),
        (np.zeros((6, 9, 3), np.int32), "dtype int32"),
        (np.zeros((6, 9, 4), np.uint8), "shape"),
        (np.zeros((6, 9), np.uint8), "shape"),
        (np.zeros((0, 9, 3), np.uint8), "shape"),
    ):
        with pytest.raises(ShapeError, match=message):
            render(made, given)
    with pytest.raises(ShapeError, match="overlaps"):
        render(made, image, background=image)
    with pytest.raises(ShapeError, match="picture height is 0"):
        render(made, np.zeros((0, 9, 3), np.uint8), size=(0, 9))
    with pytest.raises(ShapeError, match="8192"):
        render(made, np.zeros((8193, 1, 3), np.uint8), size=(8193, 1))
    for intrinsics, message in (
        ((float("nan"), 4.0, 3.0), "focal_px is nan"),
        ((0.0, 4.0, 3.0), "focal_px is 0"),
        ((10.0, float("inf"), 3.0), "centre"),
    ):
        with pytest.raises(ShapeError, match=message):
            render(made, image, focal_cx_cy=intrinsics)
    render(made, image, background=np.broadcast_to(np.array([1, 2, 3], np.uint8), (1, 9, 3)).copy().repeat(6, 0))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden": 0}, "hidden: 0"),
        ({"hidden": 12}, "hidden: 12"),
        ({"hidden": 1 << 20}, "hidden"),
        ({"levels": []}, "number of levels is 0"),
        ({"levels": LEVELS * 20}, "number of levels is 60"),
        ({"levels": LEVELS[1:]}, "offset"),
        ({"levels": [(1e9, *LEVELS[0][1:])]}, "scale"),
        ({"levels": [(float("nan"), *LEVELS[0][1:])]}, "scale"),
        ({"levels": [(1.0, 9, 8, 0, False)]}, "fewer entries than grid points"),
        ({"levels": [(1.0, 2, 0, 0, False)]}, "multiple of 8"),
        ({"levels": [(1.0, 2, 24, 0, True)]}, "power of two"),
        ({"levels": [(1.0, 1 << 31, 8, 0, True)]}, "resolution"),
        ({"levels": [(1.0, 2, 1 << 30, 0, True), (1.0, 2, 1 << 30, 1 << 30, True)]}, "2\\^30 entries"),
        ({"occupancy": np.ones((0, 0, 0), np.uint8)}, "cells a side is 0"),
        ({"occupancy": np.ones((4, 4, 5), np.uint8)}, "occupancy: shape"),
        ({"occupancy": np.ones((4, 4), np.uint8)}, "occupancy"),
        ({"aabb": np.zeros((2, 3), np.float32)}, "empty along axis 0"),
        ({"aabb": np.full((2, 3), np.nan, np.float32)}, "nan"),
        ({"n_threads": 0}, "n_threads is 0"),
        ({"n_threads": 1 << 30}, "n_threads"),
        ({"precision": "float8"}, "precision is 'float8'"),
    ],
)
def test_fields_that_cannot_be_rendered_are_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        renderer(**changes)


def test_a_renderer_says_what_is_missing_and_what_is_not_finite() -> None:
    made, image = renderer(), np.zeros((6, 9, 3), np.uint8)
    with pytest.raises(ShapeError, match="before load_network"):
        render(made, image)
    with pytest.raises(ShapeError, match="before load_constants"):
        made.fold(np.zeros(48, np.float32), np.zeros(6, np.float32))
    for range_m, message in (
        ((0.4, 1.3, 0.0), "step > 0"),
        ((0.4, 0.2, 0.01), "near < far"),
        ((0.4, float("inf"), 0.01), "inf"),
        ((0.4, 1.3, 1e-9), "samples a ray"),
    ):
        with pytest.raises(ShapeError, match=message):
            place(made, range_m)
    with pytest.raises(ShapeError, match=r"head_to_camera\[11\] is nan"):
        place(made, depth_m=float("nan"))
    with pytest.raises(TypeError, match="pickle"):
        copy.copy(made)


def test_threads_that_share_a_renderer_take_turns() -> None:
    made = loaded_renderer()
    expected = np.zeros((6, 9, 3), np.uint8)
    render(made, expected)
    found = [np.zeros((6, 9, 3), np.uint8) for _ in range(4)]

    def work(image: np.ndarray) -> None:
        for _ in range(50):
            image[...] = 0
            place(made)
            render(made, image)

    threads = [threading.Thread(target=work, args=(image,)) for image in found]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for image in found:
        np.testing.assert_array_equal(image, expected)


@pytest.mark.parametrize("seed", [1, 2])
def test_random_arguments_never_end_the_process(seed: int) -> None:
    script = Path(__file__).with_name("fuzz_bindings.py")
    command = [sys.executable, "-W", "ignore", str(script), str(seed), "3000"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    passed, refused = (int(word) for word in done.stdout.split() if word.isdigit())
    assert passed > 500 and refused > 500
