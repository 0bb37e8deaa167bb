"""From a video to a prepared clip: look, check, fit the face, bring the sound in step, cut out the person, write."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from dfanerf_rt.clip.contact_sheet import SheetBuilder, chosen_frames
from dfanerf_rt.clip.crop import Crop, choose_crop
from dfanerf_rt.clip.format import Clip, ClipMeta, ClipWriter
from dfanerf_rt.clip.judge import FrameJudge
from dfanerf_rt.clip.judgement import GOOD, Judgement
from dfanerf_rt.clip.lip_sync import sound_lateness, sound_report, to_move_ms
from dfanerf_rt.clip.matting import mattes
from dfanerf_rt.clip.observe import Observed, check_observed, observe, whole_faces
from dfanerf_rt.clip.video import probe_video, read_audio, read_video
from dfanerf_rt.errors import ClipError
from dfanerf_rt.face.fit import FitConfig, FitResult, View, fit_track
from dfanerf_rt.face.model import FaceModel
from dfanerf_rt.face.track import Track
from dfanerf_rt.sync.model import CODES_PER_SECOND

Progress = Callable[[float, str], None]
HELD_OUT_SHARE = 1 / 11
MAX_LATE_MS = 5000
_OBSERVED, _FITTED, _CUT_OUT = 0.2, 0.5, 0.97
"""Shares of the progress at which each stage ends."""


@dataclass(frozen=True)
class PrepareConfig:
    """Settings of the preparation."""

    size: int | None = None
    """Side of the clip's square frames in pixels; None: 512, or less where the video has less."""
    audio: bool = True
    """False prepares a silent clip from a video with or without sound."""
    sound_late_ms: float | None = None
    """By how much the sound of the video is late; None finds out by the lips, 0 leaves it as it is."""
    fps: float = 25.0
    consent: str = "not stated"
    licence: str = "not stated"
    fit: FitConfig = field(default_factory=FitConfig)


@dataclass(frozen=True)
class PrepareReport:
    """What a preparation made, and how good the track is."""

    clip: Clip
    n_frames: int
    n_tracked: int
    median_error_px: float
    """Median reprojection error over all landmarks of the tracked frames, at a width of 512 px; the fit includes
    small constant offsets of this person's landmarks from the face model's."""
    p95_error_px: float
    model_error_px: float
    """The median without those offsets: the face model alone."""
    focal_px: float
    background_seen: float
    """Share of the background's pixels that were uncovered in some frame."""
    sound: str
    """What was found of sound and lips, and done: a line to read."""
    judgement: Judgement
    """Which frames are left out of what is learned, and why; kept with the clip."""
    seconds: float


def prepare(
    video: Path,
    out: Path,
    config: PrepareConfig | None = None,
    progress: Progress | None = None,
    model: FaceModel | None = None,
) -> PrepareReport:
    """Prepare a clip from a video of one person.

    Args:
        video: any file that PyAV reads.
        out: folder to write; it appears only when everything is done.
        config: settings.
        progress: called with a share in [0, 1] and what is being done.
        model: the 3DMM; None takes the bundled one.

    Raises:
        ClipError: the video or ``out`` cannot be used; one line that says why and how to mend it.
        FaceModelError: the face model cannot be used.
    """
    config = config or PrepareConfig()
    progress = progress or (lambda share, message: None)
    started = time.monotonic()
    if config.size is not None and not 64 <= config.size <= 2048:
        raise ClipError(f"size is {config.size}; 64 to 2048 pixels are expected")
    if config.sound_late_ms is not None and not abs(config.sound_late_ms) <= MAX_LATE_MS:
        raise ClipError(f"sound_late_ms is {config.sound_late_ms:g}; {-MAX_LATE_MS} to {MAX_LATE_MS} are expected")
    video = Path(video)
    with ClipWriter(Path(out)) as writer:
        if config.audio and not probe_video(video).has_audio:
            raise ClipError(f"{video}: no sound track; choose a video with sound or pass --no-audio")
        model_name = "bundled" if model is None else _name_of(model)
        model = model or FaceModel.bundled()
        observed = observe(video, config.fps, lambda share: progress(_OBSERVED * share, "looking for the face"))
        check_observed(observed)
        faces = whole_faces(observed)
        crop = choose_crop(faces, observed.info.width, observed.info.height, config.size)
        landmarks = crop.points(faces)
        n_frames = len(landmarks)
        # fitted before the pictures are cut out, because the fit says which frames are worth showing
        fitted = _fit(video, observed, crop, landmarks, model, config, progress)
        late_ms, sound = _write_sound(video, fitted.track, model, config, writer) if config.audio else (0.0, "no sound")
        errors = fitted.error_px[~fitted.error_px.isnan()].numpy()
        median, p95 = (float(value) for value in np.quantile(errors, (0.5, 0.95)))
        model_error = float(fitted.model_error_px[~fitted.model_error_px.isnan()].median())
        n_tracked = int(fitted.track.confidence.sum())
        meta = ClipMeta(
            n_frames=n_frames,
            width=crop.size,
            height=crop.size,
            focal_px=fitted.focal_px,
            cx=_view(observed, crop).cx,
            cy=_view(observed, crop).cy,
            fps=config.fps,
            face_model=model_name,
            n_test_frames=round(n_frames * HELD_OUT_SHARE),
            source=video.name,
            source_sha256=_hash(video),
            consent=config.consent,
            licence=config.licence,
            extra={
                "tracked_frames": n_tracked,
                "median_error_px_at_512": median,
                "p95_error_px_at_512": p95,
                "model_error_px_at_512": model_error,
                "sound_late_ms": round(late_ms, 1),
                "source_fps": observed.info.source_fps,
                "crop_xy_side": [crop.x, crop.y, crop.side],
            },
        )
        sheet, judge = SheetBuilder(chosen_frames(fitted.track), fitted, model), FrameJudge(meta, fitted.track)
        background_seen, judgement = _cut_out(video, crop, meta, writer, sheet, judge, progress)
        sheet.save(writer.partial / "contact_sheet.jpg")
        judgement.save(writer.partial)
        meta.extra.update(background_seen=background_seen, left_out=judgement.counts())
        clip = writer.finish(meta, fitted.track)
    seconds = time.monotonic() - started
    progress(1.0, "done")
    return PrepareReport(
        clip,
        n_frames,
        n_tracked,
        median,
        p95,
        model_error,
        fitted.focal_px,
        background_seen,
        sound,
        judgement,
        seconds,
    )


def _view(observed: Observed, crop: Crop) -> View:
    # the lens's axis meets the middle of the whole picture, not of the crop
    cx = (0.5 * observed.info.width - crop.x) * crop.scale
    cy = (0.5 * observed.info.height - crop.y) * crop.scale
    return View(cx, cy, float(crop.size))


def _fit(
    video: Path,
    observed: Observed,
    crop: Crop,
    landmarks: np.ndarray,
    model: FaceModel,
    config: PrepareConfig,
    progress: Progress,
) -> FitResult:
    short_side = min(observed.info.width, observed.info.height) * crop.scale

    def report(share: float, message: str) -> None:
        progress(_OBSERVED + (_FITTED - _OBSERVED) * share, f"fitting {message}")

    def pictures() -> Iterator[np.ndarray]:
        return (crop.apply(frame) for frame in read_video(video, config.fps)[1])

    return fit_track(model, landmarks, _view(observed, crop), short_side, config.fit, report, pictures)


def _write_sound(
    video: Path, track: Track, model: FaceModel, config: PrepareConfig, writer: ClipWriter
) -> tuple[float, str]:
    """Write the sound, in step with the lips; returns by how much it was late, milliseconds, and a line about it."""
    n_frames, late_ms = len(track.confidence), config.sound_late_ms or 0.0
    samples = read_audio(video, n_frames, config.fps, late_ms)
    if config.sound_late_ms is not None:
        line = f"sound: taken to be {late_ms:g} ms late, as you said"
    elif config.fps != CODES_PER_SECOND:
        line = f"sound: left as it is; lips are compared at {CODES_PER_SECOND:g} frames a second alone"
    else:
        found = sound_lateness(samples, track, model)
        late_ms = to_move_ms(found)
        line = sound_report(found, late_ms)
        if late_ms:
            samples = read_audio(video, n_frames, config.fps, late_ms)
    writer.write_audio(samples)
    return late_ms, line


def _cut_out(
    video: Path,
    crop: Crop,
    meta: ClipMeta,
    writer: ClipWriter,
    sheet: SheetBuilder,
    judge: FrameJudge,
    progress: Progress,
) -> tuple[float, Judgement]:
    """Write frames, mattes and background; returns the share of the background that was seen, and the judgement."""
    frames = (crop.apply(frame) for frame in read_video(video, meta.fps)[1])
    for index, (frame, alpha) in enumerate(mattes(frames)):
        progress(_FITTED + (_CUT_OUT - _FITTED) * index / meta.n_frames, "cutting out the person")
        writer.write_frame(index, frame, alpha)
        sheet.add(index, frame, alpha)
        judge.add(index, frame, alpha)
    progress(_CUT_OUT, "background")
    background, seen = judge.views.background(judge.faults() == GOOD)
    writer.write_background(background)
    sheet.background = background
    return seen, judge.finish(background)


def _name_of(model: FaceModel) -> str:
    digest = hashlib.sha256()
    for tensor in (model.mean, model.id_basis, model.exp_basis):
        digest.update(tensor.contiguous().cpu().numpy().tobytes())
    return f"{model.name} {digest.hexdigest()[:16]}"


def _hash(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
