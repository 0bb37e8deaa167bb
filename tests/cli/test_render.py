"""``dfanerf render``: a whole avatar speaks a file; what cannot be is refused before anything is written."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from dfanerf_rt.cli.main import main
from dfanerf_rt.clip.format import write_wav
from dfanerf_rt.files import load_tensors, save_tensors
from dfanerf_rt.motion.style import Style
from tests.live.head_avatar import write_head_avatar
from tests.motion.small_person import small_person


@pytest.fixture(scope="module")
def avatar(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_head_avatar(tmp_path_factory.mktemp("avatar") / "head.safetensors")


@pytest.fixture(scope="module")
def moving(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, and it has learned to move: 0.8 m away, 9 degrees to either side."""
    person = small_person()
    place = torch.tensor([0.0, 0.0, 0.0, 0.0, 0.0, 0.8])
    unit = torch.tensor([0.05, 0.05, 0.02, 0.005, 0.005, 0.005])
    head = Style(place, unit, place, unit, unit, unit, place - 3 * unit, place + 3 * unit)
    folder = tmp_path_factory.mktemp("moving")
    return write_head_avatar(folder / "moving.safetensors", person=dataclasses.replace(person, head=head))


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    """A second of silence, then half a second of noise."""
    samples = np.zeros(24000, np.float32)
    samples[16000:] = np.random.default_rng(0).uniform(-0.5, 0.5, 8000)
    write_wav(tmp_path / "a.wav", samples)
    return tmp_path / "a.wav"


def pictures(path: Path) -> np.ndarray:
    """(T, H, W, 3) float32."""
    with av.open(str(path)) as container:
        return np.stack([f.to_ndarray(format="rgb24") for f in container.decode(video=0)]).astype(np.float32)


def render(avatar: Path, sound: Path, out: Path, *options: str) -> int:
    return main(["render", str(avatar), "--audio", str(sound), "--out", str(out), *options])


def test_speaks_a_file(avatar: Path, sound: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "a.mp4"
    assert render(avatar, sound, out, "--motion", "still", "--no-mark") == 0
    said = capsys.readouterr().out
    assert said.startswith(f"{out}: 38 frames, 64x64, 1.5 s, rendered at ") and "still motion" in said
    shown = pictures(out)
    assert shown.shape == (38, 64, 64, 3)
    with av.open(str(out)) as container:
        heard = np.concatenate([f.to_ndarray()[0] for f in container.decode(audio=0)])
    assert np.abs(heard[:15000]).max() < 0.02 and np.abs(heard[17000:24000]).max() > 0.3
    head, corner = shown[:, 20:34, 26:38], shown[:, :6, :6]
    changed = np.abs(np.diff(head, axis=0)).mean(axis=(1, 2, 3))
    assert changed[2:20].max() < 0.5, "nothing moves in silence"
    assert changed[23:].max() > 4 * changed[2:20].max(), "the face follows the sound"
    assert np.abs(corner - 90).max() <= 4, "the background stands still"


def test_recorded_motion_moves_and_a_seed_repeats(avatar: Path, sound: Path, tmp_path: Path) -> None:
    shown = []
    for k, seed in enumerate(("1", "1", "2")):
        assert render(avatar, sound, tmp_path / f"{k}.mp4", "--seed", seed) == 0
        shown.append(pictures(tmp_path / f"{k}.mp4"))
    np.testing.assert_array_equal(shown[0], shown[1])
    assert np.abs(shown[0] - shown[2]).mean() > 0.1
    assert np.abs(np.diff(shown[0][:20], axis=0)).mean(axis=(1, 2, 3)).min() > 0.02, "the head moves in silence too"


def test_generated_motion_is_the_default_where_it_can_be(
    avatar: Path, moving: Path, sound: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert render(avatar, sound, tmp_path / "recorded.mp4") == 0
    assert "(recorded motion)" in capsys.readouterr().out
    shown = []
    for k, options in enumerate(((), ("--seed", "0"), ("--seed", "5"), ("--hold-still", "--temperature", "0"))):
        assert render(moving, sound, tmp_path / f"{k}.mp4", "--no-mark", *options) == 0
        assert "(generated motion)" in capsys.readouterr().out
        shown.append(pictures(tmp_path / f"{k}.mp4"))
    np.testing.assert_array_equal(shown[0], shown[1])
    assert np.abs(shown[0] - shown[2]).mean() > 0.1
    assert np.abs(shown[0] - shown[3]).mean() > 0.1, "who holds still moves otherwise"


def test_size(avatar: Path, sound: Path, tmp_path: Path) -> None:
    assert render(avatar, sound, tmp_path / "a.mp4", "--size", "47") == 0
    assert pictures(tmp_path / "a.mp4").shape == (38, 48, 48, 3)


def test_refusals_are_one_line_and_leave_nothing(
    avatar: Path, moving: Path, sound: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tensors, metadata = load_tensors(avatar, ValueError)  # type: ignore[arg-type]
    for section in ("sync", "motion"):
        kept = {name: value for name, value in tensors.items() if not name.startswith(section)}
        shapes = {name: list(value.shape) for name, value in kept.items()}
        save_tensors(tmp_path / f"no_{section}.safetensors", kept, {**metadata, "shapes": shapes})
    out = tmp_path / "out.mp4"
    for arguments, said in (
        ((tmp_path / "missing.safetensors", sound, out), "no such file"),
        ((avatar, tmp_path / "missing.wav", out), "no such file"),
        ((avatar, avatar, out), "not a sound"),
        ((avatar, sound, tmp_path / "out.avi"), "must end in .mp4"),
        ((tmp_path / "no_sync.safetensors", sound, out), "silent clip"),
        ((tmp_path / "no_motion.safetensors", sound, out), "recorded_pose"),
        ((avatar, sound, out, "--motion", "generated"), "has not learned to move; take recorded motion"),
        ((avatar, sound, out, "--motion", "recorded", "--hold-still"), "direct generated motion, not recorded"),
        ((moving, sound, out, "--temperature", "-1"), "temperature is -1.0, expected 0 or more"),
        ((moving, sound, out, "--look-at", "0", "90"), "expected two angles within 60"),
        ((avatar, sound, out, "--size", "0"), "width is 0"),
    ):
        try:
            status = render(*arguments)  # type: ignore[arg-type]
        except SystemExit as stop:
            status = stop.code  # type: ignore[assignment]
        complaint = capsys.readouterr().err
        assert status == 2, arguments
        assert said in complaint and complaint.count("\n") == 1, complaint
    assert not list(tmp_path.glob("out*")) and not list(tmp_path.glob(".*"))


def test_an_avatar_loads_warm(avatar: Path) -> None:
    from dfanerf_rt.live.chain import load_chain

    chain = load_chain(avatar, size=32)
    assert (chain.renderer.width, chain.renderer.height) == (32, 32)
    assert chain.encoder.n_samples == 0, "warming up leaves no sound behind"
    assert torch.equal(chain.motion.next()[0], load_chain(avatar, size=32).motion.next()[0])


def test_the_lookahead_is_chosen_when_the_avatar_speaks(avatar: Path) -> None:
    from dfanerf_rt.cli.live import LiveCommand
    from dfanerf_rt.live.chain import load_chain
    from dfanerf_rt.sync.model import LIVE_LOOKAHEAD_MS

    assert LiveCommand().lookahead_ms == LIVE_LOOKAHEAD_MS
    for lookahead_ms, waits_ms in ((0.0, 0.0), (LIVE_LOOKAHEAD_MS, LIVE_LOOKAHEAD_MS), (None, 200.0)):
        assert load_chain(avatar, size=16, lookahead_ms=lookahead_ms).encoder.lookahead_ms == waits_ms
    assert load_chain(avatar, size=16).encoder.lookahead_ms == LIVE_LOOKAHEAD_MS


def test_the_demo_s_timing_renders_a_hundred_frames(avatar: Path) -> None:
    from dfanerf_rt.cli.demo import time_render
    from dfanerf_rt.live.chain import load_chain

    times_ms = time_render(load_chain(avatar, size=16))
    assert len(times_ms) == 100 and min(times_ms) > 0


@pytest.mark.slow
def test_the_demo_says_how_fast_how_late_and_where(
    avatar: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "demo.mp4"
    assert main(["demo", "--avatar", str(avatar), "--size", "16", "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert out.is_file() and f"{out}: 10.4 s, 16x16" in said
    assert said.count("frames per second") == 3 and "ms from sound to picture" in said
