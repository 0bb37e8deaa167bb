"""Loaders on tiny files made in the layouts of BFM (AD-NeRF), FLAME and ICT-FaceKit, and on hostile ones."""

from __future__ import annotations

import json
import pickle
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch

from dfanerf_rt.errors import FaceModelError
from dfanerf_rt.face.arkit import ARKIT_INDEX, ARKIT_NAMES
from dfanerf_rt.face.loaders import JAW_ENDS_TO_EAR_CANALS_M
from dfanerf_rt.face.model import FaceModel

VERTICES = 80
RNG = np.random.default_rng(0)


class Hostile:
    """What a harmful pickle looks like: on loading it would call a function."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple:
        return Path.touch, (self.marker,)


def write_bfm(folder: Path, **changed: object) -> Path:
    folder.mkdir(exist_ok=True)
    info = {
        "mu_shape": RNG.normal(size=3 * VERTICES) * 8e4,
        "mu_exp": np.zeros(3 * VERTICES),
        "b_shape": RNG.normal(size=(5, 3 * VERTICES)).astype(np.float32),
        "sig_shape": np.arange(1.0, 6.0),
        "b_exp": RNG.normal(size=(4, 3 * VERTICES)),
        "sig_exp": np.full(4, 2.0),
        "b_tex": np.zeros((2, 3)),
    }
    info.update(changed)
    np.save(folder / "3DMM_info.npy", info, allow_pickle=True)
    np.save(folder / "topology_info.npy", {"tris": np.array([[0, 1, 2], [1, 2, 3]])}, allow_pickle=True)
    np.save(folder / "keys_info.npy", {"keyinds": np.arange(68)}, allow_pickle=True)
    return folder


def test_bfm_becomes_metres_in_head_axes(tmp_path: Path) -> None:
    model = FaceModel.from_bfm(write_bfm(tmp_path))
    info = np.load(tmp_path / "3DMM_info.npy", allow_pickle=True).item()
    assert (model.n_identity, model.n_expressions, model.expression_names[3]) == (5, 4, "bfm_03")
    flip = np.array([1, -1, -1]) * 1e-6
    expected = info["b_shape"][2].reshape(-1, 3) * 3.0 * flip  # deviation of the third component is 3
    np.testing.assert_allclose(model.id_basis[2], expected, rtol=1e-5)
    between = (model.mean[5] - model.mean[0]).numpy()
    shape = info["mu_shape"].reshape(-1, 3) * flip
    np.testing.assert_allclose(between, shape[5] - shape[0], rtol=1e-4)
    landmarks = model.landmarks(torch.zeros(5), torch.zeros(4))
    np.testing.assert_allclose((landmarks[0] + landmarks[16]) / 2, -JAW_ENDS_TO_EAR_CANALS_M, atol=1e-6)
    assert model.mediapipe_points(torch.zeros(5), torch.zeros(4)).shape == (68, 3)


def test_bfm_saves_as_our_own_format(tmp_path: Path) -> None:
    model = FaceModel.from_bfm(write_bfm(tmp_path))
    model.save(tmp_path / "bfm.safetensors")
    again = FaceModel.load(tmp_path / "bfm.safetensors")
    assert again.name == "bfm09" and "research" in again.licence
    torch.testing.assert_close(again.mean, model.mean)


def test_bfm_says_what_is_missing_or_wrong(tmp_path: Path) -> None:
    with pytest.raises(FaceModelError, match=r"3DMM_info\.npy: no such file; .*faces\.dmi\.unibas\.ch.*convert_BFM"):
        FaceModel.from_bfm(tmp_path)
    write_bfm(tmp_path, b_exp=np.zeros((4, 7)))
    with pytest.raises(FaceModelError, match=r"'b_exp' has shape \(4, 7\).*\(n, 240\)"):
        FaceModel.from_bfm(tmp_path)
    write_bfm(tmp_path, mu_exp=np.full(3 * VERTICES, np.nan))
    with pytest.raises(FaceModelError, match="'mu_exp' holds NaN"):
        FaceModel.from_bfm(tmp_path)
    np.save(tmp_path / "3DMM_info.npy", np.zeros(3))
    with pytest.raises(FaceModelError, match="expected one dictionary"):
        FaceModel.from_bfm(tmp_path)
    (tmp_path / "3DMM_info.npy").write_bytes(b"not an array at all")
    with pytest.raises(FaceModelError, match=r"not an \.npy file"):
        FaceModel.from_bfm(tmp_path)


def test_a_pickle_that_would_run_code_does_not(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    write_bfm(tmp_path, b_exp=Hostile(marker))
    with pytest.raises(FaceModelError, match="which no array needs"):
        FaceModel.from_bfm(tmp_path)
    (tmp_path / "generic_model.pkl").write_bytes(pickle.dumps({"v_template": Hostile(marker)}))
    with pytest.raises(FaceModelError, match="which no array needs"):
        FaceModel.from_flame(tmp_path / "generic_model.pkl")
    (tmp_path / "truncated.pkl").write_bytes(pickle.dumps({"v_template": np.zeros((9, 3))})[:60])
    with pytest.raises(FaceModelError, match="damaged"):
        FaceModel.from_flame(tmp_path / "truncated.pkl")
    assert not marker.exists()


def flame_arrays() -> dict[str, np.ndarray]:
    template = RNG.normal(size=(VERTICES, 3)) * 0.08
    regressor = np.zeros((5, VERTICES))
    regressor[np.arange(5), np.arange(5)] = 1.0  # joint i sits on vertex i
    weights = np.zeros((VERTICES, 5))
    weights[:, 1] = 1.0
    weights[40:] = [0, 0, 1, 0, 0]  # the jaw carries the second half
    return {
        "v_template": template,
        "shapedirs": RNG.normal(size=(VERTICES, 3, 310)) * 1e-3,
        "f": np.array([[0, 1, 2], [1, 2, 3]], dtype=np.uint32),
        "J_regressor": regressor,
        "weights": weights,
    }


def chumpy_like(monkeypatch: pytest.MonkeyPatch) -> type:
    """A class that pickles as chumpy.ch.Ch does: by name, with the array under "x" in its state."""
    module = types.ModuleType("chumpy.ch")

    class Ch:
        def __init__(self, x: np.ndarray) -> None:
            self.x = x

    Ch.__module__, Ch.__qualname__ = "chumpy.ch", "Ch"
    module.Ch = Ch  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "chumpy", types.ModuleType("chumpy"))
    monkeypatch.setitem(sys.modules, "chumpy.ch", module)
    return Ch


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_flame_pickle_with_chumpy_and_sparse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, protocol: int) -> None:
    sparse = pytest.importorskip("scipy.sparse")
    arrays = flame_arrays()
    stored: dict = dict(arrays, bs_style="lbs", J_regressor=sparse.csc_matrix(arrays["J_regressor"]))
    with monkeypatch.context() as patch:
        wrap = chumpy_like(patch)
        stored["shapedirs"], stored["v_template"] = wrap(arrays["shapedirs"]), wrap(arrays["v_template"])
        (tmp_path / "generic_model.pkl").write_bytes(pickle.dumps(stored, protocol=protocol))
    check_flame(FaceModel.from_flame(tmp_path / "generic_model.pkl"), arrays)


def test_flame_npz_with_landmarks(tmp_path: Path) -> None:
    arrays = flame_arrays()
    np.savez(tmp_path / "flame.npz", **arrays)
    check_flame(FaceModel.from_flame(tmp_path / "flame.npz"), arrays)
    embedding = {
        "full_lmk_faces_idx": np.zeros((1, 68), dtype=np.int64),
        "full_lmk_bary_coords": np.tile([0.2, 0.3, 0.5], (1, 68, 1)),
    }
    np.save(tmp_path / "landmark_embedding.npy", embedding, allow_pickle=True)
    model = FaceModel.from_flame(tmp_path / "flame.npz")
    assert model.landmark_triangles.tolist() == [[0, 1, 2]] * 68


def check_flame(model: FaceModel, arrays: dict[str, np.ndarray]) -> None:
    flip = np.array([1, -1, -1])
    np.testing.assert_allclose(model.mean, arrays["v_template"] * flip, rtol=1e-5)
    np.testing.assert_allclose(model.id_basis[7], arrays["shapedirs"][:, :, 7] * flip, rtol=1e-5)
    np.testing.assert_allclose(model.exp_basis[3], arrays["shapedirs"][:, :, 303] * flip, rtol=1e-5)
    assert model.expression_names[-1] == "jawOpen" and model.n_expressions == 11
    jaw = model.exp_basis[-1]
    assert float(jaw[:40].abs().max()) == 0.0
    arm = (arrays["v_template"][50] - arrays["v_template"][2])[1:]  # the joint sits on vertex 2
    expected = 2 * np.sin(0.35 / 2) * np.linalg.norm(arm)  # the chord of a turn about x
    np.testing.assert_allclose(np.linalg.norm(jaw[50]), expected, rtol=1e-5)


def test_flame_says_where_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(FaceModelError, match=r"no such file; FLAME .*flame\.is\.tue\.mpg\.de.*generic_model\.pkl"):
        FaceModel.from_flame(tmp_path / "generic_model.pkl")
    np.savez(tmp_path / "flame.npz", **(flame_arrays() | {"shapedirs": np.zeros((VERTICES, 3, 300))}))
    with pytest.raises(FaceModelError, match=r"'shapedirs' has shape \(80, 3, 300\)"):
        FaceModel.from_flame(tmp_path / "flame.npz")


def write_obj(path: Path, vertices: np.ndarray) -> None:
    lines = [f"v {x:.6f} {y:.6f} {z:.6f}" for x, y, z in vertices]
    path.write_text("\n".join([*lines, "vt 0 0", "f 1/1 2/1 3/1 4/1", "f 2 3 5"]) + "\n")


def write_ict(folder: Path) -> np.ndarray:
    """A head in centimetres whose unit number u lifts vertex u by u + 1 centimetres."""
    neutral = RNG.normal(size=(VERTICES, 3)) * 5
    neutral[0, 1], neutral[1, 1] = -15.0, 15.0
    write_obj(folder / "generic_neutral_mesh.obj", neutral)
    write_obj(folder / "identity000.obj", neutral + 0.5)
    for name in ARKIT_NAMES:
        if name == "tongueOut":
            continue
        base = name.removesuffix("Left").removesuffix("Right")
        whole = name in ("jawLeft", "jawRight", "mouthLeft", "mouthRight") or base == name
        parts = [f"{name}_L", f"{name}_R"] if name in ("browInnerUp", "cheekPuff") else [name]
        if not whole:
            parts = [base + ("_L" if name.endswith("Left") else "_R")]
        moved = neutral.copy()
        moved[ARKIT_INDEX[name], 1] += (ARKIT_INDEX[name] + 1) / len(parts)
        for part in parts:
            write_obj(folder / f"{part}.obj", moved)
    (folder / "vertex_indices.json").write_text(json.dumps({"idx_to_landmark_verts": list(range(68))}))
    return neutral


def test_ict_expressions_come_in_arkit_order(tmp_path: Path) -> None:
    neutral = write_ict(tmp_path)
    model = FaceModel.from_ict(tmp_path)
    assert model.expression_names == ARKIT_NAMES and model.n_identity == 1
    for name, index in ARKIT_INDEX.items():
        lift = 0.0 if name == "tongueOut" else -(index + 1) * 0.01  # up is -y, centimetres become metres
        np.testing.assert_allclose(model.exp_basis[index, index].numpy(), [0, lift, 0], atol=1e-6, err_msg=name)
    np.testing.assert_allclose(model.id_basis[0, 9], [0.005, -0.005, -0.005], atol=1e-7)
    np.testing.assert_allclose((model.mean[3] - model.mean[2])[0], (neutral[3] - neutral[2])[0] * 0.01, atol=1e-6)
    assert model.faces.tolist() == [[0, 1, 2], [0, 2, 3], [1, 2, 4]]


def test_ict_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(FaceModelError, match=r"generic_neutral_mesh\.obj: no such file; .*ICT-VGL/ICT-FaceKit"):
        FaceModel.from_ict(tmp_path)
    write_ict(tmp_path)
    (tmp_path / "jawOpen.obj").unlink()
    with pytest.raises(FaceModelError, match="no OBJ file for the expression jawOpen"):
        FaceModel.from_ict(tmp_path)
    write_obj(tmp_path / "jawOpen.obj", np.zeros((7, 3)))
    with pytest.raises(FaceModelError, match="7 vertices, expected the neutral mesh's 80"):
        FaceModel.from_ict(tmp_path)
