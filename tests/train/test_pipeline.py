"""All stages on the tiny presenter: what is stopped goes on, and what comes out speaks and can be judged."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from dfanerf_rt.attributes.model import AttributeModel
from dfanerf_rt.avatar import Avatar
from dfanerf_rt.clip.format import Clip
from dfanerf_rt.errors import DfanerfError
from dfanerf_rt.render.session import RenderSession
from dfanerf_rt.train.loop import Interrupted, never_stop
from dfanerf_rt.train.pipeline import train_avatar
from dfanerf_rt.train.presets import PRESETS

pytestmark = pytest.mark.slow


def quiet(stage: str, fraction: float, scalars: dict[str, float]) -> None:
    """Shows nothing."""


@pytest.fixture(scope="module")
def stopped(tiny_clip: Clip, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a training that was stopped early in the field."""
    work = tmp_path_factory.mktemp("train") / "a.training"
    field_steps = 0

    def soon() -> bool:
        nonlocal field_steps
        field_steps += (work / "sync.safetensors").exists()
        return field_steps > 10

    with pytest.raises(Interrupted, match="goes on from there"):
        train_avatar(tiny_clip, work, PRESETS["tiny"], "tiny", 0, quiet, soon)
    return work


@pytest.fixture(scope="module")
def avatar(tiny_clip: Clip, stopped: Path) -> Avatar:
    assert (stopped / "checkpoint.safetensors").is_file()
    return train_avatar(tiny_clip, stopped, PRESETS["tiny"], "tiny", 0, quiet, never_stop)


def test_other_settings_refuse_the_checkpoint(tiny_clip: Clip, stopped: Path, avatar: Avatar) -> None:
    with pytest.raises(DfanerfError, match="other settings"):
        train_avatar(tiny_clip, stopped, PRESETS["tiny"], "tiny", 1, quiet, never_stop)


def test_avatar_is_complete_and_small(tmp_path: Path, avatar: Avatar) -> None:
    path = tmp_path / "a.safetensors"
    avatar.save(path)
    loaded = Avatar.load(path)
    for section in ("field", "occupancy", "attributes", "sync", "motion", "face", "background"):
        assert loaded.section(section), section
    assert loaded.meta.licence == "CC0-1.0"
    assert loaded.meta.consent == "synthetic person"
    assert path.stat().st_size < 25e6


def test_it_has_learned_the_person(tiny_clip: Clip, avatar: Avatar) -> None:
    """Held-out frames are nearer to the render than to the empty background, by a wide margin."""
    session = RenderSession(avatar)
    attributes = AttributeModel.from_tensors(avatar.section("attributes"))
    mouth, eyes = attributes.encode(tiny_clip.track.landmarks)
    index = tiny_clip.meta.test_frames[0]
    session.fold(torch.cat([mouth[index], eyes[index]]), tiny_clip.track.head_pose[index])
    render = session.render().float() / 255
    truth = torch.from_numpy(tiny_clip.frame(index).copy()).float() / 255
    background = torch.from_numpy(tiny_clip.background().copy()).float() / 255
    error, empty = (render - truth).square().mean(), (background - truth).square().mean()
    assert float(error) < 0.3 * float(empty)


def test_silent_clip_trains_without_sync(tiny_clip: Clip, tmp_path: Path) -> None:
    class Silent(Clip):
        def audio(self) -> None:
            return None

    tiny = PRESETS["tiny"]
    short = dataclasses.replace(tiny, field_training=dataclasses.replace(tiny.field_training, n_steps=2))
    found = train_avatar(Silent(tiny_clip.root), tmp_path / "w", short, "silent", 0, quiet, never_stop)
    assert not found.section("sync") and found.meta.sync == {}
