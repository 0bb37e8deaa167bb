from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from dfanerf_rt.cli.main import main
from dfanerf_rt.clip.format import Clip
from tests.evaluate.untrained import untrained_avatar

DESIGN_KEYS = {
    "psnr_db",
    "face_psnr_db",
    "mouth_psnr_db",
    "ssim",
    "lmd_px",
    "mouth_opening_corr",
    "blinks_per_s",
    "blinks_per_s_truth",
}


@pytest.fixture(scope="module")
def avatar(tiny_clip: Clip, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("avatar") / "untrained.safetensors"
    untrained_avatar(tiny_clip).save(path)
    return path


def test_figures_table_and_pictures(
    tiny_clip: Clip, avatar: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("mediapipe")
    figures, folder = tmp_path / "new" / "figures.json", tmp_path / "pictures"
    assert main(["evaluate", str(avatar), str(tiny_clip.root), "--json", str(figures), "--out", str(folder)]) == 0
    report = json.loads(figures.read_text())
    assert report["frames"] == tiny_clip.meta.n_test_frames and report["width"] == tiny_clip.meta.width
    assert list(report["rows"]) == ["recorded", "sound", "mean_frame"]
    assert all(row.keys() >= DESIGN_KEYS for row in report["rows"].values())
    # Random weights are no picture of anybody; the mean frame is one.
    assert report["rows"]["recorded"]["psnr_db"] < report["rows"]["mean_frame"]["psnr_db"]
    assert report["rows"]["mean_frame"]["mouth_opening_corr"] == 0.0
    assert sorted(path.name for path in folder.iterdir()) == ["comparison.mp4", "worst.png"]
    with Image.open(folder / "worst.png") as picture:
        assert picture.width == 4 * tiny_clip.meta.width
    out = capsys.readouterr().out
    assert "mean_frame" in out and f"{report['rows']['sound']['psnr_db']:.2f}" in out
    if report["rows"]["recorded"]["landmarks_found"] < 1.0:
        assert "recorded: no face found in" in out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["CLIP", "CLIP"], "is a folder, expected a file"),
        (["AVATAR", "AVATAR"], "not a prepared clip"),
        (["AVATAR", "CLIP", "--json", "CLIP"], "--json wants the name of a file"),
        (["AVATAR", "CLIP", "--out", "AVATAR"], "--out wants a folder"),
        (["AVATAR", "CLIP", "--backend", "abacus"], "abacus"),
        (["AVATAR", "CLIP", "--device", "tpu"], "tpu"),
        (["AVATAR"], "clip"),
        (["nobody", "CLIP"], "no such avatar"),
    ],
)
def test_bad_usage_is_one_line(
    tiny_clip: Clip, avatar: Path, arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    places = {"AVATAR": str(avatar), "CLIP": str(tiny_clip.root)}
    try:
        status = main(["evaluate", *(places.get(word, word) for word in arguments)])
    except SystemExit as stop:
        status = int(stop.code or 0)
    error = capsys.readouterr().err
    assert status == 2 and len(error.splitlines()) == 1 and says.lower() in error.lower(), error


def test_a_device_that_is_not_there_is_one_line(
    tiny_clip: Clip, avatar: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if torch.cuda.is_available():
        pytest.skip("a CUDA GPU is there")
    assert main(["evaluate", str(avatar), str(tiny_clip.root), "--device", "cuda"]) == 2
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1 and "no CUDA GPU" in error
