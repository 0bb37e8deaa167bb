"""The avatar: one ``.safetensors`` file that holds everything needed to speak as one person.

Tensors are prefixed by room (``field.``, ``occupancy.``, ``attributes.``, ``sync.``, ``motion.``, ``face.``,
``background.``). The metadata keeps a manifest of all shapes, so a file with a tensor missing or misshapen is
refused before any room looks at it. The largest tensors are stored smaller than they are used
(:mod:`dfanerf_rt.packing`); a loaded avatar has them as the rooms made them. Loading an avatar of an older schema and
saving it makes one of this schema.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from dfanerf_rt.errors import AvatarError
from dfanerf_rt.files import check_tensors, from_json_object, load_tensors, save_tensors
from dfanerf_rt.packing import pack, unpack

AVATAR_SCHEMA = "dfanerf-avatar/5"
READABLE_SCHEMAS = (AVATAR_SCHEMA, "dfanerf-avatar/4", "dfanerf-avatar/3", "dfanerf-avatar/2")
"""Schema 4 stores all tensors as they are used. Schema 3 is schema 4 without ``field.head_follow``: its head takes the
pose as it is. Schema 2 is schema 3 without generated motion: such an avatar moves as it was recorded."""
SECTIONS = ("field", "occupancy", "attributes", "sync", "motion", "face", "background")
BUNDLED_FOLDER = Path(__file__).parent / "assets"


@dataclass(frozen=True)
class AvatarMeta:
    """What the file says beside its tensors. Camera: OpenCV, square pixels, pixel centres at +0.5."""

    name: str
    width: int
    height: int
    focal_px: float
    cx: float
    cy: float
    fps: float
    licence: str
    """Licence under which this avatar may be used."""
    consent: str
    """Who agreed to be this avatar, and how; "synthetic person" where nobody was filmed."""
    field: dict[str, Any] = dataclasses.field(default_factory=dict)
    """Fields of ``FieldConfig``."""
    sync: dict[str, Any] = dataclasses.field(default_factory=dict)
    """Fields of ``SyncConfig``; empty for an avatar trained on a silent clip."""
    motion: dict[str, Any] = dataclasses.field(default_factory=dict)
    """Settings of generated motion (``PersonalMotion.settings``); empty where there is none."""
    training: dict[str, Any] = dataclasses.field(default_factory=dict)
    """Record of the training: preset, steps, seconds, seed, clip hash, losses."""


class Avatar:
    """A loaded avatar: ``meta`` and all tensors on the CPU."""

    def __init__(self, meta: AvatarMeta, tensors: Mapping[str, torch.Tensor], path: Path | None = None) -> None:
        self.meta = meta
        self.tensors = dict(tensors)
        self.path = path
        stray = [name for name in self.tensors if name.split(".", 1)[0] not in SECTIONS]
        if stray:
            raise AvatarError(f"tensor '{stray[0]}' belongs to no section; sections are {', '.join(SECTIONS)}")

    @property
    def where(self) -> Path:
        """The file this avatar came from, for messages."""
        return self.path or Path(self.meta.name)

    def section(self, name: str) -> dict[str, torch.Tensor]:
        """The tensors of one room, by their names without the prefix."""
        prefix = f"{name}."
        return {key.removeprefix(prefix): value for key, value in self.tensors.items() if key.startswith(prefix)}

    def save(self, path: Path) -> None:
        """Write the file atomically."""
        stored = pack(self.tensors, self.meta.field)
        manifest = {name: list(tensor.shape) for name, tensor in stored.items()}
        save_tensors(Path(path), stored, {"schema": AVATAR_SCHEMA, "shapes": manifest, **asdict(self.meta)})

    @classmethod
    def load(cls, path: str | Path) -> Avatar:
        """Read and validate an avatar; ``"presenter"`` names the bundled one.

        Raises:
            AvatarError: the file is missing, truncated, a pickle, of another schema, or a tensor is missing,
                misshapen or not finite.
        """
        path = resolve(path)
        tensors, stored = load_tensors(path, AvatarError)
        schema = stored.pop("schema", None)
        if schema not in READABLE_SCHEMAS:
            raise AvatarError(f"{path}: schema is {schema!r}, expected {AVATAR_SCHEMA!r}")
        shapes = stored.pop("shapes", None)
        if not isinstance(shapes, dict):
            raise AvatarError(f"{path}: the manifest of shapes is missing")
        for name, shape in shapes.items():
            if not isinstance(shape, list) or not all(isinstance(extent, int) for extent in shape):
                raise AvatarError(f"{path}: the manifest of shapes is damaged at '{name}'")
        check_tensors(path, tensors, {name: tuple(shape) for name, shape in shapes.items()}, AvatarError)
        unlisted = sorted(set(tensors) - set(shapes))
        if unlisted:
            raise AvatarError(f"{path}: tensor '{unlisted[0]}' is not in the manifest")
        meta = from_json_object(AvatarMeta, stored, str(path), AvatarError)
        for name in ("width", "height", "focal_px", "fps"):
            value = getattr(meta, name)
            if value <= 0:
                raise AvatarError(f"{path}: {name} is {value!r}, expected a positive number")
        if schema == AVATAR_SCHEMA:
            tensors = unpack(tensors, path)
        elif schema != "dfanerf-avatar/4" and "field.torso_follow" in tensors:
            tensors["field.head_follow"] = torch.eye(6)
        return cls(meta, tensors, path)


def resolve(name: str | Path) -> Path:
    """The file that AVATAR on a command line means: a path, or the name of a bundled avatar."""
    path = Path(name)
    bundled = BUNDLED_FOLDER / f"{name}.safetensors"
    if path.suffix or path.exists() or not bundled.is_file():
        if not path.exists() and not path.suffix:
            names = ", ".join(sorted(entry.stem for entry in BUNDLED_FOLDER.glob("*.safetensors"))) or "none"
            raise AvatarError(f"{name}: no such avatar; give a .safetensors file or a bundled one ({names})")
        return path
    return bundled
