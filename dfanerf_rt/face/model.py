"""The linear 3D face model: shape as a mean plus identity and expression offsets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dfanerf_rt.errors import FaceModelError, ShapeError
from dfanerf_rt.face.arkit import ARKIT_NAMES
from dfanerf_rt.files import check_tensors, load_tensors, save_tensors

SCHEMA = "dfanerf-head/1"
BUNDLED_PATH = Path(__file__).parent / "assets" / "head.safetensors"


class FaceModel:
    """S = mean + B_id F_id + B_exp F_exp (Yao et al. 2022, eq. 1), with landmarks as points on its triangles.

    Attributes (K identity components, E expression components, V vertices, F triangles, M landmarks):
        mean: (V, 3) metres, head coordinates (x to the subject's left, y down, z backwards, origin between
            the ear canals).
        id_basis: (K, V, 3) metres for one standard deviation of each identity coefficient.
        exp_basis: (E, V, 3) metres at full strength of each expression coefficient.
        faces: (F, 3) int64 vertex ids.
        uv: (V, 2) texture coordinates, v upwards, or None.
        region: (V,) uint8 index into ``region_names``.
        neck_weight: (V,) 1 where a vertex moves with the head, 0 on the torso.
        landmark_triangles, landmark_barycentric: (68, 3) vertex ids and weights of the iBUG landmarks.
        mediapipe_index: (M,) which of MediaPipe's mesh landmarks are known; mediapipe_triangles,
            mediapipe_barycentric: (M, 3) where they lie; mediapipe_spread: (M,) metres, the median distance
            of their single observations from that point.
        expression_names: E names; ARKit's 52 in the bundled model.
        region_names: names of the region labels.
        name: what tracks made with this model record about it.
        licence: the licence of the model's data.
    """

    def __init__(
        self,
        tensors: Mapping[str, Tensor],
        *,
        name: str,
        expression_names: Sequence[str] = ARKIT_NAMES,
        region_names: Sequence[str] = ("skin",),
        licence: str = "",
    ) -> None:
        """Take the tensors named above; ``uv``, ``region``, ``neck_weight`` and landmarks may be left out.

        Raises:
            FaceModelError: a tensor is missing or misshapen, or indices point outside the mesh.
        """
        complete = _with_defaults(tensors)
        _check(Path(name), complete, len(expression_names), len(region_names))
        self.name = name
        self.licence = licence
        self.expression_names = tuple(expression_names)
        self.region_names = tuple(region_names)
        self.mean = complete["mean"]
        self.id_basis = complete["id_basis"]
        self.exp_basis = complete["exp_basis"]
        self.faces = complete["faces"].long()
        self.uv: Tensor | None = complete.get("uv")
        self.region = complete["region"]
        self.neck_weight = complete["neck_weight"]
        self.landmark_triangles = complete["landmark_triangles"].long()
        self.landmark_barycentric = complete["landmark_barycentric"]
        self.mediapipe_index = complete["mediapipe_index"].long()
        self.mediapipe_triangles = complete["mediapipe_triangles"].long()
        self.mediapipe_barycentric = complete["mediapipe_barycentric"]
        self.mediapipe_spread = complete["mediapipe_spread"]
        self._landmark_bases = self.point_bases(self.landmark_triangles, self.landmark_barycentric)
        self._mediapipe_bases = self.point_bases(self.mediapipe_triangles, self.mediapipe_barycentric)

    @property
    def n_identity(self) -> int:
        """Number of identity components K."""
        return self.id_basis.shape[0]

    @property
    def n_expressions(self) -> int:
        """Number of expression components E."""
        return self.exp_basis.shape[0]

    def vertices(self, identity: Tensor, expression: Tensor) -> Tensor:
        """Vertices of faces.

        Args:
            identity: (..., K) coefficients in standard deviations.
            expression: (..., E) strengths, usually in [0, 1]; its leading extents broadcast with identity's.

        Returns:
            (..., V, 3) metres, head coordinates.

        Raises:
            ShapeError: a last extent is not the model's.
        """
        return self._evaluate((self.mean, self.id_basis, self.exp_basis), identity, expression)

    def landmarks(self, identity: Tensor, expression: Tensor) -> Tensor:
        """The 68 iBUG landmarks (..., 68, 3) in metres; arguments as for :meth:`vertices`."""
        return self._evaluate(self._landmark_bases, identity, expression)

    def mediapipe_points(self, identity: Tensor, expression: Tensor) -> Tensor:
        """MediaPipe's landmarks ``mediapipe_index`` (..., M, 3) in metres; arguments as for :meth:`vertices`."""
        return self._evaluate(self._mediapipe_bases, identity, expression)

    def point_bases(self, triangles: Tensor, barycentric: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Mean (P, 3), identity basis (K, P, 3) and expression basis (E, P, 3) of points on triangles (P, 3)."""
        weight = barycentric[..., None]
        mean = (self.mean[triangles] * weight).sum(-2)
        return mean, (self.id_basis[:, triangles] * weight).sum(-2), (self.exp_basis[:, triangles] * weight).sum(-2)

    def _evaluate(self, bases: tuple[Tensor, Tensor, Tensor], identity: Tensor, expression: Tensor) -> Tensor:
        mean, id_basis, exp_basis = bases
        for label, given, expected in (
            ("identity", identity, id_basis.shape[0]),
            ("expression", expression, exp_basis.shape[0]),
        ):
            if given.ndim < 1 or given.shape[-1] != expected:
                raise ShapeError(f"{label} has shape {tuple(given.shape)}, expected (..., {expected})")
        offset = identity.to(mean.dtype) @ id_basis.flatten(1) + expression.to(mean.dtype) @ exp_basis.flatten(1)
        return mean + offset.unflatten(-1, mean.shape)

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> FaceModel:
        """A copy on another device or in another floating-point type."""
        moved = {
            key: tensor.to(device=device, dtype=dtype if tensor.is_floating_point() else None)
            for key, tensor in self._tensors().items()
        }
        return FaceModel(
            moved,
            name=self.name,
            expression_names=self.expression_names,
            region_names=self.region_names,
            licence=self.licence,
        )

    def save(self, path: Path, *, half_bases: bool = False) -> None:
        """Write the model as one ``.safetensors`` file; ``half_bases`` stores the two bases as float16."""
        tensors = self._tensors()
        for key in ("faces", "landmark_triangles", "mediapipe_index", "mediapipe_triangles"):
            tensors[key] = tensors[key].int()
        if half_bases:
            for key in ("id_basis", "exp_basis"):
                tensors[key] = tensors[key].half()
        metadata: dict[str, Any] = {
            "schema": SCHEMA,
            "name": self.name,
            "licence": self.licence,
            "expression_names": list(self.expression_names),
            "region_names": list(self.region_names),
        }
        save_tensors(Path(path), tensors, metadata)

    @classmethod
    def load(cls, path: Path) -> FaceModel:
        """Read a model written by :meth:`save`; bases come back as float32.

        Raises:
            FaceModelError: the file is missing or damaged, of another schema, or inconsistent.
        """
        path = Path(path)
        tensors, metadata = load_tensors(path, FaceModelError)
        if metadata.get("schema") != SCHEMA:
            raise FaceModelError(f"{path}: schema is {metadata.get('schema')!r}, expected {SCHEMA!r}")
        names, regions = metadata.get("expression_names"), metadata.get("region_names")
        if not isinstance(names, list) or not isinstance(regions, list):
            raise FaceModelError(f"{path}: metadata lacks 'expression_names' or 'region_names'")
        widened = {key: tensor.float() if tensor.is_floating_point() else tensor for key, tensor in tensors.items()}
        try:
            return cls(
                widened,
                name=str(metadata.get("name", path.stem)),
                expression_names=names,
                region_names=regions,
                licence=str(metadata.get("licence", "")),
            )
        except FaceModelError as fault:
            raise FaceModelError(f"{path}: {fault}") from fault

    @classmethod
    def bundled(cls) -> FaceModel:
        """The CC0 head that comes with the package, loaded once a process. Treat its tensors as read-only."""
        return _bundled()

    @classmethod
    def from_bfm(cls, path: Path) -> FaceModel:
        """Read a Basel Face Model in the layout of AD-NeRF's code; see :mod:`dfanerf_rt.face.loaders`."""
        from dfanerf_rt.face.loaders import load_bfm

        return load_bfm(path)

    @classmethod
    def from_flame(cls, path: Path) -> FaceModel:
        """Read a FLAME model (``generic_model.pkl`` or ``.npz``); see :mod:`dfanerf_rt.face.loaders`."""
        from dfanerf_rt.face.loaders import load_flame

        return load_flame(path)

    @classmethod
    def from_ict(cls, folder: Path, n_identity: int = 50) -> FaceModel:
        """Read ICT-FaceKit's folder of OBJ files; see :mod:`dfanerf_rt.face.loaders_ict`."""
        from dfanerf_rt.face.loaders_ict import load_ict

        return load_ict(folder, n_identity)

    def _tensors(self) -> dict[str, Tensor]:
        tensors = {
            key: getattr(self, key)
            for key in (
                "mean",
                "id_basis",
                "exp_basis",
                "faces",
                "region",
                "neck_weight",
                "landmark_triangles",
                "landmark_barycentric",
                "mediapipe_index",
                "mediapipe_triangles",
                "mediapipe_barycentric",
                "mediapipe_spread",
            )
        }
        return tensors if self.uv is None else tensors | {"uv": self.uv}


@cache
def _bundled() -> FaceModel:
    return FaceModel.load(BUNDLED_PATH)


def _with_defaults(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    complete = dict(tensors)
    mean = complete.get("mean")
    if mean is None or mean.ndim != 2:
        return complete
    empty, empty_index = mean.new_zeros(0, 3), torch.zeros(0, 3, dtype=torch.int64, device=mean.device)
    complete.setdefault("region", torch.zeros(len(mean), dtype=torch.uint8, device=mean.device))
    complete.setdefault("neck_weight", mean.new_ones(len(mean)))
    complete.setdefault("landmark_triangles", empty_index)
    complete.setdefault("landmark_barycentric", empty)
    complete.setdefault("mediapipe_index", empty_index[:, 0])
    complete.setdefault("mediapipe_triangles", empty_index)
    complete.setdefault("mediapipe_barycentric", empty)
    complete.setdefault("mediapipe_spread", mean.new_zeros(len(complete["mediapipe_index"])))
    return complete


def _check(path: Path, tensors: Mapping[str, Tensor], n_expressions: int, n_regions: int) -> None:
    vertices = tensors["mean"].shape[0] if "mean" in tensors and tensors["mean"].ndim == 2 else None
    points = tensors["mediapipe_index"].shape[0] if "mediapipe_index" in tensors else None
    landmarks = tensors["landmark_triangles"].shape[0] if "landmark_triangles" in tensors else None
    expected: dict[str, tuple[int | None, ...]] = {
        "mean": (vertices, 3),
        "id_basis": (None, vertices, 3),
        "exp_basis": (n_expressions, vertices, 3),
        "faces": (None, 3),
        "region": (vertices,),
        "neck_weight": (vertices,),
        "landmark_triangles": (landmarks, 3),
        "landmark_barycentric": (landmarks, 3),
        "mediapipe_index": (points,),
        "mediapipe_triangles": (points, 3),
        "mediapipe_barycentric": (points, 3),
        "mediapipe_spread": (points,),
    }
    if "uv" in tensors:
        expected["uv"] = (vertices, 2)
    check_tensors(path, tensors, expected, FaceModelError)
    if landmarks not in (0, 68):
        raise FaceModelError(f"{path}: {landmarks} landmarks, expected 68 (iBUG) or none")
    for key in ("faces", "landmark_triangles", "mediapipe_triangles"):
        _check_range(path, key, tensors[key], tensors["mean"].shape[0])
    _check_range(path, "region", tensors["region"], n_regions)


def _check_range(path: Path, key: str, index: Tensor, limit: int) -> None:
    if index.is_floating_point():
        raise FaceModelError(f"{path}: tensor '{key}' has type {index.dtype}, expected integers")
    if index.numel() and (int(index.min()) < 0 or int(index.max()) >= limit):
        found = f"{int(index.min())} to {int(index.max())}"
        raise FaceModelError(f"{path}: tensor '{key}' holds indices {found}, expected 0 to {limit - 1}")
