"""Lips of real faces: how predicted lips agree with tracked ones, and whether a shift of the sound is found by them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from lips_measures import Predict, Scores, mean_scores, opening_and_width, pooled
from numpy.typing import NDArray
from torch import Tensor

from dfanerf_rt.attributes.model import MOUTH_LANDMARKS, AttributeModel, mouth_opening
from dfanerf_rt.clip.format import Clip
from dfanerf_rt.clip.prepare import PrepareConfig, prepare
from dfanerf_rt.errors import ClipError
from dfanerf_rt.evaluate.lips import correlation
from dfanerf_rt.sync.model import AudioEncoder
from dfanerf_rt.sync.offset import best_offset, offset_errors, similarity_matrix
from dfanerf_rt.train.pipeline import person_attributes
from dfanerf_rt.train.sync import train_sync
from dfanerf_rt.train.sync_corpus import SyncTraining, resting_code

VIDEOS = ("video/anchor_20s.mp4", "video/speaker_5s.mp4", "grid/*.mpg")
"""In the folder of shared data. The first is long enough to be learned from."""
SIZE_PX = 256
MAX_LAG_FRAMES = 3
IN_SYNC_FRAMES = 1
SYNC_MEASURES = ("in_sync", "offset_frames", "confidence")
"""What measures of the offset begin with; they need codes that lips can be compared with, but none to decode."""


@dataclass(frozen=True)
class Face:
    """A tracked clip of a person who speaks."""

    name: str
    attributes: AttributeModel
    samples: NDArray[np.float32]
    mouth_code: Tensor
    """(T, mouth_dim) of all frames."""
    opening_mm: NDArray[np.float32]
    """(T,) of the tracked landmarks themselves."""
    n_train: int
    """Frames before those held out."""

    @property
    def rest(self) -> Tensor:
        """Code (mouth_dim,) of the closed mouth in the training frames."""
        return resting_code(self.attributes, self.mouth_code[: self.n_train])


def data_folder(shared: Path | None) -> Path:
    """The folder with ``video`` and ``grid`` in it.

    Raises:
        ClipError: says why there is none.
    """
    if shared is None:
        raise ClipError("no folder of real clips was given (--shared)")
    folder = shared / "data" if (shared / "data").is_dir() else shared
    if not (folder / "video").is_dir():
        raise ClipError(f"{shared.name}: holds no folder of videos")
    return folder


def load_faces(shared: Path | None, work: Path, only: tuple[str, ...] = VIDEOS) -> list[Face]:
    """Open the prepared clips in ``work``; prepare those that are not there.

    Raises:
        ClipError: no real clips are there, or one cannot be prepared or used.
    """
    folder = data_folder(shared)
    videos = [video for pattern in only for video in sorted(folder.glob(pattern))]
    if not videos:
        raise ClipError(f"{folder.name}: holds none of {', '.join(only)}")
    return [open_face(_clip(video, work / "clips" / video.stem), video.name) for video in videos]


def face_scores(face: Face, predict: Predict) -> Scores:
    """How lips predicted from the sound of a clip agree with the tracked ones.

    ``opening_corr_lag_L`` compares a predicted frame with the one tracked L frames later. ``in_sync`` is the share of
    two-second windows, at five shifts of the sound, whose offset is found to a frame; ``in_sync_own`` takes it from
    the offset found on the whole unshifted clip, for a clip may have been cut with one of its own.
    """
    n_frames = len(face.opening_mm)
    code = predict(face.samples, n_frames)
    opening, _ = opening_and_width(code, face.attributes)
    scores: Scores = {"opening_corr": (correlation(opening, face.opening_mm), n_frames)}
    for lag in range(-MAX_LAG_FRAMES, MAX_LAG_FRAMES + 1):
        found = opening[max(0, -lag) : n_frames - max(0, lag)]
        tracked = face.opening_mm[max(0, lag) : n_frames - max(0, -lag)]
        scores[f"opening_corr_lag_{lag}"] = correlation(found, tracked), len(found)
    return {**scores, **sync_scores(code, face)}


def sync_scores(code: Tensor, face: Face) -> Scores:
    """The offset of the whole clip, and the windows whose shift is found, by any audio code (T, mouth_dim)."""
    judge = AudioEncoder.bundled()
    with torch.no_grad():
        sound, lips = judge.comparable(code), judge.comparable(face.mouth_code)
        whole = best_offset(similarity_matrix(sound, lips))
    errors = offset_errors(sound, lips)
    return {
        "in_sync": (_share(errors), len(errors)),
        "in_sync_own": (_share(errors - whole.frames), len(errors)),
        "offset_frames": (float(whole.frames), len(code)),
        "confidence": (whole.confidence, len(code)),
    }


def all_faces(faces: list[Face], predict: Predict) -> dict[str, Scores]:
    """Scores of every clip, and "all": the mean over clips, with windows pooled over clips beside it."""
    scores = {face.name: face_scores(face, predict) for face in faces}
    each = list(scores.values())
    together = {f"{name}_pooled": pooled(each, name) for name in ("in_sync", "in_sync_own")}
    return {**scores, "all": {**mean_scores(each), **together}}


def fine_tune(face: Face, encoder: AudioEncoder, seed: int, training: SyncTraining | None) -> AudioEncoder:
    """The encoder after it has learned from the training frames of a clip, as ``dfanerf train`` lets it."""
    return train_sync(
        face.samples, face.mouth_code[: face.n_train], face.attributes, training=training, init=encoder, seed=seed
    )


def held_out_scores(face: Face, predict: Predict) -> Scores:
    """Correlation of the opening on the frames held out, and how far it swings, as a share of the tracked one's."""
    opening, _ = opening_and_width(predict(face.samples, len(face.opening_mm)), face.attributes)
    found, tracked = opening[face.n_train :], face.opening_mm[face.n_train :]
    return {
        "opening_corr": (correlation(found, tracked), len(found)),
        "amplitude": (float(found.std() / tracked.std()), len(found)),
    }


def _clip(video: Path, folder: Path) -> Clip:
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        # As they were cut: the offset that the encoder finds in them is one of the figures.
        return prepare(video, folder, PrepareConfig(size=SIZE_PX, sound_late_ms=0.0)).clip
    clip = Clip(folder)
    if clip.meta.source_sha256 != hashlib.sha256(video.read_bytes()).hexdigest():
        raise ClipError(f"{folder}: was prepared from another video than {video.name}; remove it first")
    return clip


def open_face(clip: Clip, name: str) -> Face:
    """A prepared clip whose sound is to be followed.

    Raises:
        ClipError: it is silent.
    """
    attributes = person_attributes(clip)
    samples = clip.audio()
    if samples is None:
        raise ClipError(f"{name}: was prepared without its sound; remove {clip.root} first")
    with torch.no_grad():
        mouth_code, _ = attributes.encode(clip.track.landmarks)
    opening = mouth_opening(clip.track.landmarks[:, MOUTH_LANDMARKS]).numpy() * 1e3
    return Face(name, attributes, samples, mouth_code.clone(), opening, len(clip.meta.train_frames))


def _share(errors: NDArray[np.int64]) -> float:
    return float((np.abs(errors) <= IN_SYNC_FRAMES).mean())
