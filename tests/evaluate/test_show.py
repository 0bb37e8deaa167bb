from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from dfanerf_rt.clip.format import Clip
from dfanerf_rt.evaluate.report import evaluate_rows
from dfanerf_rt.evaluate.show import CAPTION_PX, error_map, strip, write_video, write_worst
from dfanerf_rt.evaluate.table import build_table
from tests.evaluate.conftest import N_FRAMES, N_TEST, SIZE
from tests.evaluate.test_report import colour_tracker


def test_error_map_by_hand() -> None:
    truth = np.zeros((2, 3, 3), np.uint8)
    picture = truth.copy()
    picture[0, 0] = (30, 0, 0)  # a mean of 10, times 4
    picture[1, 2] = 255
    assert error_map(truth, picture)[..., 0].tolist() == [[40, 0, 0], [0, 0, 255]]
    assert np.array_equal(error_map(picture, truth), error_map(truth, picture))


def test_a_strip_holds_truth_renders_and_error(drawn_clip: Clip) -> None:
    rows = {"recorded": drawn_clip.frame, "sound": lambda i: drawn_clip.frame(i - 3)}
    picture = strip(drawn_clip, rows, 40)
    assert picture.shape == (SIZE + CAPTION_PX, 4 * SIZE, 3)
    panels = np.split(picture[CAPTION_PX:], 4, axis=1)
    assert np.array_equal(panels[0], drawn_clip.frame(40)) and np.array_equal(panels[1], drawn_clip.frame(40))
    assert np.array_equal(panels[2], drawn_clip.frame(37))
    assert np.array_equal(panels[3], error_map(drawn_clip.frame(40), drawn_clip.frame(37)))


def test_the_worst_frames_come_first(drawn_clip: Clip, tmp_path: Path) -> None:
    def render(index: int) -> np.ndarray:
        return np.full((SIZE, SIZE, 3), 128, np.uint8) if index == 44 else drawn_clip.frame(index - (index % 3 == 0))

    rows = {"recorded": render}
    evaluation = evaluate_rows(drawn_clip, rows, colour_tracker)
    worst = write_worst(tmp_path / "new" / "worst.png", drawn_clip, rows, evaluation)
    assert worst[0] == 44 and len(worst) == 10 and all(index % 3 == 0 for index in worst[1:6])
    with Image.open(tmp_path / "new" / "worst.png") as picture:
        assert picture.size == (3 * SIZE, 10 * (SIZE + CAPTION_PX))
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["worst.png"]


def test_the_video_shows_every_held_out_frame_with_its_sound(drawn_clip: Clip, tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    write_video(tmp_path / "comparison.mp4", drawn_clip, {"recorded": drawn_clip.frame}, lambda *step: None)
    with av.open(str(tmp_path / "comparison.mp4")) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        assert len(frames) == N_TEST
        shown = frames[-1][CAPTION_PX : CAPTION_PX + SIZE, :SIZE].astype(int)
        assert np.abs(shown - drawn_clip.frame(N_FRAMES - 1)).mean() < 6
        assert container.streams.audio[0].duration is not None


def test_the_table_shows_the_gain_over_the_mean_frame(drawn_clip: Clip) -> None:
    report = evaluate_rows(drawn_clip, {"recorded": drawn_clip.frame}, colour_tracker).report
    console = Console(file=io.StringIO(), width=160)
    console.print(build_table(report))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "30 held-out frames at 128x128" in text
    gain = 100.0 - report["rows"]["mean_frame"]["psnr_db"]
    assert "100.00" in text and f"+{gain:.2f}" in text and "1.67" in text
