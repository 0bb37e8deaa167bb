"""Head pose and eyes over time, and the 3DMM parameter files of AD-NeRF-style trackers that hold a head pose.

Such a file (``track_params.pt``) is a dictionary with ``euler`` (T, 3), ``trans`` (T, 3), ``focal``, and coefficients
of the Basel face model that are not needed here. What its numbers mean was established thus:

- *Certain.* AD-NeRF's published transforms of frames 7272 to 7999 are the last 728 frames of the 8,000 that we have.
  Of all orders, signs and inverses one fits: ``R = Rx(e0) Ry(e1) Rz(-e2)`` in **radians** takes the head to a camera
  with OpenGL's axes (x right, y up, looking along -z), and ``trans / 10`` is the head in that camera; their inverse is
  the published matrix to 1e-6 (the next best convention is off by 0.7 degrees on average, 2.7 at most). Public code of
  these trackers writes the same product.
- *Certain.* Angles are not unique: the optimiser begins anywhere, so that the same file holds 0.06 and 3.17 for nearly
  the same pose. Only the product means something, and that is what is read.
- *Nominal.* Metres. A tenth of the file's unit is the metre of the Basel face model, and the distance follows from a
  focal length that the tracker guessed (1200 px for a picture of 450 px). The true scale of the translation may be
  10 to 20 % off. Measures relative to the range of the translation do not depend on it.
- *Nominal.* The origin is the Basel face model's, somewhere inside the head, not the midpoint between the ears:
  a turn of the head moves it by an arm of centimetres. It is kept as it is.
- *Not in the file.* The frame rate (these trackers make videos 25 fps), and eyes: there is no eye code.
"""

from __future__ import annotations

import pickle
import struct
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from dfanerf_rt.errors import ClipError, ShapeError
from dfanerf_rt.face.rotation import rotation_matrix, rotation_vector

FPS = 25.0
EYE_DIM = 16
_HELD_OUT = 11
_MOST_RADIANS = 4 * torch.pi
"""Beyond this no optimiser wanders; degrees would."""
_FROM_OPENGL = torch.tensor([1.0, -1.0, -1.0], dtype=torch.float64)
"""Half a turn about x: it takes OpenGL's axes to OpenCV's, of the camera and of the head alike."""


@dataclass(frozen=True)
class MotionTrack:
    """How a head moved.

    Raises:
        ShapeError: another shape, no frame at all, or a number that is not finite.
    """

    head_pose: Tensor
    """(T, 6) float32 h: rotation vector in radians, translation in metres, head to camera."""
    eye_code: Tensor | None = None
    """(T, 16) float32 f_e of the bundled autoencoder, or None where eyes were not tracked."""
    fps: float = FPS

    def __post_init__(self) -> None:
        n_frames = len(self.head_pose) if self.head_pose.ndim else 0
        for name, found, width in (("head_pose", self.head_pose, 6), ("eye_code", self.eye_code, EYE_DIM)):
            if found is None:
                continue
            if n_frames == 0 or tuple(found.shape) != (n_frames, width):
                raise ShapeError(f"{name} has shape {tuple(found.shape)}, expected ({n_frames or 'T'}, {width})")
            if not bool(torch.isfinite(found).all()):
                raise ShapeError(f"{name} holds NaN or infinity")

    def __len__(self) -> int:
        return len(self.head_pose)

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return len(self) / self.fps

    def cut(self, frames: slice) -> MotionTrack:
        """Some frames of it."""
        return MotionTrack(self.head_pose[frames], None if self.eye_code is None else self.eye_code[frames], self.fps)

    def split(self) -> tuple[MotionTrack, MotionTrack]:
        """The first ten elevenths to learn from, and the rest, held out, as AD-NeRF and the paper split a clip."""
        n_train = len(self) * (_HELD_OUT - 1) // _HELD_OUT
        return self.cut(slice(0, n_train)), self.cut(slice(n_train, None))


def load_track(path: Path, fps: float = FPS) -> MotionTrack:
    """Read the head pose of a 3DMM parameter file (``torch.save`` of a dictionary; no code in it is run).

    Args:
        path: a ``track_params.pt``.
        fps: of the video that was tracked; the file does not say.

    Returns:
        The track in this package's conventions; see the module for what is certain about them.

    Raises:
        ClipError: missing, damaged, or not such a file; says what is wrong with it.
    """
    path = Path(path)
    euler, trans = _read(path)
    return MotionTrack(pose_of_parameters(euler, trans).float(), None, fps)


def pose_of_parameters(euler: Tensor, trans: Tensor) -> Tensor:
    """Head poses of the trackers' parameters.

    Args:
        euler: (T, 3) radians.
        trans: (T, 3) tenths of a metre, OpenGL's axes.

    Returns:
        (T, 6) float64: rotation vector in radians, translation in metres, head to camera, OpenCV's axes.
    """
    signed = euler.double() * torch.tensor([1.0, 1.0, -1.0], dtype=torch.float64)
    about_x, about_y, about_z = (rotation_matrix(torch.diag_embed(signed)[:, axis]) for axis in range(3))
    rotation = rotation_vector(about_x @ about_y @ about_z)
    return torch.cat([rotation * _FROM_OPENGL, trans.double() / 10 * _FROM_OPENGL], dim=1)


def _read(path: Path) -> tuple[Tensor, Tensor]:
    """The tensors ``euler`` and ``trans``, each (T, 3), finite, and such as a tracker writes them."""
    if not path.is_file():
        raise ClipError(f"{path}: is a folder, expected a file" if path.is_dir() else f"{path}: no such file")
    try:
        stored = torch.load(path, map_location="cpu", weights_only=True)
    except (
        *(OSError, RuntimeError, ValueError, EOFError, KeyError, IndexError, AttributeError, TypeError),
        *(MemoryError, OverflowError, AssertionError, pickle.UnpicklingError, struct.error),
    ) as fault:
        first = (str(fault).splitlines() or [""])[0][:80]
        raise ClipError(f"{path}: damaged, or not a 3DMM parameter file ({type(fault).__name__}: {first})") from fault
    for name in ("euler", "trans"):
        found = stored.get(name) if isinstance(stored, dict) else None
        if not isinstance(found, Tensor) or not found.is_floating_point():
            raise ClipError(f"{path}: no tensor {name!r} of real numbers; not a 3DMM parameter file")
        if found.ndim != 2 or found.shape[1] != 3 or not len(found):
            raise ClipError(f"{path}: {name!r} has shape {tuple(found.shape)}, expected (T, 3)")
        if not bool(torch.isfinite(found).all()):
            raise ClipError(f"{path}: {name!r} holds NaN or infinity")
    euler, trans = stored["euler"], stored["trans"]
    if len(euler) != len(trans):
        raise ClipError(f"{path}: {len(euler)} frames in 'euler' and {len(trans)} in 'trans'")
    if float(euler.abs().max()) > _MOST_RADIANS:
        raise ClipError(f"{path}: 'euler' reaches {float(euler.abs().max()):.0f}, expected angles in radians")
    if float(trans[:, 2].max()) >= 0:
        raise ClipError(f"{path}: the head is behind the camera ('trans' z {float(trans[:, 2].max()):g}, expected < 0)")
    return euler, trans
