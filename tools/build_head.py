"""Builds ``dfanerf_rt/face/assets/head.safetensors`` from MakeHuman's CC0 data.

Install ``tools/requirements-head.txt`` first; then ``python tools/build_head.py``.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tools")]

import numpy as np  # noqa: E402
import torch  # noqa: E402
from head.cut import Cut, eyeball, fit_sphere, make_cut  # noqa: E402
from head.identity import SIZE_SPREAD, align, principal_components, sample_identities  # noqa: E402
from head.landmarks import SIZE_PX, observe, place, reprojection_px, snap_lids, subset  # noqa: E402
from head.makehuman import FloatArray, MakeHuman  # noqa: E402
from head.paint import neck_weights, regions  # noqa: E402
from head.teeth import replace_teeth  # noqa: E402

from dfanerf_rt.face.arkit import ARKIT_NAMES  # noqa: E402
from dfanerf_rt.face.ibug import MEDIAPIPE_TO_IBUG  # noqa: E402
from dfanerf_rt.face.model import FaceModel  # noqa: E402
from dfanerf_rt.face.regions import REGION_INDEX, REGION_NAMES  # noqa: E402

EAR_CANAL_LEFT = 12184  # MakeHuman's vertex at the mouth of the subject's left ear canal
EAR_HEIGHT_M = -0.705  # its y in the base mesh
BLINK_SHARE = 0.74  # where MakeHuman's lids meet on the mean head; beyond, the upper slides over the lower
LARGEST_SPREAD_M = 0.025
LICENCE = "CC0-1.0: derived from MakeHuman's base mesh, targets and face units (see LICENSE.md beside this file)"


def geometry(data: MakeHuman, count: int, components: int, seed: int) -> dict[str, np.ndarray]:
    """Everything but the landmarks."""
    rng = np.random.default_rng(seed)
    cut = make_cut(data, EAR_HEIGHT_M)
    neck = neck_weights(data, cut)
    people = sample_identities(data, cut, count, rng)
    skull = np.where(neck > 0.97, 1.0, 0.0)
    skull[len(cut.source) :] = 0
    people = align(people, skull)
    origin = ear_midpoint(people.mean(0), cut)
    people = (people - origin) * (1 + SIZE_SPREAD * rng.normal(size=(count, 1, 1)))

    eyes = eye_centres(people.mean(0))
    label = regions(data, cut, people.mean(0), eyes)
    weight = component_weights(label, people.mean(0))
    mean, basis, explained = principal_components(people, weight, components)
    print(f"{components} identity components explain {explained:.2%} of the sampled variance")
    settle_tongue(mean, label)
    expression = np.stack([cut.apply(data.face_unit(name)) for name in ARKIT_NAMES])
    for name in ("eyeBlinkLeft", "eyeBlinkRight"):
        expression[ARKIT_NAMES.index(name)] *= BLINK_SHARE
    head = {
        "mean": mean,
        "id_basis": basis,
        "exp_basis": expression,
        "faces": cut.faces,
        "uv": cut.uv,
        "region": label,
        "neck_weight": neck,
    }
    replace_teeth(head)
    return head


def settle_tongue(mean: FloatArray, label: np.ndarray) -> None:
    """Lay the tongue on the floor of the mouth, where it leaves the teeth to be seen."""
    part = label == REGION_INDEX["tongue"]
    centre = mean[part].mean(0)
    mean[part] = centre + (mean[part] - centre) * (0.90, 0.75, 0.88) + (0.0, 0.0110, 0.0060)


def ear_midpoint(vertices: FloatArray, cut: Cut) -> FloatArray:
    """Midpoint between the ear canals of the mean head."""
    left = vertices[np.flatnonzero(cut.source == EAR_CANAL_LEFT)[0]]
    return left * [0, 1, 1]


def eye_centres(vertices: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Centres of the left and the right eyeball, which are the last vertices."""
    size = len(eyeball()[0])
    return fit_sphere(vertices[-2 * size : -size])[0], fit_sphere(vertices[-size:])[0]


def component_weights(label: np.ndarray, mean: FloatArray) -> FloatArray:
    """How much each vertex counts in the choice of identity components: the face most, the torso hardly."""
    weight = np.full(len(mean), 1.0)
    for name, value in {"scalp": 0.4, "neck": 0.2, "torso": 0.02, "ears": 0.25, "mouth_inner": 0.1}.items():
        weight[label == REGION_INDEX[name]] = value
    for name in ("sclera", "iris", "pupil", "teeth_upper", "teeth_lower", "tongue"):
        weight[label == REGION_INDEX[name]] = 0.1
    return weight


def place_landmarks(head: dict[str, np.ndarray], pictures: int, seed: int) -> None:
    """Add MediaPipe's landmarks and the 68 iBUG landmarks, and print how well they fit pictures held out."""
    rng = np.random.default_rng(seed + 1)
    placement = place(head, observe(head, pictures, rng))
    placement = snap_lids(head, subset(placement, placement.spread < LARGEST_SPREAD_M))
    held_out = observe(head, pictures // 5, rng)
    error = reprojection_px(head, placement, held_out)
    print(
        f"{len(placement.index)} of 478 landmarks placed; held-out error: median {np.median(error):.2f} px, "
        f"90 % {np.quantile(error, 0.9):.2f} px at {SIZE_PX} px; "
        f"spread: median {np.median(placement.spread) * 1e3:.2f} mm"
    )
    position = {int(index): row for row, index in enumerate(placement.index)}
    missing = [index for index in MEDIAPIPE_TO_IBUG if index not in position]
    if missing:
        raise SystemExit(f"iBUG needs MediaPipe landmarks that could not be placed: {missing}")
    rows = [position[index] for index in MEDIAPIPE_TO_IBUG]
    head["mediapipe_index"] = placement.index
    head["mediapipe_triangles"] = placement.triangles
    head["mediapipe_barycentric"] = placement.barycentric
    head["mediapipe_spread"] = placement.spread
    head["landmark_triangles"] = placement.triangles[rows]
    head["landmark_barycentric"] = placement.barycentric[rows]


def save(head: dict[str, np.ndarray], path: Path) -> None:
    """Write the asset, bases in half precision."""
    tensors = {
        name: torch.from_numpy(values.astype(np.float32) if values.dtype == np.float64 else values)
        for name, values in head.items()
    }
    model = FaceModel(tensors, name="dfanerf-head", region_names=REGION_NAMES, licence=LICENCE)
    model.save(path, half_bases=True)
    print(f"{path}: {path.stat().st_size / 1e6:.2f} MB")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "dfanerf_rt/face/assets/head.safetensors")
    parser.add_argument("--people", type=int, default=1200, help="sampled identities")
    parser.add_argument("--components", type=int, default=56)
    parser.add_argument("--pictures", type=int, default=240, help="tracked pictures; a fifth more are held out")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    head = geometry(MakeHuman.installed(), arguments.people, arguments.components, arguments.seed)
    place_landmarks(head, arguments.pictures, arguments.seed)
    save(head, arguments.out)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
