"""The whole chain on a real clip, through the commands: prepare, train, evaluate, render."""

from __future__ import annotations

import json
from pathlib import Path

import av
import pytest

from dfanerf_rt.cli.main import main

pytestmark = pytest.mark.slow

ROW_KEYS = {
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
def chain(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the clip and the avatar that the commands made of a real speaker."""
    folder = tmp_path_factory.mktemp("real")
    video = shared_data / "video" / "speaker_5s.mp4"
    assert main(["prepare", str(video), "--out", str(folder / "clip"), "--size", "128"]) == 0
    assert main(["train", str(folder / "clip"), "--out", str(folder / "a.safetensors"), "--preset", "tiny"]) == 0
    return folder


def test_evaluate_writes_every_row(chain: Path) -> None:
    report = chain / "report.json"
    assert main(["evaluate", str(chain / "a.safetensors"), str(chain / "clip"), "--json", str(report)]) == 0
    found = json.loads(report.read_text())
    assert (found["width"], found["height"]) == (128, 128)
    assert set(found["rows"]) == {"recorded", "sound", "mean_frame"}
    for row in found["rows"].values():
        assert row.keys() >= ROW_KEYS


def test_it_speaks_another_language(chain: Path, shared_data: Path) -> None:
    video = chain / "german.mp4"
    sound = shared_data / "audio" / "german_9s.wav"
    assert main(["render", str(chain / "a.safetensors"), "--audio", str(sound), "--out", str(video)]) == 0
    with av.open(str(video)) as container:
        picture, voice = container.streams.video[0], container.streams.audio[0]
        assert picture.average_rate == 25
        seconds = float(picture.duration * picture.time_base)
        assert abs(seconds - float(voice.duration * voice.time_base)) < 0.08
