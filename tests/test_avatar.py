"""The avatar file: sections, manifest, and names on the command line."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dfanerf_rt.avatar import Avatar, AvatarMeta, resolve
from dfanerf_rt.errors import AvatarError
from dfanerf_rt.files import load_tensors, save_tensors

META = AvatarMeta("a", 64, 48, 90.0, 32.0, 24.0, 25.0, "CC0-1.0", "synthetic person")


def test_sections_come_back_without_their_prefix(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    Avatar(META, {"field.table": torch.ones(3, 2), "motion.recorded_pose": torch.zeros(5, 6)}).save(path)
    loaded = Avatar.load(path)
    assert loaded.meta == META
    assert list(loaded.section("motion")) == ["recorded_pose"]
    assert torch.equal(loaded.section("field")["table"], torch.ones(3, 2))


def test_an_avatar_without_generated_motion_is_of_the_schema_before(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    Avatar(META, {"field.table": torch.ones(3, 2)}).save(path)
    tensors, stored = load_tensors(path, AvatarError)
    assert stored["schema"] == "dfanerf-avatar/5" and stored.pop("motion") == {}
    save_tensors(path, tensors, {**stored, "schema": "dfanerf-avatar/2"})
    assert Avatar.load(path).meta == META
    save_tensors(path, tensors, {**stored, "schema": "dfanerf-avatar/1"})
    with pytest.raises(AvatarError, match="schema is 'dfanerf-avatar/1', expected 'dfanerf-avatar/5'"):
        Avatar.load(path)


def test_unknown_sections_are_refused() -> None:
    with pytest.raises(AvatarError, match="belongs to no section"):
        Avatar(META, {"weights": torch.ones(1)})


def test_unknown_names_list_the_bundled_ones() -> None:
    with pytest.raises(AvatarError, match="no such avatar"):
        resolve("nobody")
