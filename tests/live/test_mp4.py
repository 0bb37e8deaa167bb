"""MP4 files, opened again by PyAV: length, place of pictures, sound in step, metadata, the visible mark."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from dfanerf_rt.errors import DfanerfError, ShapeError
from dfanerf_rt.live.mark import SYNTHETIC_COMMENT, draw_mark
from dfanerf_rt.live.mp4 import Mp4Writer


def decode(path: Path) -> tuple[list[np.ndarray], list[float], np.ndarray, float]:
    """Pictures, their times, the sound, and the time of its first sample."""
    with av.open(str(path)) as container:
        pictures = [(frame.to_ndarray(format="rgb24"), float(frame.time)) for frame in container.decode(video=0)]
    with av.open(str(path)) as container:
        sound = [(frame.to_ndarray()[0], float(frame.time)) for frame in container.decode(audio=0)]
    return [p for p, _ in pictures], [t for _, t in pictures], np.concatenate([s for s, _ in sound]), sound[0][1]


def flash_and_click(path: Path, width: int, height: int, skipped: set[int] = frozenset()) -> None:  # type: ignore[assignment]
    """Two seconds; a white picture and a click at 0.4, 0.8, 1.2 and 1.6 s."""
    with Mp4Writer(path, width, height, mark=False) as writer:
        for k in range(50):
            loud = k % 10 == 0 and k > 0
            if k not in skipped:
                writer.write_frame(np.full((height, width, 3), 255 if loud else 0, np.uint8), k)
            samples = np.zeros(640, np.float32)
            if loud:
                samples[:160] = 0.8 * np.sin(np.arange(160) * 2 * np.pi * 1000 / 16000)
            writer.write_audio(samples, k * 640)


@pytest.mark.parametrize("size", [(64, 48), (65, 47)])
def test_sound_and_picture_are_in_step(tmp_path: Path, size: tuple[int, int]) -> None:
    path = tmp_path / "a.mp4"
    flash_and_click(path, *size)
    pictures, times, sound, sound_start = decode(path)
    assert len(pictures) == 50
    np.testing.assert_allclose(times, np.arange(50) / 25, atol=1e-4)
    assert pictures[0].shape == (size[1] + size[1] % 2, size[0] + size[0] % 2, 3)
    flashes = [t for p, t in zip(pictures, times, strict=True) if p.mean() > 128]
    loud = np.flatnonzero(np.abs(sound) > 0.3)
    clicks = [loud[0], *loud[1:][np.diff(loud) > 1600]]
    clicks_s = [sound_start + click / 16000 for click in clicks]
    assert flashes == pytest.approx([0.4, 0.8, 1.2, 1.6], abs=1e-4)
    assert clicks_s == pytest.approx(flashes, abs=0.003)
    with av.open(str(path)) as container:
        assert container.duration == pytest.approx(2_000_000, abs=70_000)
        assert container.metadata["comment"] == SYNTHETIC_COMMENT
        video, audio = container.streams.video[0], container.streams.audio[0]
        assert (video.codec_context.name, video.codec_context.pix_fmt, video.average_rate) == ("h264", "yuv420p", 25)
        assert (audio.codec_context.name, audio.rate) == ("aac", 16000)
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat"), "faststart: the index stands before the data"


def test_dropped_frames_hold_the_last_picture(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    flash_and_click(path, 64, 48, skipped={0, 1, 21, 22, 49})
    pictures, _, _, _ = decode(path)
    white = [k for k, picture in enumerate(pictures) if picture.mean() > 128]
    assert white == [10, 20, 21, 22, 30, 40]
    assert len(pictures) == 50, "the first picture fills the places before it, the last is held until the sound ends"


def test_missing_sound_becomes_silence(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    with Mp4Writer(path, 32, 32) as writer:
        writer.write_frame(np.zeros((32, 32, 3), np.uint8), 0)
        writer.write_audio(np.full(160, 0.5, np.float32), start=0)
        writer.write_audio(np.full(1600, 0.5, np.float32), start=8000)
    _, _, sound, start = decode(path)
    assert np.abs(sound[1600:7600]).max() < 0.02
    assert np.abs(sound[round((0.5 - start) * 16000) + 100 :][:1400]).max() > 0.3


def test_colours_survive(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    colour = np.array([200, 60, 30], np.uint8)
    with Mp4Writer(path, 64, 64, sample_rate_hz=0, mark=False) as writer:
        writer.write_frame(np.broadcast_to(colour, (64, 64, 3)).copy())
    with av.open(str(path)) as container:
        picture = next(container.decode(video=0)).to_ndarray(format="rgb24")
    assert np.abs(picture.astype(int) - colour).max() <= 4


def test_the_file_appears_only_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt), Mp4Writer(path, 32, 32) as writer:
        writer.write_frame(np.zeros((32, 32, 3), np.uint8))
        raise KeyboardInterrupt
    assert path.read_bytes() == b"old"
    with pytest.raises(DfanerfError, match="no picture"):
        Mp4Writer(path, 32, 32).close()
    assert path.read_bytes() == b"old" and [entry.name for entry in tmp_path.iterdir()] == ["a.mp4"]
    with pytest.raises(DfanerfError, match="cannot be written"):
        Mp4Writer(path / "below.mp4", 32, 32)


def test_a_picture_of_another_size_is_refused(tmp_path: Path) -> None:
    writer = Mp4Writer(tmp_path / "a.mp4", 32, 32)
    with pytest.raises(ShapeError, match=r"expected \(32, 32, 3\)"):
        writer.write_frame(np.zeros((32, 31, 3), np.uint8))
    writer.abort()


@pytest.mark.parametrize("size", [(256, 256), (512, 512), (8, 8), (300, 20)])
def test_mark_is_small_and_in_the_corner(size: tuple[int, int]) -> None:
    height, width = size
    image = np.full((height, width, 3), 100, np.uint8)
    draw_mark(image)
    changed = np.argwhere((image != 100).any(axis=2))
    assert len(changed) > 0
    if width >= 256:
        assert changed[:, 0].min() > 0.92 * height and changed[:, 1].min() > 0.7 * width
        assert len(changed) < 0.01 * height * width


def test_mark_can_be_left_out_but_the_caller_s_picture_is_never_touched(tmp_path: Path) -> None:
    image = np.full((128, 128, 3), 100, np.uint8)
    for mark in (True, False):
        with Mp4Writer(tmp_path / f"{mark}.mp4", 128, 128, sample_rate_hz=0, mark=mark) as writer:
            writer.write_frame(image)
    assert (image == 100).all()
    spread = []
    for mark in (True, False):
        with av.open(str(tmp_path / f"{mark}.mp4")) as container:
            spread.append(np.ptp(next(container.decode(video=0)).to_ndarray(format="rgb24")[100:, 64:].astype(int)))
            assert container.metadata["comment"] == SYNTHETIC_COMMENT
    assert spread[0] > 40 and spread[1] <= 6


def test_closing_twice_is_harmless(tmp_path: Path) -> None:
    with Mp4Writer(tmp_path / "a.mp4", 32, 32, sample_rate_hz=0) as writer:
        writer.write_frame(np.zeros((32, 32, 3), np.uint8))
        writer.close()
    assert (tmp_path / "a.mp4").stat().st_size > 0
