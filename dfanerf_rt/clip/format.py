"""The prepared clip: a folder of frames, mattes, sound and 3DMM track that every stage reads.

``clip.json``, ``audio.wav`` (16 kHz mono, absent for a silent clip), ``frames/%06d.jpg``, ``alpha/%06d.png``,
``background.png`` and ``track.safetensors``. The module needs torch, numpy, safetensors and Pillow alone.
"""

from __future__ import annotations

import wave
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from dfanerf_rt.errors import ClipError
from dfanerf_rt.face.track import Track
from dfanerf_rt.files import (
    from_json_object,
    load_tensors,
    parse_json_object,
    save_tensors,
    write_json,
)

CLIP_SCHEMA = "dfanerf-clip/1"
TRACK_SCHEMA = "dfanerf-track/1"
SAMPLE_RATE_HZ = 16_000

__all__ = ["Clip", "ClipMeta", "ClipWriter", "Track", "read_wav", "write_wav"]


@dataclass(frozen=True)
class ClipMeta:
    """What ``clip.json`` says. Camera: OpenCV, square pixels; pixel centres lie at +0.5."""

    n_frames: int
    width: int
    height: int
    focal_px: float
    cx: float
    cy: float
    fps: float = 25.0
    face_model: str = "bundled"
    """"bundled", or the name and hash of the user's own 3DMM."""
    n_test_frames: int = 0
    """The last frames of the clip are held out of training (the convention is the last 1/11)."""
    source: str = ""
    """File name of the source video, without its folder."""
    source_sha256: str = ""
    consent: str = "not stated"
    """Who agreed to be an avatar, and how; copied into the avatar."""
    licence: str = "not stated"
    extra: dict[str, Any] = field(default_factory=dict)
    """Statistics of the preparation (reprojection error, tracked frames)."""

    @property
    def train_frames(self) -> range:
        """Indices of the frames that training may see."""
        return range(self.n_frames - self.n_test_frames)

    @property
    def test_frames(self) -> range:
        """Indices of the frames held out."""
        return range(self.n_frames - self.n_test_frames, self.n_frames)


class Clip:
    """A prepared clip on disk; frames are read when asked for.

    Raises:
        ClipError: the folder is not a clip, of another schema, or a part is missing or damaged.
    """

    def __init__(self, root: Path) -> None:
        self.root = Path(root)
        self.meta = _read_meta(self.root)
        path = self.root / "track.safetensors"
        tensors, metadata = load_tensors(path, ClipError)
        if metadata.get("schema") != TRACK_SCHEMA:
            raise ClipError(f"{path}: schema is {metadata.get('schema')!r}, expected {TRACK_SCHEMA!r}")
        missing = [entry.name for entry in fields(Track) if entry.name not in tensors]
        if missing:
            raise ClipError(f"{path}: tensor '{missing[0]}' is missing")
        self.track = Track(**{entry.name: tensors[entry.name] for entry in fields(Track)})
        self.track.validate(path, self.meta.n_frames)
        for folder, suffix in (("frames", "jpg"), ("alpha", "png")):
            wanted = [f"{index:06d}.{suffix}" for index in range(self.meta.n_frames)]
            there = {path.name for path in (self.root / folder).glob(f"*.{suffix}")}
            missing = [name for name in wanted if name not in there]
            if missing:
                raise ClipError(f"{self.root}: {folder}/{missing[0]} is missing; run 'dfanerf prepare' again")

    def frame(self, index: int) -> np.ndarray:
        """Picture ``index``: (H, W, 3) uint8 sRGB."""
        return self._image(f"frames/{index:06d}.jpg", "RGB")

    def alpha(self, index: int) -> np.ndarray:
        """Matte ``index``: (H, W) uint8, 255 where the person is."""
        return self._image(f"alpha/{index:06d}.png", "L")

    def background(self) -> np.ndarray:
        """The static background: (H, W, 3) uint8 sRGB."""
        return self._image("background.png", "RGB")

    def audio(self) -> np.ndarray | None:
        """The sound: (N,) float32 in [-1, 1] at 16 kHz mono, or None for a silent clip."""
        path = self.root / "audio.wav"
        return read_wav(path) if path.is_file() else None

    def _image(self, name: str, mode: str) -> np.ndarray:
        path = self.root / name
        try:
            with Image.open(path, formats=("JPEG", "PNG")) as picture:
                array = np.asarray(picture.convert(mode))
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as fault:
            raise ClipError(f"{path}: missing or damaged picture ({fault})") from fault
        if array.shape[:2] != (self.meta.height, self.meta.width):
            raise ClipError(
                f"{path}: picture is {array.shape[1]}x{array.shape[0]}, expected {self.meta.width}x{self.meta.height}"
            )
        return array


class ClipWriter:
    """Writes a clip into a hidden sibling folder, and renames it into place in :meth:`finish`.

    Used as a context manager: leaving it without :meth:`finish` (an error, Ctrl-C) removes everything written.
    """

    def __init__(self, root: Path) -> None:
        self.root = Path(root)
        if self.root.exists() and (not self.root.is_dir() or any(self.root.iterdir())):
            raise ClipError(f"{self.root}: exists already; choose another --out or remove it first")
        self.partial = self.root.parent / f".{self.root.name}.partial"

    def __enter__(self) -> ClipWriter:
        import shutil

        shutil.rmtree(self.partial, ignore_errors=True)
        for name in ("frames", "alpha"):
            (self.partial / name).mkdir(parents=True)
        return self

    def __exit__(self, *exc: object) -> None:
        import shutil

        shutil.rmtree(self.partial, ignore_errors=True)

    def write_frame(self, index: int, frame: np.ndarray, alpha: np.ndarray) -> None:
        """Store one picture (H, W, 3) uint8 and its matte (H, W) uint8."""
        Image.fromarray(frame).save(self.partial / "frames" / f"{index:06d}.jpg", quality=95, subsampling=0)
        Image.fromarray(alpha).save(self.partial / "alpha" / f"{index:06d}.png", compress_level=1)

    def write_background(self, background: np.ndarray) -> None:
        """Store the static background (H, W, 3) uint8."""
        Image.fromarray(background).save(self.partial / "background.png")

    def write_audio(self, samples: np.ndarray) -> None:
        """Store the sound: (N,) float32 in [-1, 1] at 16 kHz."""
        write_wav(self.partial / "audio.wav", samples)

    def finish(self, meta: ClipMeta, track: Track) -> Clip:
        """Write track and metadata, move the folder into place, and open it."""
        track.validate(self.root / "track.safetensors", meta.n_frames)
        save_tensors(self.partial / "track.safetensors", track.tensors(), {"schema": TRACK_SCHEMA})
        write_json(self.partial / "clip.json", {"schema": CLIP_SCHEMA, **asdict(meta)})
        if self.root.is_dir():
            self.root.rmdir()
        self.partial.rename(self.root)
        return Clip(self.root)


def read_wav(path: Path) -> np.ndarray:
    """Read a 16 kHz mono 16-bit WAV: (N,) float32 in [-1, 1].

    Raises:
        ClipError: damaged, or of another rate, width or channel count.
    """
    try:
        with wave.open(str(path), "rb") as stored:
            found = (stored.getframerate(), stored.getnchannels(), stored.getsampwidth())
            n_samples = stored.getnframes()
            data = stored.readframes(n_samples)
    except (wave.Error, EOFError, OSError, RuntimeError) as fault:  # RuntimeError: a chunk longer than the file
        raise ClipError(f"{path}: not a readable WAV file ({str(fault) or 'truncated'})") from fault
    if found != (SAMPLE_RATE_HZ, 1, 2):
        raise ClipError(
            f"{path}: {found[0]} Hz, {found[1]} channels, {8 * found[2]} bit; expected 16000 Hz, mono, 16 bit"
        )
    if len(data) != 2 * n_samples:
        raise ClipError(f"{path}: truncated ({len(data) // 2} of {n_samples} samples)")
    return np.frombuffer(data, "<i2").astype(np.float32) / 32768.0


def write_wav(path: Path, samples: np.ndarray) -> None:
    """Write (N,) float32 in [-1, 1] as 16 kHz mono 16-bit WAV."""
    with wave.open(str(path), "wb") as stored:
        stored.setnchannels(1)
        stored.setsampwidth(2)
        stored.setframerate(SAMPLE_RATE_HZ)
        stored.writeframes((np.clip(samples, -1.0, 32767 / 32768) * 32768.0).round().astype("<i2").tobytes())


def _read_meta(root: Path) -> ClipMeta:
    path = root / "clip.json"
    if not path.is_file():
        raise ClipError(f"{root}: not a prepared clip (no clip.json); make one with 'dfanerf prepare VIDEO --out CLIP'")
    stored = parse_json_object(path.read_bytes(), f"{path}: damaged JSON", ClipError)
    schema = stored.pop("schema", None)
    if schema != CLIP_SCHEMA:
        raise ClipError(f"{path}: schema is {schema!r}, expected {CLIP_SCHEMA!r}")
    meta = from_json_object(ClipMeta, stored, str(path), ClipError)
    for name in ("n_frames", "width", "height", "focal_px", "fps"):
        value = getattr(meta, name)
        if value <= 0:
            raise ClipError(f"{path}: {name} is {value!r}, expected a positive number")
    if not 0 <= meta.n_test_frames < meta.n_frames:
        raise ClipError(f"{path}: n_test_frames is {meta.n_test_frames}, expected 0 to {meta.n_frames - 1}")
    return meta
