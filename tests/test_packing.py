"""What an avatar's file holds of tables, occupancy and encoder: how near it comes back, and what is refused."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from dfanerf_rt.avatar import Avatar, AvatarMeta
from dfanerf_rt.errors import AvatarError
from dfanerf_rt.field.config import FieldConfig
from dfanerf_rt.field.field import ConditionalField
from dfanerf_rt.files import load_tensors, save_tensors
from dfanerf_rt.packing import pack, unpack
from dfanerf_rt.render.session import RenderSession
from dfanerf_rt.render.synthetic import head_avatar
from dfanerf_rt.train.presets import PRESETS

CONFIG = FieldConfig(
    n_levels=6, log2_table_size=11, base_resolution=8, max_resolution=64, n_blend=3, occupancy_resolution=24
)
HERE = Path("a.safetensors")
Tensors = dict[str, torch.Tensor]


def made() -> Avatar:
    """A small head, mostly empty space, with tables of random values."""
    avatar = head_avatar(32, CONFIG)
    generator = torch.Generator().manual_seed(0)
    for name, scale in (("field.table", 1.0), ("field.blend_tables", 0.05)):
        avatar.tensors[name] = (torch.randn(avatar.tensors[name].shape, generator=generator) * scale).half()
    avatar.tensors["sync.head.weight"] = torch.randn(8, 3, 5, generator=generator)
    avatar.tensors["sync.feature_mean"] = torch.randn(28, generator=generator) * 100
    return avatar


def packed() -> Tensors:
    avatar = made()
    return pack(avatar.tensors, avatar.meta.field)


def test_tables_come_back_within_half_a_code_where_they_are_read() -> None:
    avatar = made()
    stored = pack(avatar.tensors, avatar.meta.field)
    found = unpack(stored, HERE)
    assert {name: (t.dtype, t.shape) for name, t in found.items()} == {
        name: (t.dtype, t.shape) for name, t in avatar.tensors.items()
    }
    kept = stored["field.table"].shape[0]
    assert 0 < kept < 0.9 * avatar.tensors["field.table"].shape[0]
    for name in ("field.table", "field.blend_tables"):
        there = found[name].float().abs().amax(dim=-1).reshape(-1, len(avatar.tensors["field.table"])).amax(0) > 0
        error = (found[name].float() - avatar.tensors[name].float())[..., there, :].abs()
        peak = float(avatar.tensors[name].abs().max())
        assert float(error.max()) <= peak * (0.5 / 127 + 2.0**-11)
        assert int(there.sum()) <= kept


def test_pictures_stay_the_same(tmp_path: Path) -> None:
    avatar = made()
    avatar.save(tmp_path / "a.safetensors")
    again = Avatar.load(tmp_path / "a.safetensors")
    condition, pose = torch.full((48,), 0.2), torch.tensor([0.02, 0.2, -0.03, 0.01, 0.0, 0.8])
    pictures = []
    for each in (avatar, again):
        session = RenderSession(each, backend="reference")
        session.fold(condition, pose)
        pictures.append(session.render().float().clone())
    assert float(pictures[0].std()) > 5.0
    assert float((pictures[0] - pictures[1]).square().mean()) < 255.0**2 * 10.0**-4.5  # 45 dB; tables are noise here


def test_occupancy_comes_back_exactly_and_the_encoder_in_half_precision() -> None:
    avatar = made()
    stored = pack(avatar.tensors, avatar.meta.field)
    found = unpack(stored, HERE)
    assert stored["occupancy.bits"].numel() < avatar.tensors["occupancy.bits"].numel()
    assert torch.equal(found["occupancy.bits"], avatar.tensors["occupancy.bits"])
    assert torch.equal(found["sync.head.weight"], avatar.tensors["sync.head.weight"].half().float())
    assert torch.equal(found["sync.feature_mean"], avatar.tensors["sync.feature_mean"])


def test_packing_what_was_unpacked_changes_nothing() -> None:
    first = packed()
    second = pack(unpack(first, HERE), dataclasses.asdict(CONFIG))
    assert set(first) == set(second) and all(torch.equal(first[name], second[name]) for name in first)


def test_what_does_not_fit_the_settings_is_kept_whole() -> None:
    avatar = made()
    assert pack(avatar.tensors, {})["field.table"].shape == avatar.tensors["field.table"].shape
    whole = {**avatar.tensors, "field.table": avatar.tensors["field.table"].float()}
    stored = pack(whole, avatar.meta.field)
    assert stored["field.table"].dtype == torch.float32 and "field.kept" not in stored
    whole = {"occupancy.bits": torch.ones(9, dtype=torch.uint8), "sync.w": torch.full((2, 2), 1e6)}
    stored = pack(whole, {})
    assert all(torch.equal(stored[name], whole[name]) for name in whole) and set(stored) == set(whole)


def test_empty_tables_and_no_blend() -> None:
    avatar = made()
    avatar.tensors["occupancy.bits"].zero_()
    avatar.tensors["field.blend_tables"] = avatar.tensors["field.blend_tables"][:0]
    stored = pack(avatar.tensors, avatar.meta.field)
    assert stored["field.table"].shape == (0, 2) and stored["occupancy.bits"].shape == (0,)
    found = unpack(stored, HERE)
    assert not found["field.table"].any() and found["field.blend_tables"].shape[0] == 0


def _flip(name: str) -> Callable[[Tensors], object]:
    def change(tensors: Tensors) -> None:
        tensors[name][0] ^= 1

    return change


def _put(name: str, value: torch.Tensor) -> Callable[[Tensors], object]:
    return lambda tensors: tensors.__setitem__(name, value)


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda t: t.pop("field.kept"), "tensor 'field.kept' is missing"),
        (lambda t: t.pop("field.table"), "tensor 'field.table' is missing"),
        (lambda t: t.pop("field.blend_tables"), "tensor 'field.blend_tables' is missing"),
        (lambda t: t.pop("field.table_peaks"), "tensor 'field.table_peaks' is missing"),
        (_flip("field.kept"), "tensor 'field.kept' stands for"),
        (_flip("occupancy.kept"), "tensor 'occupancy.kept' stands for"),
        (_put("field.kept", torch.ones(3)), "tensor 'field.kept' is torch.float32, expected torch.uint8"),
        (_put("field.table", torch.ones(3, 2)), "tensor 'field.table' is torch.float32, expected torch.int8"),
        (_put("field.blend_tables", torch.ones(3, 2, dtype=torch.int8)), "'field.blend_tables' has shape"),
        (_put("field.table_peaks", torch.ones(1).half()), "tensor 'field.table_peaks' has shape"),
        (_put("occupancy.bits", torch.ones(4, 8)), "tensor 'occupancy.bits' has shape"),
        (lambda t: t["field.table"].__setitem__((0, 0), -128), "tensor 'field.table' holds a code below -127"),
    ],
)
def test_damage_names_the_tensor(tmp_path: Path, damage: Callable[[Tensors], object], says: str) -> None:
    tensors = packed()
    damage(tensors)
    path = tmp_path / "a.safetensors"
    shapes = {name: list(tensor.shape) for name, tensor in tensors.items()}
    meta = {**dataclasses.asdict(made().meta), "schema": "dfanerf-avatar/5", "shapes": shapes}
    save_tensors(path, tensors, meta)
    with pytest.raises(AvatarError, match=says) as caught:
        Avatar.load(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_an_avatar_of_the_schema_before_becomes_one_of_this(tmp_path: Path) -> None:
    old, new, avatar = tmp_path / "old.safetensors", tmp_path / "new.safetensors", made()
    shapes = {name: list(tensor.shape) for name, tensor in avatar.tensors.items()}
    save_tensors(
        old, avatar.tensors, {**dataclasses.asdict(avatar.meta), "schema": "dfanerf-avatar/4", "shapes": shapes}
    )
    loaded = Avatar.load(old)
    assert all(torch.equal(loaded.tensors[name], tensor) for name, tensor in avatar.tensors.items())
    loaded.save(new)
    assert load_tensors(new, AvatarError)[1]["schema"] == "dfanerf-avatar/5"
    assert new.stat().st_size < 0.7 * old.stat().st_size
    assert RenderSession(Avatar.load(new), backend="reference").width == 32


@pytest.mark.parametrize(("preset", "most_mb"), [("preview", 6.0), ("standard", 11.0), ("full", 11.0)])
def test_presets_leave_room_for_the_rest_of_an_avatar(tmp_path: Path, preset: str, most_mb: float) -> None:
    """Tables and occupancy of a head in a box; encoder, motion, attributes and background take 3.6 MB at 256x256."""
    config = PRESETS[preset].field_config
    field = ConditionalField(config, torch.tensor([[-0.2, -0.2, -0.2], [0.2, 0.3, 0.2]]))
    axis = torch.linspace(-1, 1, config.occupancy_resolution)
    radius = (axis[:, None, None] ** 2 + axis[None, :, None] ** 2 + axis[None, None, :] ** 2).sqrt()
    field.occupancy.copy_((radius - 0.6).abs() < 0.03)  # a skin: 4 % of the box
    meta = AvatarMeta("a", 64, 48, 90.0, 32.0, 24.0, 25.0, "CC0-1.0", "synthetic person", dataclasses.asdict(config))
    Avatar(meta, field.state()).save(tmp_path / "a.safetensors")
    assert (tmp_path / "a.safetensors").stat().st_size < most_mb * 1e6
