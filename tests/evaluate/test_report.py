from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dfanerf_rt.clip.format import Clip
from dfanerf_rt.errors import ClipError, ShapeError
from dfanerf_rt.evaluate.report import Detect, Evaluation, chance_correlation, evaluate_rows, mean_training_frame
from tests.clip.odd_clips import black, repainted
from tests.evaluate.conftest import FPS, N_FRAMES, N_TEST, SIZE, drawn_points
from tests.evaluate.drawn_face import landmarks


@contextlib.contextmanager
def colour_tracker() -> Iterator[Detect]:
    """Finds the drawn face by its colours: the height of the dark mouth and of the white eyes."""

    def detect(picture: np.ndarray) -> np.ndarray | None:
        values = picture.astype(int)
        dark = (values.max(axis=2) < 80)[:, 64]
        white = (values.min(axis=2) > 225)[:, 44:51].mean(axis=1) > 0.3
        if not (values[..., 0] > 200).any():
            return None
        return landmarks(float(dark.sum()), float(white.sum()))

    yield detect


def _evaluate(clip: Clip, **rows: object) -> Evaluation:
    return evaluate_rows(clip, rows, colour_tracker)  # type: ignore[arg-type]


def test_the_truth_itself_is_perfect(drawn_clip: Clip) -> None:
    report = _evaluate(drawn_clip, recorded=drawn_clip.frame).report
    assert (report["frames"], report["width"], report["first_frame"]) == (N_TEST, SIZE, N_FRAMES - N_TEST)
    row = report["rows"]["recorded"]
    assert row["psnr_db"] == row["face_psnr_db"] == row["mouth_psnr_db"] == 100.0
    assert row["ssim"] == pytest.approx(1.0, abs=1e-6)
    assert row["lmd_px"] == 0.0
    assert row["mouth_opening_corr"] == pytest.approx(1.0)
    assert row["blinks_per_s"] == row["blinks_per_s_truth"] == pytest.approx(2 / (N_TEST / FPS))
    assert row["gradient_energy_ratio"] == pytest.approx(1.0)
    assert row["landmarks_found"] == report["truth_landmarks_found"] == 1.0
    assert json.loads(json.dumps(report, allow_nan=False)) == report


def test_the_baseline_is_the_mean_of_the_training_frames_alone(drawn_clip: Clip) -> None:
    mean = np.mean([drawn_clip.frame(i) for i in range(N_FRAMES - N_TEST)], axis=0)
    assert np.array_equal(mean_training_frame(drawn_clip), mean.round().astype(np.uint8))
    row = _evaluate(drawn_clip).report["rows"]["mean_frame"]
    assert row["mouth_psnr_db"] < row["face_psnr_db"] < row["psnr_db"] < 100.0
    assert row["mouth_opening_corr"] == 0.0
    assert row["blinks_per_s"] == 0.0 < row["blinks_per_s_truth"]
    assert row["lmd_px"] > 0.5


def test_a_tracker_that_wanders_does_not_move_the_mean_frame(drawn_clip: Clip) -> None:
    @contextlib.contextmanager
    def wandering() -> Iterator[Detect]:
        rng = np.random.default_rng(0)
        yield lambda picture: landmarks(6.0 + rng.uniform(0, 3), 6.0)

    evaluation = evaluate_rows(drawn_clip, {"recorded": drawn_clip.frame}, wandering)
    assert evaluation.report["rows"]["mean_frame"]["mouth_opening_corr"] == 0.0
    assert np.ptp(evaluation.series["mean_frame"].landmarks, axis=0).max() == 0.0
    assert np.ptp(evaluation.series["recorded"].landmarks, axis=0).max() > 0.0


def test_correlation_by_chance(drawn_clip: Clip) -> None:
    # 30 training frames hold one stretch of 30: too few to say.
    assert chance_correlation(drawn_clip) is None
    # With 5 held out there are 51 stretches of a sine of 9 frames, and those in phase correlate perfectly.
    meta = replace(drawn_clip.meta, n_test_frames=5)
    clip = Clip(drawn_clip.root)
    clip.meta = meta
    chance = chance_correlation(clip)
    assert chance is not None and 0.95 < chance <= 1.0


def test_a_mouth_that_lags_scores_worse_than_one_in_step(drawn_clip: Clip) -> None:
    rows = _evaluate(drawn_clip, recorded=drawn_clip.frame, sound=lambda i: drawn_clip.frame(i - 2)).report["rows"]
    assert list(rows) == ["recorded", "sound", "mean_frame"]
    assert rows["sound"]["mouth_opening_corr"] < 0.5
    assert rows["sound"]["lmd_px"] > 0.5
    assert rows["sound"]["mouth_psnr_db"] < rows["sound"]["psnr_db"]


def test_frames_without_a_face_count(drawn_clip: Clip) -> None:
    lost = {N_FRAMES - 1, N_FRAMES - 4, N_FRAMES - 5}
    grey = np.full((SIZE, SIZE, 3), 95, np.uint8)
    evaluation = _evaluate(drawn_clip, recorded=lambda i: grey if i in lost else drawn_clip.frame(i))
    row = evaluation.report["rows"]["recorded"]
    assert row["landmarks_found"] == pytest.approx(0.9)
    # The other frames are perfect, so the figure is the lost frames' mean mouth radius, spread over all frames.
    radii = [np.linalg.norm(p[48:] - p[48:].mean(0), axis=1).mean() * 4 for p in map(drawn_points, sorted(lost))]
    assert row["lmd_px"] == pytest.approx(sum(radii) / N_TEST, rel=0.05)
    assert row["mouth_opening_corr"] < 1.0
    assert evaluation.series["recorded"].found.sum() == N_TEST - 3


def test_no_face_anywhere_gives_no_figure(drawn_clip: Clip) -> None:
    @contextlib.contextmanager
    def blind() -> Iterator[Detect]:
        yield lambda picture: None

    report = evaluate_rows(drawn_clip, {}, blind).report
    row = report["rows"]["mean_frame"]
    assert report["truth_landmarks_found"] == 0.0
    assert row["lmd_px"] is row["mouth_opening_corr"] is row["blinks_per_s_truth"] is None
    json.dumps(report, allow_nan=False)


def test_progress_reaches_the_end(drawn_clip: Clip) -> None:
    seen: dict[str, tuple[int, int]] = {}
    evaluate_rows(
        drawn_clip,
        {"recorded": drawn_clip.frame},
        colour_tracker,
        lambda name, done, total: seen.update({name: (done, total)}),
    )
    assert seen == {
        "truth": (30, 30),
        "mean training frame": (30, 30),
        "recorded": (30, 30),
        "mean_frame": (30, 30),
    }


def test_a_picture_of_another_size_is_refused(drawn_clip: Clip) -> None:
    with pytest.raises(ShapeError, match="must be equal"):
        _evaluate(drawn_clip, recorded=lambda i: np.zeros((64, 64, 3), np.uint8))


def test_a_clip_that_holds_nothing_out_is_refused(drawn_clip: Clip, tmp_path: Path) -> None:
    import shutil

    root = shutil.copytree(drawn_clip.root, tmp_path / "clip")
    meta = json.loads((root / "clip.json").read_text())
    (root / "clip.json").write_text(json.dumps({**meta, "n_test_frames": 0}))
    with pytest.raises(ClipError, match="no frames are held out"):
        _evaluate(Clip(root))


def test_bad_frames_are_not_scored(drawn_clip: Clip, tmp_path: Path) -> None:
    """Ten held-out frames are black: what is right elsewhere scores as if they were not there."""
    bad = range(35, 45)
    clip = repainted(drawn_clip, tmp_path / "odd", black(bad))
    evaluation = _evaluate(clip, recorded=lambda index: drawn_clip.frame(index))
    report = evaluation.report
    assert (report["frames"], report["left_out"]) == (N_TEST, len(bad))
    assert report["doubts"] == [
        "left out 10 of 30 frames (35 to 44 at 1.4 s): the picture is black, broken or of something else"
    ]
    row = report["rows"]["recorded"]
    assert row["psnr_db"] > 40.0 and row["lmd_px"] == 0.0 and row["landmarks_found"] == 1.0
    assert report["truth_landmarks_found"] == 1.0
    assert np.flatnonzero(~evaluation.kept).tolist() == [index - (N_FRAMES - N_TEST) for index in bad]
    with pytest.raises(ClipError, match=r"none of the 30 held-out frames can be scored \(left out 30"):
        _evaluate(repainted(drawn_clip, tmp_path / "gone", black(range(N_FRAMES - N_TEST, N_FRAMES))))
