"""Damaged avatars, clips and sounds are refused with one line that says what is wrong, and nothing is written."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
import sys
import wave
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from dfanerf_rt.audio.sources import load_audio
from dfanerf_rt.avatar import Avatar, AvatarMeta
from dfanerf_rt.clip.format import Clip, ClipMeta, ClipWriter, Track, write_wav
from dfanerf_rt.errors import AudioError, AvatarError, ClipError, DfanerfError
from dfanerf_rt.field.field import ConditionalField
from dfanerf_rt.files import atomic_path, write_json
from dfanerf_rt.sync.model import SyncConfig

N_FRAMES, SIZE = 12, 32
REPOSITORY = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def whole_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An undamaged clip, to be copied."""
    t = N_FRAMES
    shapes = {"expression": (t, 52), "head_pose": (t, 6), "landmarks": (t, 68, 3), "landmarks_px": (t, 68, 2)}
    shapes |= {"eye_closure": (t, 2), "confidence": (t,), "identity": (4,)}
    root = tmp_path_factory.mktemp("whole") / "clip"
    with ClipWriter(root) as writer:
        for i in range(t):
            writer.write_frame(i, np.full((SIZE, SIZE, 3), 20 * i, np.uint8), np.full((SIZE, SIZE), 255, np.uint8))
        writer.write_background(np.zeros((SIZE, SIZE, 3), np.uint8))
        writer.write_audio(np.zeros(t * 640))
        track = Track(**{name: torch.zeros(shape) for name, shape in shapes.items()})
        writer.finish(ClipMeta(t, SIZE, SIZE, 40.0, 16.0, 16.0, n_test_frames=4), track)
    return root


@pytest.fixture(scope="module")
def whole_avatar(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file that :meth:`Avatar.load` accepts, to be copied."""
    tensors = {
        "field.table": torch.linspace(-1, 1, 2000).reshape(1000, 2),
        "background.image": torch.zeros(SIZE, SIZE, 3, dtype=torch.uint8),
    }
    meta = AvatarMeta("test", SIZE, SIZE, 40.0, 16.0, 16.0, 25.0, "CC0-1.0", "synthetic person")
    path = tmp_path_factory.mktemp("whole") / "avatar.safetensors"
    Avatar(meta, tensors).save(path)
    Avatar.load(path)
    return path


@pytest.fixture
def clip(whole_clip: Path, tmp_path: Path) -> Path:
    """A copy of the clip that a test may damage."""
    return Path(shutil.copytree(whole_clip, tmp_path / "clip"))


@pytest.fixture
def avatar(whole_avatar: Path, tmp_path: Path) -> Path:
    """A copy of the avatar that a test may damage."""
    return Path(shutil.copy(whole_avatar, tmp_path / "avatar.safetensors"))


class _Exploding:
    """Unpickling this would show: it makes a folder."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("unpickled",)


def _rewrite(path: Path, change: Callable[[dict[str, torch.Tensor], dict[str, Any]], object]) -> None:
    """Write a ``.safetensors`` file again after ``change`` has worked on its tensors and its JSON."""
    with safe_open(str(path), framework="pt") as stored:
        metadata = json.loads(stored.metadata()["json"])
        tensors = {name: stored.get_tensor(name).clone() for name in stored.keys()}  # noqa: SIM118
    change(tensors, metadata)
    save_file(tensors, str(path), metadata={"json": json.dumps(metadata)})


@dataclass(frozen=True)
class Damage:
    """What is done to a tensor file, given the name of one of its tensors, and what the refusal says of it."""

    name: str
    apply: Callable[[Path, str], object]
    says: str


def _nan(tensors: dict[str, torch.Tensor], name: str) -> None:
    tensors[name].view(-1)[1] = float("nan")


def _infinite(tensors: dict[str, torch.Tensor], name: str) -> None:
    tensors[name].view(-1)[-1] = float("inf")


def _misshape(tensors: dict[str, torch.Tensor], name: str) -> None:
    tensors[name] = tensors[name][:-1].contiguous()


def _on_tensors(change: Callable[[dict[str, torch.Tensor], str], object]) -> Callable[[Path, str], object]:
    return lambda path, name: _rewrite(path, lambda tensors, metadata: change(tensors, name))


def _on_metadata(**values: object) -> Callable[[Path, str], object]:
    return lambda path, name: _rewrite(path, lambda tensors, metadata: metadata.update(values))


def _truncate(share: float) -> Callable[[Path, str], object]:
    return lambda path, name: path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])


def _flip_header(path: Path, name: str) -> None:
    data = bytearray(path.read_bytes())
    data[8:24] = bytes(16)
    path.write_bytes(bytes(data))


def _to_folder(path: Path, name: str) -> None:
    path.unlink()
    path.mkdir()


DAMAGES = (
    Damage("empty", _truncate(0.0), "truncated or not a safetensors file"),
    Damage("cut in the header", _truncate(0.01), "truncated or not a safetensors file"),
    Damage("cut in a tensor", _truncate(0.9), "truncated or not a safetensors file"),
    Damage("overwritten header", _flip_header, "truncated or not a safetensors file"),
    Damage("text", lambda path, name: path.write_text("no tensors\n" * 9), "not a safetensors file"),
    Damage("a folder", _to_folder, "is a folder"),
    Damage("gone", lambda path, name: path.unlink(), "no such file"),
    Damage("a pickle", lambda path, name: path.write_bytes(pickle.dumps(_Exploding())), "pickle"),
    Damage("a torch file", lambda path, name: torch.save({"x": torch.ones(2)}, path), "pickle or zip"),
    Damage("a missing tensor", _on_tensors(lambda tensors, name: tensors.pop(name)), "'{name}' is missing"),
    Damage("NaN", _on_tensors(_nan), "'{name}' holds NaN"),
    Damage("infinity", _on_tensors(_infinite), "'{name}' holds NaN or infinity"),
    Damage("misshapen", _on_tensors(_misshape), "'{name}' has shape"),
    Damage("another schema", _on_metadata(schema="dfanerf-avatar/99"), "schema is 'dfanerf-avatar/99'"),
    Damage("no metadata", lambda path, name: save_file({name: torch.ones(2)}, str(path)), "metadata"),
)


def _refusal(read: Callable[[], object], kind: type[DfanerfError]) -> str:
    with pytest.raises(kind) as caught:
        read()
    message = str(caught.value)
    assert "\n" not in message and 20 < len(message) < 400, message
    return message


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.name)
def test_a_damaged_avatar(avatar: Path, damage: Damage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(avatar.parent)
    damage.apply(avatar, "field.table")
    message = _refusal(lambda: Avatar.load(avatar), AvatarError)
    assert damage.says.format(name="field.table") in message and avatar.name in message
    assert not Path("unpickled").exists()


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.name)
def test_a_damaged_track(clip: Path, damage: Damage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(clip.parent)
    damage.apply(clip / "track.safetensors", "head_pose")
    message = _refusal(lambda: Clip(clip), ClipError)
    assert damage.says.format(name="head_pose") in message and "track.safetensors" in message
    assert not Path("unpickled").exists()


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"width": 0}, "width is 0"),
        ({"width": "32"}, "width is '32'"),
        ({"focal_px": float("nan")}, "focal_px is nan"),
        ({"fps": None}, "fps is None"),
        ({"licence": 7}, "licence is 7"),
        ({"field": "x"}, "field is 'x'"),
        ({"colour": "red"}, "'colour'"),
        ({"shapes": None}, "shapes"),
        ({"shapes": {"field.table": 5}}, "field.table"),
        ({"shapes": {}}, "not in the manifest"),
    ],
    ids=str,
)
def test_an_avatar_with_wrong_metadata(avatar: Path, values: dict[str, object], says: str) -> None:
    _on_metadata(**values)(avatar, "")
    assert says in _refusal(lambda: Avatar.load(avatar), AvatarError)


@pytest.mark.parametrize("value", ["x", None, -1, 2.5, []], ids=str)
@pytest.mark.parametrize("name", ["hidden", "n_levels", "n_steps"])
def test_an_avatar_with_wrong_field_settings(name: str, value: object) -> None:
    meta = AvatarMeta("test", SIZE, SIZE, 40.0, 16.0, 16.0, 25.0, "CC0-1.0", "synthetic person", field={name: value})
    _refusal(lambda: ConditionalField.from_avatar(Avatar(meta, {})), AvatarError)


@pytest.mark.parametrize("value", ["x", None, -1, 2.5, []], ids=str)
@pytest.mark.parametrize("name", ["lookahead_ms", "n_coefficients", "channels", "code_dim"])
def test_an_avatar_with_wrong_sync_settings(name: str, value: object) -> None:
    if name == "lookahead_ms" and value == 2.5:
        value = float("nan")
    _refusal(lambda: SyncConfig.from_dict({name: value}), AvatarError)


def test_an_avatar_that_is_not_there() -> None:
    assert "no such avatar" in _refusal(lambda: Avatar.load("nobody"), AvatarError)


def test_a_track_of_another_type_or_length(clip: Path) -> None:
    path = clip / "track.safetensors"
    _rewrite(path, lambda tensors, metadata: tensors.update(confidence=torch.ones(N_FRAMES, dtype=torch.int64)))
    assert "'confidence' is torch.int64, expected torch.float32" in _refusal(lambda: Clip(clip), ClipError)
    _rewrite(path, lambda tensors, metadata: tensors.update(confidence=torch.ones(N_FRAMES + 1)))
    assert "'confidence' has shape (13,), expected (12,)" in _refusal(lambda: Clip(clip), ClipError)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"schema": "dfanerf-clip/9"}, "schema is 'dfanerf-clip/9'"),
        ({"n_frames": 13}, "expected (13, 52)"),
        ({"n_frames": 12.5}, "n_frames is 12.5, expected a whole number"),
        ({"width": -32}, "width is -32, expected a positive number"),
        ({"width": True}, "width is True, expected a whole number"),
        ({"cx": "middle"}, "cx is 'middle', expected a finite number"),
        ({"fps": float("inf")}, "fps is inf, expected a finite number"),
        ({"n_test_frames": 12}, "n_test_frames is 12, expected 0 to 11"),
        ({"n_test_frames": "4"}, "n_test_frames is '4'"),
        ({"frames": 12}, "unknown key 'frames'"),
        ({"extra": []}, "extra is [], expected an object"),
    ],
    ids=str,
)
def test_a_clip_with_wrong_metadata(clip: Path, values: dict[str, object], says: str) -> None:
    stored = json.loads((clip / "clip.json").read_text())
    (clip / "clip.json").write_text(json.dumps({**stored, **values}))
    message = _refusal(lambda: Clip(clip), ClipError)
    assert says in message and str(clip) in message


@pytest.mark.parametrize("data", [b"", b'{"schema": "dfan', b"null", b"[" * 100_000, b"9" * 5000, b"\xff\xfe{}", b"{}"])
def test_a_clip_with_damaged_json(clip: Path, data: bytes) -> None:
    (clip / "clip.json").write_bytes(data)
    assert "clip.json" in _refusal(lambda: Clip(clip), ClipError)


def test_a_clip_with_a_key_missing(clip: Path) -> None:
    stored = json.loads((clip / "clip.json").read_text())
    del stored["focal_px"]
    (clip / "clip.json").write_text(json.dumps(stored))
    assert "key 'focal_px' is missing" in _refusal(lambda: Clip(clip), ClipError)


def test_a_folder_that_is_no_clip(tmp_path: Path) -> None:
    assert "dfanerf prepare" in _refusal(lambda: Clip(tmp_path), ClipError)


def test_a_clip_with_a_frame_missing_in_the_middle(clip: Path) -> None:
    (clip / "alpha" / "000005.png").unlink()
    assert "alpha/000005.png is missing" in _refusal(lambda: Clip(clip), ClipError)


@pytest.mark.parametrize("name", ["frames/000003.jpg", "alpha/000003.png", "background.png"])
def test_a_clip_with_a_damaged_picture(clip: Path, name: str) -> None:
    opened = Clip(clip)
    path, read = (
        clip / name,
        {"f": lambda: opened.frame(3), "a": lambda: opened.alpha(3), "b": opened.background}[name[0]],
    )
    whole = path.read_bytes()
    for data in (b"", whole[: len(whole) // 2], whole[:10], b"GIF89a" + whole, pickle.dumps([1])):
        path.write_bytes(data)
        assert "missing or damaged picture" in _refusal(read, ClipError) and path.name in _refusal(read, ClipError)
    from PIL import Image

    Image.new("RGB", (SIZE, SIZE + 1)).save(path)
    assert "picture is 32x33, expected 32x32" in _refusal(read, ClipError)


def _write_wave(path: Path, rate_hz: int = 16_000, channels: int = 1, width: int = 2, n: int = 4000) -> Path:
    with wave.open(str(path), "wb") as stored:
        stored.setnchannels(channels)
        stored.setsampwidth(width)
        stored.setframerate(rate_hz)
        stored.writeframes(bytes(n * channels * width))
    return path


def test_a_clip_with_damaged_sound(clip: Path) -> None:
    opened, path = Clip(clip), clip / "audio.wav"
    whole = path.read_bytes()
    for data in (b"", whole[:20], whole[:40], b"RIFF" + bytes(60), pickle.dumps([1])):
        path.write_bytes(data)
        assert "not a readable WAV" in _refusal(opened.audio, ClipError)
    path.write_bytes(whole[:-100])
    assert "truncated (7630 of 7680 samples)" in _refusal(opened.audio, ClipError)
    _write_wave(path, rate_hz=44_100, channels=2)
    assert "44100 Hz, 2 channels, 16 bit; expected 16000 Hz, mono" in _refusal(opened.audio, ClipError)


def _float_wave(path: Path, value: float) -> Path:
    soundfile = pytest.importorskip("soundfile")
    samples = np.zeros(4000, np.float32)
    samples[1234] = value
    soundfile.write(str(path), samples, 16_000, subtype="FLOAT")
    return path


SOUNDS: dict[str, tuple[Callable[[Path], object], str]] = {
    "gone": (lambda path: None, "no such file"),
    "a folder": (lambda path: path.mkdir(), "not a file"),
    "empty": (lambda path: path.write_bytes(b""), "empty"),
    "cut header": (lambda path: path.write_bytes(_write_wave(path).read_bytes()[:30]), "truncated"),
    "cut samples": (lambda path: path.write_bytes(_write_wave(path).read_bytes()[:-2000]), "truncated (6000 of 8000"),
    "no samples": (lambda path: _write_wave(path, n=0), "0 samples"),
    "text": (lambda path: path.write_text("this is no sound\n" * 50), "not a sound"),
    "a pickle": (lambda path: path.write_bytes(pickle.dumps(_Exploding())), "not a sound"),
    "zeros": (lambda path: path.write_bytes(bytes(5000)), "not a sound"),
    "NaN": (lambda path: _float_wave(path, float("nan")), "NaN"),
    "infinity": (lambda path: _float_wave(path, float("inf")), "infinite"),
    "another scale": (lambda path: _float_wave(path, 20_000.0), "reaches 20000"),
    "a rate for no voice": (lambda path: _write_wave(path, rate_hz=1_000), "sampling rate is 1000 Hz"),
}


@pytest.mark.parametrize("name", SOUNDS)
def test_a_damaged_sound(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("soundfile")
    pytest.importorskip("av")
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "voice.wav"
    make, says = SOUNDS[name]
    make(path)
    message = _refusal(lambda: load_audio(path), AudioError)
    assert says in message and "voice.wav" in message
    assert not Path("unpickled").exists()


def test_nothing_is_half_written(tmp_path: Path) -> None:
    path = tmp_path / "figures.json"
    write_json(path, {"frames": 1})
    with pytest.raises(TypeError):
        write_json(path, {"frames": object()})
    with pytest.raises(KeyboardInterrupt), atomic_path(path) as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt
    assert json.loads(path.read_text()) == {"frames": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    assert "cannot be written" in _refusal(lambda: write_json(tmp_path / "file" / "a.json", {}), DfanerfError)
    assert "is a folder" in _refusal(lambda: write_json(tmp_path, {}), DfanerfError)


def _command(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "COLUMNS": "400"}
    command = [sys.executable, "-m", "dfanerf_rt.cli.main", *arguments]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=120, check=False)


def _refused_in_one_line(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 2, done.stderr
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    return lines[0]


@pytest.mark.parametrize("name", ["cut in a tensor", "a pickle"])
def test_evaluate_refuses_a_damaged_avatar(avatar: Path, clip: Path, name: str) -> None:
    damage = next(damage for damage in DAMAGES if damage.name == name)
    damage.apply(avatar, "field.table")
    before = sorted(avatar.parent.rglob("*"))
    done = _command("evaluate", "avatar.safetensors", "clip", "--json", "new/figures.json", cwd=avatar.parent)
    assert damage.says.format(name="field.table") in _refused_in_one_line(done)
    assert sorted(avatar.parent.rglob("*")) == before


def test_evaluate_refuses_a_damaged_clip(avatar: Path, clip: Path) -> None:
    (clip / "frames" / "000007.jpg").unlink()
    before = sorted(avatar.parent.rglob("*"))
    done = _command("evaluate", "avatar.safetensors", "clip", "--out", "pictures", cwd=avatar.parent)
    assert "frames/000007.jpg is missing" in _refused_in_one_line(done)
    assert sorted(avatar.parent.rglob("*")) == before


def test_evaluate_refuses_an_avatar_without_its_sections(avatar: Path, clip: Path) -> None:
    done = _command("evaluate", "avatar.safetensors", "clip", "--json", "figures.json", cwd=avatar.parent)
    assert "avatar.safetensors: tensor" in _refused_in_one_line(done)
    assert not (avatar.parent / "figures.json").exists()


def test_render_refuses_a_damaged_sound(avatar: Path) -> None:
    _write_wave(avatar.parent / "voice.wav")
    (avatar.parent / "voice.wav").write_bytes((avatar.parent / "voice.wav").read_bytes()[:-2000])
    before = sorted(avatar.parent.rglob("*"))
    done = _command("render", "avatar.safetensors", "--audio", "voice.wav", "--out", "out.mp4", cwd=avatar.parent)
    assert "truncated" in _refused_in_one_line(done)
    assert sorted(avatar.parent.rglob("*")) == before


def test_render_and_live_refuse_every_damaged_sound(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("soundfile")
    pytest.importorskip("av")
    from dfanerf_rt.cli import live, main

    for number, (make, says) in enumerate(SOUNDS.values()):
        folder = tmp_path / str(number)
        folder.mkdir()
        make(folder / "voice.wav")
        before = sorted(folder.rglob("*"))
        sound, out = str(folder / "voice.wav"), str(folder / "out.mp4")
        for entry, arguments in ((main.main, ["render", "presenter"]), (live.main, ["presenter"])):
            assert entry([*arguments, "--audio", sound, "--out", out]) == 2
            complaint = capfd.readouterr().err
            assert complaint.count("\n") == 1 and says in complaint and "voice.wav" in complaint
        assert sorted(folder.rglob("*")) == before


def test_train_refuses_a_damaged_clip(clip: Path) -> None:
    write_wav(clip / "audio.wav", np.zeros(16_000))
    (clip / "track.safetensors").write_bytes((clip / "track.safetensors").read_bytes()[:-8])
    before = sorted(clip.parent.rglob("*"))
    done = _command("train", "clip", "--out", "new.safetensors", "--preset", "tiny", cwd=clip.parent)
    assert "track.safetensors: truncated" in _refused_in_one_line(done)
    assert sorted(clip.parent.rglob("*")) == before
