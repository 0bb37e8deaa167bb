"""The conditional field: its fold is exact, and what it stores comes back."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from dfanerf_rt.avatar import Avatar, AvatarMeta
from dfanerf_rt.errors import AvatarError, ShapeError
from dfanerf_rt.field.config import CONDITION_DIM, FieldConfig
from dfanerf_rt.field.field import ConditionalField, field_values
from dfanerf_rt.ops.hash_encode import hash_encode
from dfanerf_rt.ops.mlp import mlp

CONFIG = FieldConfig(n_levels=4, log2_table_size=8, base_resolution=4, max_resolution=16, n_blend=3, concat=True)
BOX = torch.tensor([[-0.3, -0.3, -0.2], [0.3, 0.3, 0.2]])
FRONTAL = torch.tensor([0.0, 0.0, 0.0, 0.0, 0.0, 0.8])


def random_field(seed: int = 0) -> ConditionalField:
    generator = torch.Generator().manual_seed(seed)
    field = ConditionalField(CONFIG, BOX, generator)
    with torch.no_grad():
        for value in field.parameters():
            value.add_(torch.randn(value.shape, generator=generator) * 0.1)
    return field


def random_condition(seed: int = 1) -> torch.Tensor:
    return torch.randn(CONDITION_DIM, generator=torch.Generator().manual_seed(seed))


def test_fold_equals_concatenation_and_mixture() -> None:
    """eq. 10 with the condition and the pose concatenated to every sample gives the folded field's values."""
    field, condition = random_field(), random_condition()
    pose = FRONTAL + torch.tensor([0.1, -0.2, 0.05, 0.01, 0.02, 0.03])
    u = torch.rand(64, 3, generator=torch.Generator().manual_seed(2))
    normal = field.normalise_condition(condition)
    table = field.table + torch.einsum("k,knf->nf", field.mixer_weight @ normal, field.blend_tables)
    features = hash_encode(u, table, CONFIG.grid)
    known = torch.cat([normal, (pose - field.pose_mean) / field.pose_std]).expand(64, -1)
    wide = torch.cat([field.w1, field.condition_weight, field.pose_weight], dim=1)
    hidden = torch.relu(torch.cat([features, known], dim=1) @ wide.t() + field.b1)
    expected = torch.relu(hidden @ field.w2.t() + field.b2) @ field.w3.t() + field.b3
    folded = field.fold(condition, pose)
    found = mlp(hash_encode(u, folded.table, folded.grid), folded.weights, folded.biases)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("concat", [True, False])
def test_several_frames_at_once_equal_their_folds(concat: bool) -> None:
    config = dataclasses.replace(CONFIG, n_blend=0, concat=concat)
    generator = torch.Generator().manual_seed(3)
    field = ConditionalField(config, BOX, generator)
    with torch.no_grad():
        for value in field.parameters():
            value.add_(torch.randn(value.shape, generator=generator) * 0.1)
    positions = torch.rand(90, 3, generator=generator).requires_grad_()
    condition = torch.randn(3, CONDITION_DIM, generator=generator)
    pose = (FRONTAL + 0.1 * torch.randn(3, 6, generator=generator)).requires_grad_()
    frame = torch.arange(3, dtype=torch.int32).repeat_interleave(torch.tensor([20, 0, 70]))
    sigma, colour = field.values_of_frames(positions, frame, condition, pose)
    folds = [field_values(field.fold(condition[i], pose[i]), positions[frame == i]) for i in range(3)]
    one_by_one = torch.cat([fold[0] for fold in folds]), torch.cat([fold[1] for fold in folds])
    torch.testing.assert_close((sigma, colour), one_by_one, atol=1e-5, rtol=1e-5)
    leaves = [positions, pose, field.table, field.w1, field.b1, field.w2, field.pose_weight]
    leaves += [field.condition_weight] if concat else []
    found = torch.autograd.grad(sigma.log().sum() + colour.square().sum(), leaves)
    expected = torch.autograd.grad(one_by_one[0].log().sum() + one_by_one[1].square().sum(), leaves)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_frames_with_tables_of_their_own_are_refused() -> None:
    frame = torch.zeros(4, dtype=torch.int32)
    with pytest.raises(ShapeError, match="blends 3 tables a frame"):
        random_field().values_of_frames(torch.rand(4, 3), frame, torch.zeros(1, CONDITION_DIM), FRONTAL[None])


def test_condition_outside_training_is_pulled_back() -> None:
    field = random_field()
    far = torch.full((CONDITION_DIM,), 1e6)
    assert torch.equal(field.normalise_condition(far), torch.full((CONDITION_DIM,), 3.0))


def test_torso_stays_when_it_follows_nothing() -> None:
    field = ConditionalField(CONFIG, BOX)
    moved = FRONTAL + 0.1
    torch.testing.assert_close(field.placed_torso(moved), field.pose_mean)


def test_range_covers_the_box() -> None:
    """At 0.8 m the box of depth 0.4 m begins at 0.6 m; its farthest corner is at (0.3, 0.3, 1.0)."""
    folded = ConditionalField(CONFIG, BOX).fold(random_condition(), FRONTAL)
    assert folded.near_m == pytest.approx(0.6)
    assert folded.far_m == pytest.approx((0.09 + 0.09 + 1.0) ** 0.5, abs=1e-5)
    folded.validate()


def test_blend_directions_start_at_the_conditions_spread() -> None:
    """Along its first principal direction, the first blend weight has about unit variance."""
    direction = torch.nn.functional.normalize(random_condition(5), dim=0)
    direction[32:] = 0
    codes = torch.randn(400, 1, generator=torch.Generator().manual_seed(6)) * direction
    field = ConditionalField(CONFIG, BOX)
    field.set_statistics(codes, FRONTAL + 0.01 * torch.randn(400, 6), neck_y_m=0.1)
    weights = field.normalise_condition(codes) @ field.mixer_weight.t()
    assert float(weights[:, 0].detach().std()) == pytest.approx(1.0, abs=0.1)


def test_a_rare_blink_is_not_taken_for_half_a_blink() -> None:
    """Frames ten and five standard deviations away are not limited; what lies beyond all frames is."""
    codes = random_condition(7) + 0.1 * torch.randn(200, 48, generator=torch.Generator().manual_seed(8))
    blink = codes.mean(0) + 1.0
    codes[10], codes[20] = blink, codes.mean(0) + 0.5
    field = ConditionalField(CONFIG, BOX)
    field.set_statistics(codes, FRONTAL + 0.01 * torch.randn(200, 6), neck_y_m=0.1)
    normal = field.normalise_condition(codes)
    torch.testing.assert_close(normal * field.condition_std + field.condition_mean, codes, atol=1e-5, rtol=0)
    assert float(normal[10].min()) > 1.5 * float(normal[20].max())
    beyond = field.normalise_condition(blink + 10.0)
    torch.testing.assert_close(beyond, torch.full((48,), 3.0))


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"expected \(48,\)"):
        random_field().fold(torch.zeros(47), FRONTAL)


def avatar_of(field: ConditionalField) -> Avatar:
    meta = AvatarMeta(
        name="test",
        width=32,
        height=32,
        focal_px=50.0,
        cx=16.0,
        cy=16.0,
        fps=25.0,
        licence="CC0-1.0",
        consent="synthetic person",
        field=dataclasses.asdict(field.config),
    )
    return Avatar(meta, field.state())


def test_round_trip_through_an_avatar(tmp_path: Path) -> None:
    field = random_field()
    avatar_of(field).save(tmp_path / "a.safetensors")
    loaded = ConditionalField.from_avatar(Avatar.load(tmp_path / "a.safetensors"))
    for name, value in field.state_dict().items():
        atol = 2e-3 if name in ("table", "blend_tables") else 1e-3  # of peaks about 0.45: half of a 127th
        torch.testing.assert_close(loaded.state_dict()[name], value, atol=atol, rtol=1e-3)
    assert loaded.config == CONFIG


def test_misfitting_avatars_are_refused() -> None:
    avatar = avatar_of(random_field())
    del avatar.tensors["field.w2"]
    with pytest.raises(AvatarError, match=r"'w2' is missing"):
        ConditionalField.from_avatar(avatar)
    avatar = avatar_of(random_field())
    avatar.meta.field["colour"] = 3
    with pytest.raises(AvatarError, match="'colour'"):
        ConditionalField.from_avatar(avatar)
    avatar = avatar_of(random_field())
    avatar.meta.field["n_levels"] = 5
    with pytest.raises(AvatarError, match="shape"):
        ConditionalField.from_avatar(avatar)
