"""What can be watched of a training: contact sheets, and scalars and pictures in TensorBoard."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dfanerf_rt.cli.main import main
from dfanerf_rt.clip.format import Clip
from dfanerf_rt.clip.judgement import NO_FACE, Judgement
from dfanerf_rt.errors import DfanerfError
from dfanerf_rt.evaluate.show import CAPTION_PX, error_map
from dfanerf_rt.field.config import CONDITION_DIM
from dfanerf_rt.train import tighten
from dfanerf_rt.train.field import FieldTrainConfig, FieldTrainer
from dfanerf_rt.train.field_stage import train_field
from dfanerf_rt.train.loop import never_stop, no_progress
from dfanerf_rt.train.preview import preview_sheet, shown_frames
from dfanerf_rt.train.watch import TensorBoard
from tests.train.team_worker import SMALL

STEPS = FieldTrainConfig(n_steps=3, samples_per_step=2000)


def trainer_of(clip: Clip, judgement: Judgement | None = None) -> FieldTrainer:
    condition = torch.zeros(len(clip.meta.train_frames), CONDITION_DIM)
    return FieldTrainer(clip, condition, None, SMALL, STEPS, judgement=judgement)


def test_a_sheet_shows_truth_render_and_error(tiny_clip: Clip) -> None:
    trainer, size = trainer_of(tiny_clip), tiny_clip.meta.width
    sheet = preview_sheet(trainer, tiny_clip.meta)
    frames = shown_frames(trainer)
    assert frames[0] == 0 and frames[-1] == len(tiny_clip.meta.train_frames) - 1 and len(frames) == 4
    assert sheet.shape == (CAPTION_PX + 3 * size, 4 * size, 3)
    for column, frame in enumerate(frames):
        # below and right of the labels, the panels are as they are
        truth, render, error = (
            sheet[CAPTION_PX + row * size :, column * size :][20:size, :size].copy() for row in range(3)
        )
        assert np.array_equal(truth, tiny_clip.frame(frame)[20:])
        assert np.array_equal(error, error_map(truth, render))
    assert sheet[:CAPTION_PX, :size].max() > 200


def test_bad_frames_are_not_shown(tiny_clip: Clip) -> None:
    fault = np.zeros(tiny_clip.meta.n_frames, np.uint8)
    fault[:30] = NO_FACE
    size = tiny_clip.meta.width
    trainer = trainer_of(tiny_clip, Judgement(fault, np.zeros((size, size), bool), 0.0, None))
    assert shown_frames(trainer)[0] == 30


def test_the_stage_hands_over_what_it_writes(tiny_clip: Clip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tighten, "FRAMES", 2)  # a field that has learned nothing is full, and takes long
    monkeypatch.setattr(tighten, "FINE_RAYS_PER_FRAME", 500)
    seen: list[tuple[int, np.ndarray]] = []
    show = lambda step, sheet: seen.append((step, sheet))  # noqa: E731
    train_field(trainer_of(tiny_clip), tiny_clip, tmp_path, "f", no_progress, never_stop, show)
    ((step, sheet),) = seen
    with Image.open(tmp_path / "preview.jpg") as picture:
        written = np.asarray(picture).astype(int)
    assert step == 3 and written.shape == sheet.shape and np.abs(written - sheet).mean() < 6


def test_scalars_and_pictures_are_in_the_event_files(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board = TensorBoard(tmp_path / "runs")
    board.scalars("field", 0.1, {"step": 40, "loss": 0.5})
    board.scalars("sync", 0.25, {"loss": 0.75})
    board.picture(40, np.full((8, 6, 3), 7, np.uint8))
    board.close()
    events = EventAccumulator(str(tmp_path / "runs"))
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("field/loss")] == [(40, 0.5)]
    assert [(event.step, event.value) for event in events.Scalars("sync/loss")] == [(250, 0.75)]
    (picture,) = events.Images("field/preview")
    assert (picture.step, picture.height, picture.width) == (40, 8, 6)


def test_without_the_package_it_is_one_line(
    tiny_clip: Clip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    out = ["--out", str(tmp_path / "a.safetensors"), "--tensorboard", str(tmp_path / "runs")]
    assert main(["train", str(tiny_clip.root), *out]) == 2
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1 and "pip install 'dfanerf_rt[watch]'" in error
    assert not (tmp_path / "runs").exists()


def test_a_file_is_no_folder_to_write_to(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    path = tmp_path / "runs"
    path.write_text("")
    with pytest.raises(DfanerfError, match="wants a folder"):
        TensorBoard(path)
