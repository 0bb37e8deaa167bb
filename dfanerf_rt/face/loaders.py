"""Face models that users bring along: the Basel Face Model and FLAME.

Neither may be shipped; both are read in the layouts in which they are commonly kept, and carried into this
project's head coordinates and metres. Both are drawn with x to the subject's left, y up, z out of the face.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dfanerf_rt.errors import FaceModelError
from dfanerf_rt.face.model import FaceModel
from dfanerf_rt.face.safe_pickle import array, load_npy, load_pickle

TO_HEAD_AXES = np.array([1.0, -1.0, -1.0])
# From the midpoint of the outline's two ends (iBUG 0 and 16) to that of the ear canals, in the bundled head.
JAW_ENDS_TO_EAR_CANALS_M = np.array([0.0, 0.028, 0.016])

BFM_METRES = 1e-6  # the Basel Face Model is in micrometres
BFM_IDENTITY, BFM_EXPRESSION = 100, 79
FLAME_IDENTITY_END = 300
FLAME_IDENTITY = 100
FLAME_JAW_JOINT = 2
FLAME_JAW_OPEN_RADIANS = 0.35

BFM_HELP = (
    "the Basel Face Model 2009 is free for research at https://faces.dmi.unibas.ch/bfm/ after signing its licence; "
    "AD-NeRF's convert_BFM.py makes 3DMM_info.npy from it, beside its topology_info.npy and keys_info.npy"
)
FLAME_HELP = (
    "FLAME is free for research at https://flame.is.tue.mpg.de after signing its licence; "
    "generic_model.pkl (or an .npz of it) is expected, with landmark_embedding.npy beside it for landmarks"
)


def load_bfm(path: Path) -> FaceModel:
    """Read the Basel Face Model as AD-NeRF's code keeps it.

    Args:
        path: the folder ``3DMM``, or ``3DMM_info.npy`` in it: mu_shape and mu_exp (3V,), b_shape (n, 3V),
            sig_shape (n,), b_exp (m, 3V), sig_exp (m,), micrometres. ``topology_info.npy`` (tris) beside it
            gives the triangles, ``keys_info.npy`` (keyinds) the 68 landmarks.

    Returns:
        100 identity and 79 expression components (fewer if the file holds fewer), scaled so that coefficients
        have unit variance; expressions are named ``bfm_00`` and on.

    Raises:
        FaceModelError: a file is missing, damaged or of another layout; says where the model comes from.
    """
    path = Path(path)
    folder = path if path.is_dir() else path.parent
    path = path / "3DMM_info.npy" if path.is_dir() else path
    info = load_npy(_existing(path, BFM_HELP))
    mean = array(path, info, "mu_shape").reshape(-1) + array(path, info, "mu_exp").reshape(-1)
    if mean.size % 3:
        raise FaceModelError(f"{path}: 'mu_shape' holds {mean.size} numbers, expected three per vertex")
    id_basis = _scaled_rows(path, info, "b_shape", "sig_shape", mean.size, BFM_IDENTITY)
    exp_basis = _scaled_rows(path, info, "b_exp", "sig_exp", mean.size, BFM_EXPRESSION)
    topology = _existing(folder / "topology_info.npy", BFM_HELP)
    faces = array(topology, load_npy(topology), "tris").reshape(-1, 3)
    keys = folder / "keys_info.npy"
    landmarks = array(keys, load_npy(keys), "keyinds").reshape(-1) if keys.is_file() else np.zeros(0, dtype=np.int64)
    scale = BFM_METRES * TO_HEAD_AXES
    return assemble(
        path,
        name="bfm09",
        licence="Basel Face Model licence: research only, not to be passed on",
        mean=mean.reshape(-1, 3) * scale,
        id_basis=id_basis * scale,
        exp_basis=exp_basis * scale,
        faces=faces,
        landmarks=vertex_landmarks(landmarks) if len(landmarks) == 68 else None,
        expression_names=[f"bfm_{index:02d}" for index in range(len(exp_basis))],
    )


def load_flame(path: Path) -> FaceModel:
    """Read a FLAME model.

    The linear part is taken: template, 100 identity and all expression components. FLAME opens the mouth by
    turning a joint; where the file holds joints and weights, that turn is added as one more, linear
    expression ``jawOpen`` (0.35 radians at full strength).

    Args:
        path: ``generic_model.pkl`` or an ``.npz`` with the same names: v_template (V, 3), shapedirs
            (V, 3, 300 + m) in metres, f (F, 3), and, if present, J_regressor (J, V) and weights (V, J).
            ``landmark_embedding.npy`` beside it (DECA's layout) gives the 68 landmarks.

    Returns:
        The model; expressions are named ``flame_000`` and on. Without landmarks FLAME's own origin is kept.

    Raises:
        FaceModelError: a file is missing, damaged or of another layout; says where the model comes from.
    """
    path = _existing(Path(path), FLAME_HELP)
    stored = _load_npz(path) if path.suffix == ".npz" else load_pickle(path)
    template, faces = array(path, stored, "v_template"), array(path, stored, "f")
    directions = array(path, stored, "shapedirs")
    if directions.ndim != 3 or directions.shape[:2] != template.shape or directions.shape[2] <= FLAME_IDENTITY_END:
        raise FaceModelError(
            f"{path}: 'shapedirs' has shape {directions.shape}, expected {(*template.shape, 'over 300')}: "
            "300 identity components and then those of the expression"
        )
    bases = np.moveaxis(directions, 2, 0)
    exp_basis = bases[FLAME_IDENTITY_END:]
    names = [f"flame_{index:03d}" for index in range(len(exp_basis))]
    if "J_regressor" in stored and "weights" in stored:
        jaw = _jaw_open(template, array(path, stored, "J_regressor"), array(path, stored, "weights"))
        exp_basis, names = np.concatenate([exp_basis, jaw[None]]), [*names, "jawOpen"]
    embedding = path.parent / "landmark_embedding.npy"
    return assemble(
        path,
        name="flame",
        licence="FLAME model licence: research only, not to be passed on",
        mean=template * TO_HEAD_AXES,
        id_basis=bases[:FLAME_IDENTITY] * TO_HEAD_AXES,
        exp_basis=exp_basis * TO_HEAD_AXES,
        faces=faces.reshape(-1, 3),
        landmarks=_embedded_landmarks(embedding, faces.reshape(-1, 3)) if embedding.is_file() else None,
        expression_names=names,
    )


def assemble(
    path: Path,
    *,
    name: str,
    licence: str,
    mean: np.ndarray,
    id_basis: np.ndarray,
    exp_basis: np.ndarray,
    faces: np.ndarray,
    landmarks: tuple[np.ndarray, np.ndarray] | None,
    expression_names: list[str],
) -> FaceModel:
    """Make a FaceModel of arrays in metres and head axes; landmarks are vertex ids and weights, both (68, 3).

    With landmarks the origin is moved to where the ear canals are expected, and MediaPipe's landmarks that
    the iBUG ones stand for become known too.

    Raises:
        FaceModelError: the arrays do not fit each other; names the file.
    """
    from dfanerf_rt.face.ibug import MEDIAPIPE_TO_IBUG

    tensors: dict[str, Tensor] = {
        "id_basis": _float(id_basis),
        "exp_basis": _float(exp_basis),
        "faces": torch.from_numpy(faces.astype(np.int64)),
    }
    if landmarks is not None:
        corners, weights = landmarks
        if corners.shape != (68, 3) or corners.min() < 0 or corners.max() >= len(mean):
            raise FaceModelError(f"{path}: landmarks do not lie on the model's {len(mean)} vertices")
        points = (mean[corners] * weights[..., None]).sum(1)
        mean = mean - ((points[0] + points[16]) / 2 + JAW_ENDS_TO_EAR_CANALS_M)
        tensors["landmark_triangles"] = tensors["mediapipe_triangles"] = torch.from_numpy(corners.astype(np.int64))
        tensors["landmark_barycentric"] = tensors["mediapipe_barycentric"] = _float(weights)
        tensors["mediapipe_index"] = torch.tensor(MEDIAPIPE_TO_IBUG)
    tensors["mean"] = _float(mean)
    try:
        return FaceModel(tensors, name=name, expression_names=expression_names, licence=licence)
    except FaceModelError as fault:
        raise FaceModelError(f"{path}: {fault}") from fault


def vertex_landmarks(vertices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Landmarks that are single vertices (68,), as triangles of one repeated corner and their weights."""
    return np.repeat(vertices[:, None], 3, 1), np.tile([1.0, 0.0, 0.0], (len(vertices), 1))


def _existing(path: Path, help_text: str) -> Path:
    if not path.is_file():
        raise FaceModelError(f"{path}: no such file; {help_text}")
    return path


def _float(values: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))


def _scaled_rows(path: Path, info: dict[str, Any], rows: str, deviations: str, size: int, most: int) -> np.ndarray:
    basis, deviation = array(path, info, rows), array(path, info, deviations).reshape(-1)
    if basis.ndim != 2 or basis.shape[1] != size or len(deviation) < min(most, len(basis)):
        found = f"'{rows}' has shape {basis.shape} and '{deviations}' {deviation.shape}"
        raise FaceModelError(f"{path}: {found}, expected (n, {size}) and (n,)")
    count = min(most, len(basis))
    return (basis[:count] * deviation[:count, None]).reshape(count, -1, 3)


def _load_npz(path: Path) -> dict[str, Any]:
    try:
        with np.load(path, allow_pickle=False) as stored:
            return {key: stored[key] for key in stored.files}
    except (ValueError, OSError, EOFError) as fault:
        raise FaceModelError(f"{path}: damaged, or holds pickled objects in place of arrays ({fault})") from fault


def _jaw_open(template: np.ndarray, regressor: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Offsets (V, 3) in FLAME's axes of the jaw turned open about its joint, by linear blend skinning."""
    joint = (regressor @ template)[FLAME_JAW_JOINT]
    cosine, sine = np.cos(FLAME_JAW_OPEN_RADIANS), np.sin(FLAME_JAW_OPEN_RADIANS)
    turn = np.array([[1, 0, 0], [0, cosine, -sine], [0, sine, cosine]])
    return weights[:, FLAME_JAW_JOINT, None] * ((template - joint) @ turn.T + joint - template)


def _embedded_landmarks(path: Path, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    stored = load_npy(path)
    triangle = array(path, stored, "full_lmk_faces_idx").reshape(-1)
    weights = array(path, stored, "full_lmk_bary_coords").reshape(-1, 3)
    if len(triangle) != 68 or len(weights) != 68 or triangle.min() < 0 or triangle.max() >= len(faces):
        raise FaceModelError(f"{path}: {len(triangle)} landmarks, expected 68 on the model's {len(faces)} triangles")
    return faces[triangle], weights
