from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dfanerf_rt.clip.video import probe_video, read_audio, read_video
from dfanerf_rt.errors import ClipError
from tests.clip.made_videos import click, grey_pictures, write_video


def levels_of(path: Path, fps: float = 25.0) -> np.ndarray:
    _, frames = read_video(path, fps)
    return np.array([frame.mean() for frame in frames])


def click_time_s(samples: np.ndarray) -> float:
    return float(np.argmax(np.abs(samples) > 0.2)) / 16_000


def test_constant_25_fps_is_kept_frame_by_frame(tmp_path: Path) -> None:
    levels = np.arange(20, 220, 4)
    path = write_video(tmp_path / "v.mkv", grey_pictures(levels), np.arange(50) / 25)
    assert np.abs(levels_of(path) - levels).max() <= 2
    info = probe_video(path)
    assert (info.width, info.height, info.has_audio) == (64, 48, False)


def test_30_fps_becomes_25_by_nearest_time(tmp_path: Path) -> None:
    levels = np.arange(20, 200, 2)
    path = write_video(tmp_path / "v.mkv", grey_pictures(levels), np.arange(90) / 30)
    found = levels_of(path)
    assert len(found) == 75
    nearest = np.round(np.arange(75) * 30 / 25 + 1e-6).astype(int)
    # halves may fall either way; everything else is the nearest picture
    clear = np.abs(np.arange(75) * 1.2 % 1 - 0.5) > 0.05
    assert np.abs(found - levels[np.minimum(nearest, 89)])[clear].max() <= 1.5


def test_variable_frame_rate_does_not_drift(tmp_path: Path) -> None:
    times = np.concatenate([np.arange(25) / 50, 0.5 + np.arange(10) / 10, 1.5 + np.arange(30) / 60])
    levels = 20 + 100 * times
    path = write_video(tmp_path / "v.mkv", grey_pictures(levels.astype(int)), times)
    found = levels_of(path)
    assert len(found) == 50
    assert np.abs(found - (20 + 100 * np.arange(50) / 25)).max() <= 100 * 0.05 + 2  # half of the longest spacing


def test_start_time_is_taken_out_of_picture_and_sound(tmp_path: Path) -> None:
    times = 0.4 + np.arange(50) / 25
    path = write_video(tmp_path / "v.mkv", grey_pictures([100] * 50), times, click(2.4, 1.0))
    samples = read_audio(path, 50)
    assert len(samples) == 32_000
    assert click_time_s(samples) == pytest.approx(0.6, abs=0.003)


def test_late_sound_is_padded(tmp_path: Path) -> None:
    path = write_video(
        tmp_path / "v.mkv", grey_pictures([100] * 50), np.arange(50) / 25, click(1.5, 0.5), sound_start_s=0.3
    )
    samples = read_audio(path, 50)
    assert len(samples) == 32_000
    assert click_time_s(samples) == pytest.approx(0.8, abs=0.003)


@pytest.mark.parametrize("late_ms", [120.0, -200.0])
def test_sound_that_the_file_plays_late_is_brought_forward(tmp_path: Path, late_ms: float) -> None:
    path = write_video(tmp_path / "v.mkv", grey_pictures([100] * 50), np.arange(50) / 25, click(2.0, 1.0))
    samples = read_audio(path, 50, late_ms=late_ms)
    assert len(samples) == 32_000
    assert click_time_s(samples) == pytest.approx(1.0 - late_ms / 1000, abs=0.003)


def test_a_gap_in_the_sound_is_silence(tmp_path: Path) -> None:
    path = write_video(
        tmp_path / "v.mkv", grey_pictures([100] * 50), np.arange(50) / 25, click(2.0, 1.5), sound_gap_s=(0.4, 1.0)
    )
    assert click_time_s(read_audio(path, 50)) == pytest.approx(1.5, abs=0.003)


def test_rotated_phone_video_stands_upright(tmp_path: Path) -> None:
    picture = np.full((48, 64, 3), 40, np.uint8)
    picture[:, :32] = 200  # left half bright
    path = write_video(tmp_path / "v.mp4", [picture] * 10, np.arange(10) / 25)
    data = bytearray(path.read_bytes())
    matrix = data.index(b"tkhd") + 4 + 40
    turn = [0, 1 << 16, 0, -(1 << 16) & 0xFFFFFFFF, 0, 0, 0, 0, 1 << 30]  # shown a quarter turn clockwise
    data[matrix : matrix + 36] = b"".join(value.to_bytes(4, "big") for value in turn)
    path.write_bytes(bytes(data))
    info, frames = read_video(path)
    frame = next(iter(frames))
    assert (info.width, info.height) == (48, 64)
    assert frame[:28].mean() > 180  # what was left is now on top
    assert frame[36:].mean() < 60


def test_what_is_not_a_video_is_refused_in_one_line(tmp_path: Path) -> None:
    text = tmp_path / "notes.mp4"
    text.write_text("this is no video\n" * 100)
    for path, words in ((text, "not a video"), (tmp_path / "absent.mp4", "no such file")):
        with pytest.raises(ClipError, match=words) as caught:
            probe_video(path)
        assert "\n" not in str(caught.value)


def test_no_sound_track(tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.mkv", grey_pictures([100] * 5), np.arange(5) / 25)
    with pytest.raises(ClipError, match="--no-audio"):
        read_audio(path)


def test_a_truncated_file_gives_what_it_has(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (50, 48, 64, 3), np.uint8)
    path = write_video(tmp_path / "v.mkv", list(noise), np.arange(50) / 25)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert 10 < len(levels_of(path)) < 50
