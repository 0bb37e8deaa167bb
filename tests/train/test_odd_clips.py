"""Training on clips with something wrong: it goes on, leaves out what is bad, and says so."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from dfanerf_rt.attributes.model import AttributeModel
from dfanerf_rt.cli.main import main
from dfanerf_rt.clip.format import Clip
from dfanerf_rt.clip.judge import judge_clip
from dfanerf_rt.clip.judgement import FROZEN, INTERRUPTED, NO_MATTE
from dfanerf_rt.clip.presenter import generate_presenter, tiny_config
from dfanerf_rt.errors import ClipError
from dfanerf_rt.field.config import CONDITION_DIM, FieldConfig
from dfanerf_rt.render.session import RenderSession
from dfanerf_rt.sync.model import AudioEncoder
from dfanerf_rt.train import tighten
from dfanerf_rt.train.field import FieldTrainConfig, FieldTrainer
from dfanerf_rt.train.loop import Loop, never_stop
from dfanerf_rt.train.person_motion import PersonalTraining
from dfanerf_rt.train.pipeline import person_attributes, train_avatar
from dfanerf_rt.train.presets import PRESETS
from dfanerf_rt.train.sync import train_sync
from dfanerf_rt.train.sync_corpus import FINE_TUNING
from tests.clip.odd_clips import black, busy_background, frozen, glasses, repainted, without_matte

BLACK, FROZEN_FRAMES, UNMATTED = range(10, 16), range(40, 50), range(80, 95)
SMALL = FieldConfig(
    n_levels=4, log2_table_size=10, max_resolution=32, n_blend=0, concat=True, occupancy_resolution=16, n_steps=24
)
STEPS = FieldTrainConfig(n_steps=4, frames_per_step=2, samples_per_step=2000)


@pytest.fixture(scope="module")
def odd_clip(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    """5 s of a presenter with dark glasses before a flickering screen; black, frozen and without a matte at times."""
    folder = tmp_path_factory.mktemp("odd")
    made = generate_presenter(folder / "good", dataclasses.replace(tiny_config(5.0), seed=3))
    paints = [
        busy_background(made),
        glasses(made, dark=True),
        black(BLACK),
        without_matte(UNMATTED),
    ]
    clip = made
    for number, paint in enumerate(paints):
        clip = repainted(clip, folder / str(number), paint)
    return repainted(clip, folder / "odd", frozen(clip, FROZEN_FRAMES))


def trainer_of(clip: Clip) -> FieldTrainer:
    condition = torch.randn(len(clip.meta.train_frames), CONDITION_DIM, generator=torch.Generator().manual_seed(1))
    return FieldTrainer(clip, condition, None, SMALL, STEPS, judgement=judge_clip(clip))


def test_everything_is_found_at_once(odd_clip: Clip) -> None:
    judged = judge_clip(odd_clip)
    expected = np.zeros(odd_clip.meta.n_frames)
    for frames, fault in ((BLACK, INTERRUPTED), (FROZEN_FRAMES, FROZEN), (UNMATTED, NO_MATTE)):
        expected[frames] = fault
    assert judged.fault.tolist() == expected.tolist()
    assert judged.moving[10:30, 6:22].mean() > 0.9


def test_bad_frames_are_not_looked_at(odd_clip: Clip) -> None:
    trainer = trainer_of(odd_clip)
    bad = {*BLACK, *FROZEN_FRAMES, *UNMATTED}
    share = trainer.frame_share
    assert {int(frame) for frame in torch.nonzero(share == 0)[:, 0]} == bad
    looked: set[int] = set()
    view = trainer._view
    trainer._view = lambda frame, stride: (looked.add(frame), view(frame, stride))[1]  # type: ignore[method-assign]
    loop = Loop(40, 1e6)
    for loop.step in range(40):
        trainer.step(loop)
    assert len(looked) > 30 and not looked & bad


def test_what_moves_behind_the_person_is_not_punished(odd_clip: Clip) -> None:
    store = trainer_of(odd_clip).store
    everywhere = torch.arange(store.width * store.height)
    colour, matte, background = store.targets(0, everywhere)
    screen = torch.zeros(store.height, store.width, dtype=torch.bool)
    screen[12:28, 8:20] = True
    open_screen = screen.flatten() & (matte == 0)
    still = store.background.view(-1, 3)
    assert int(open_screen.sum()) > 100
    assert torch.equal(background[open_screen], colour[open_screen])
    assert float((still - colour)[open_screen].abs().mean()) > 0.1
    steady = ~torch.nn.functional.max_pool2d(screen[None].float(), 17, 1, 8)[0].bool().flatten()
    assert torch.equal(background[steady], still[steady])


def test_eyes_that_are_hidden_are_not_looked_at_more_often(odd_clip: Clip) -> None:
    judged = dataclasses.replace(judge_clip(odd_clip), eye_contrast=0.1)
    condition = torch.zeros(len(odd_clip.meta.train_frames), CONDITION_DIM)
    steps = dataclasses.replace(STEPS, open_share=0.0)
    trainer = FieldTrainer(odd_clip, condition, None, SMALL, steps, judgement=judged)
    assert set(trainer.frame_share.tolist()) == {0.0, 1.0}
    plain = FieldTrainer(odd_clip, condition, None, SMALL, STEPS)
    assert float(plain.frame_share.max()) > 2.0 and float(plain.frame_share.min()) >= 1.0


def test_sound_during_bad_frames_is_not_learned_from(tiny_clip: Clip) -> None:
    """Mouth codes that are absurd where the track is bad change nothing."""
    attributes = person_attributes(tiny_clip)
    mouth, _ = attributes.encode(tiny_clip.track.landmarks)
    tracked = torch.ones(len(mouth), dtype=torch.bool)
    tracked[30:40] = False
    absurd = mouth.clone()
    absurd[30:40] = 50.0
    samples = tiny_clip.audio()
    assert samples is not None
    short = dataclasses.replace(FINE_TUNING, steps=2, batch=4, n_variants=2)
    one, other = (
        train_sync(samples, codes, attributes, training=short, init=AudioEncoder.bundled(), tracked=tracked)
        for codes in (mouth, absurd)
    )
    for name, value in one.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name


@pytest.mark.slow
def test_the_whole_chain_survives_and_says_what_it_left_out(
    odd_clip: Clip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tighten, "FRAMES", 20)
    tiny = PRESETS["tiny"]
    short = dataclasses.replace(
        tiny,
        field_training=dataclasses.replace(tiny.field_training, n_steps=160),
        motion=PersonalTraining(budget_s=0.5, simulated_s=10.0),
        sync_budget_s=1.0,
    )
    said: list[str] = []
    avatar = train_avatar(odd_clip, tmp_path / "w", short, "odd", 0, lambda *_: None, never_stop, on_note=said.append)
    starts = [
        "left out 6 of 114 frames (10 to 15 at 0.4 s): the picture is black, broken or of something else",
        "left out 10 of 114 frames (40 to 49 at 1.6 s): the picture stands still",
        "left out 15 of 114 frames (80 to 94 at 3.2 s): the matte fails",
        "the background moves in ",
    ]
    assert len(said) >= len(starts)
    for line, start in zip(said, starts, strict=False):
        assert line.startswith(start) and "\n" not in line
    assert avatar.meta.training["left_out"] == 31
    recorded = avatar.section("motion")["recorded_pose"]
    assert torch.equal(recorded[UNMATTED.start], odd_clip.track.head_pose[UNMATTED.start])
    before, after = odd_clip.track.head_pose[BLACK.start - 1], odd_clip.track.head_pose[BLACK.stop]
    torch.testing.assert_close(recorded[BLACK.start], before + (after - before) / (len(BLACK) + 1))
    session = RenderSession(avatar)
    mouth, eyes = AttributeModel.from_tensors(avatar.section("attributes")).encode(odd_clip.track.landmarks)
    session.fold(torch.cat([mouth[60], eyes[60]]), odd_clip.track.head_pose[60])
    render, truth, empty = session.render().float(), odd_clip.frame(60), odd_clip.background()
    person = odd_clip.alpha(60) > 200
    error, nothing = (
        np.square(picture[person] - truth[person].astype(float)).mean() for picture in (render.numpy(), empty)
    )
    assert error < 0.5 * nothing


def test_a_clip_of_bad_frames_alone_is_refused(
    tiny_clip: Clip, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clip = repainted(tiny_clip, tmp_path / "bad", without_matte(range(40)))
    assert main(["train", str(clip.root), "--out", str(tmp_path / "a.safetensors"), "--preset", "tiny"]) == 2
    *warnings, error = capsys.readouterr().err.splitlines()
    assert warnings == ["dfanerf train: left out 40 of 69 frames (0 to 39 at 0.0 s): the matte fails"]
    assert "29 training frames can be learned from; at least 40 are needed" in error
    with pytest.raises(ClipError, match="none of the 69 training frames"):
        judged = dataclasses.replace(judge_clip(tiny_clip), fault=np.full(75, NO_MATTE, np.uint8))
        FieldTrainer(tiny_clip, torch.zeros(69, CONDITION_DIM), None, SMALL, STEPS, judgement=judged)
