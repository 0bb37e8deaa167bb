"""ICT-FaceKit, a face model given as a folder of OBJ files (MIT licence)."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from dfanerf_rt.errors import FaceModelError
from dfanerf_rt.face.arkit import ARKIT_NAMES
from dfanerf_rt.face.loaders import TO_HEAD_AXES, assemble, vertex_landmarks
from dfanerf_rt.face.model import FaceModel

ICT_HELP = (
    "ICT-FaceKit is at https://github.com/ICT-VGL/ICT-FaceKit; its folder FaceXModel is expected, "
    "with generic_neutral_mesh.obj, identity000.obj and on, and one OBJ file for each expression"
)
SMALLEST_HEAD_M, LARGEST_HEAD_M = 0.1, 1.0


def load_ict(folder: Path, n_identity: int = 50) -> FaceModel:
    """Read ICT-FaceKit's model.

    Its expressions are ARKit's with ``_L`` and ``_R`` for the sides; they become the 52 in ARKit's order. Units
    that ICT splits by side and ARKit does not (browInnerUp, cheekPuff) are added up; tongueOut, which ICT
    lacks, is zero. The model's unit of length is told from its height.

    Args:
        folder: FaceXModel. ``vertex_indices.json`` in it gives the 68 landmarks (idx_to_landmark_verts).
        n_identity: most identity components to read.

    Raises:
        FaceModelError: a file is missing, damaged or does not match the neutral mesh.
    """
    folder = Path(folder)
    neutral_path = folder / "generic_neutral_mesh.obj"
    if not neutral_path.is_file():
        raise FaceModelError(f"{neutral_path}: no such file; {ICT_HELP}")
    neutral, faces = read_obj(neutral_path)
    scale = _metres(neutral_path, neutral) * TO_HEAD_AXES

    identities = sorted(folder.glob("identity[0-9][0-9][0-9].obj"))[:n_identity]
    if not identities:
        raise FaceModelError(f"{folder}: no identity000.obj; {ICT_HELP}")
    return assemble(
        neutral_path,
        name="ict-facekit",
        licence="MIT (ICT-FaceKit, USC Institute for Creative Technologies)",
        mean=neutral * scale,
        id_basis=np.stack([_offsets(path, neutral) * scale for path in identities]),
        exp_basis=np.stack([_expression(folder, name, neutral) * scale for name in ARKIT_NAMES]),
        faces=faces,
        landmarks=_landmarks(folder / "vertex_indices.json"),
        expression_names=list(ARKIT_NAMES),
    )


def read_obj(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Vertices (V, 3) and triangles (F, 3) of an OBJ file; polygons are split into fans.

    Raises:
        FaceModelError: a line cannot be read, or there are no vertices.
    """
    vertices: list[list[float]] = []
    faces: list[tuple[int, int, int]] = []
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
        kind, *values = line.split() or [""]
        try:
            if kind == "v":
                vertices.append([float(value) for value in values[:3]])
            elif kind == "f":
                corners = [int(value.split("/")[0]) - 1 for value in values]
                faces += [(corners[0], corners[k], corners[k + 1]) for k in range(1, len(corners) - 1)]
        except ValueError as fault:
            raise FaceModelError(f"{path}: line {number} cannot be read ({fault})") from fault
    table = np.array(vertices, dtype=np.float64)
    if table.ndim != 2 or table.shape[1] != 3 or not np.isfinite(table).all():
        raise FaceModelError(f"{path}: no usable vertices; a Wavefront OBJ file is expected")
    return table, np.array(faces, dtype=np.int64).reshape(-1, 3)


def _metres(path: Path, vertices: np.ndarray) -> float:
    height = float(np.ptp(vertices[:, 1]))
    for scale in (1.0, 0.1, 0.01, 0.001):
        if SMALLEST_HEAD_M <= height * scale < LARGEST_HEAD_M:
            return scale
    raise FaceModelError(f"{path}: the head is {height:g} units high, expected one in metres, dm, cm or mm")


def _offsets(path: Path, neutral: np.ndarray) -> np.ndarray:
    vertices, _ = read_obj(path)
    if vertices.shape != neutral.shape:
        raise FaceModelError(f"{path}: {len(vertices)} vertices, expected the neutral mesh's {len(neutral)}")
    return vertices - neutral


def _expression(folder: Path, name: str, neutral: np.ndarray) -> np.ndarray:
    if name == "tongueOut":
        return np.zeros_like(neutral)
    sided = name[:-4] + "_L" if name.endswith("Left") else name[:-5] + "_R" if name.endswith("Right") else ""
    for choice in ([name], [sided], [f"{name}_L", f"{name}_R"]):
        paths = [folder / f"{part}.obj" for part in choice]
        if all(path.is_file() for path in paths):
            return np.sum([_offsets(path, neutral) for path in paths], axis=0)
    raise FaceModelError(f"{folder}: no OBJ file for the expression {name}; {ICT_HELP}")


def _landmarks(path: Path) -> tuple[np.ndarray, np.ndarray] | None:
    if not path.is_file():
        return None
    try:
        vertices = np.array(json.loads(path.read_text(encoding="utf-8"))["idx_to_landmark_verts"], dtype=np.int64)
    except (ValueError, KeyError, TypeError) as fault:
        raise FaceModelError(f"{path}: no list 'idx_to_landmark_verts' of 68 vertex ids ({fault})") from fault
    if vertices.shape != (68,):
        raise FaceModelError(f"{path}: 'idx_to_landmark_verts' has shape {vertices.shape}, expected (68,)")
    return vertex_landmarks(vertices)
