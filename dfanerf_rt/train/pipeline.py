"""From a prepared clip to an avatar: attributes, sync, motion, field, one after another."""

from __future__ import annotations

import hashlib
import json
import platform
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import torch

from dfanerf_rt import __version__
from dfanerf_rt.attributes.model import AttributeModel
from dfanerf_rt.avatar import Avatar, AvatarMeta
from dfanerf_rt.clip.format import Clip
from dfanerf_rt.clip.judge import judgement_of
from dfanerf_rt.clip.judgement import bridged
from dfanerf_rt.errors import ClipError, DfanerfError
from dfanerf_rt.face.model import FaceModel
from dfanerf_rt.files import load_tensors, save_tensors
from dfanerf_rt.sync.model import AudioEncoder, SyncConfig, encode_audio
from dfanerf_rt.threads import one_thread
from dfanerf_rt.train.field import FieldTrainer
from dfanerf_rt.train.field_stage import OnPicture, no_picture, train_field
from dfanerf_rt.train.loop import Interrupted, Progress, ShouldStop
from dfanerf_rt.train.motion_stage import train_personal_motion
from dfanerf_rt.train.presets import Preset
from dfanerf_rt.train.sync import train_sync
from dfanerf_rt.train.team import Team

StageProgress = Callable[[str, float, dict[str, float]], None]
OnNote = Callable[[str], None]
"""Called with a line that the user should read."""
MIN_TRAIN_FRAMES = 40


def no_note(line: str) -> None:
    """The default of ``on_note``."""


def train_avatar(
    clip: Clip,
    work: Path,
    preset: Preset,
    name: str,
    seed: int,
    on_progress: StageProgress,
    should_stop: ShouldStop,
    team: Team | None = None,
    on_picture: OnPicture = no_picture,
    on_note: OnNote = no_note,
) -> Avatar:
    """Run all stages; what is finished is kept in ``work``, so that the same call goes on after a stop.

    Frames that the clip's judgement doubts are left out of what is learned; sound and motion keep their timing.

    Args:
        clip: the prepared clip; frames held out are not looked at.
        work: folder for checkpoints and previews, made if missing.
        preset: sizes and times.
        name: the avatar's name.
        seed: seeds every stage.
        on_progress: receives (stage, share done, scalars).
        should_stop: asked between steps.
        team: this process, its device and its peers; the field is trained on that device, by all together.
        on_picture: given contact sheets of the field.
        on_note: told what is left out or doubted, a line each.

    Raises:
        Interrupted: ``should_stop`` said so; checkpoints are written.
        ClipError: the clip has too few frames to learn from.
        DfanerfError: a checkpoint in ``work`` is damaged or made from something else.
    """
    frames = clip.meta.train_frames
    if len(frames) < MIN_TRAIN_FRAMES:
        raise ClipError(f"{clip.root}: {len(frames)} training frames; at least {MIN_TRAIN_FRAMES} are needed")
    team, judgement = team or Team(), judgement_of(clip)
    warnings = judgement.warnings(frames, clip.meta.fps)
    for line in warnings:
        on_note(line)
    if int(judgement.pictured(frames).sum()) < MIN_TRAIN_FRAMES:
        found = f"{int(judgement.pictured(frames).sum())} training frames can be learned from"
        raise ClipError(f"{clip.root}: {found}; at least {MIN_TRAIN_FRAMES} are needed ({'; '.join(warnings)})")
    tracked = judgement.tracked(frames)
    work.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    fingerprint = _fingerprint(clip, preset, seed)

    def staged(stage: str) -> Progress:
        return lambda fraction, scalars: on_progress(stage, fraction, scalars)

    attributes = person_attributes(clip)
    mouth_code, eye_code = attributes.encode(clip.track.landmarks)
    on_progress("attributes", 1.0, {})

    with team.first_goes_ahead():
        encoder = _sync_stage(
            clip, mouth_code, tracked, attributes, work, fingerprint, preset, seed, staged("sync"), should_stop
        )
        audio_code = None
        samples = clip.audio()
        if encoder is not None and samples is not None:
            audio_code = encode_audio(encoder.live(), samples, clip.meta.n_frames)[frames.start : frames.stop]
        head_pose = bridged(clip.track.head_pose[frames.start : frames.stop], tracked)
        eyes = bridged(eye_code[frames.start : frames.stop], tracked)
        personal, motion_outcome = train_personal_motion(
            head_pose,
            eyes,
            clip.meta.fps,
            audio_code,
            work,
            fingerprint,
            preset.motion,
            seed,
            staged("motion"),
            should_stop,
        )
    condition = torch.cat([mouth_code, eye_code], dim=1)[frames.start : frames.stop]
    trainer = FieldTrainer(
        clip, condition, audio_code, preset.field_config, preset.field_training, seed, judgement, team
    )
    field = train_field(trainer, clip, work, fingerprint, staged("field"), should_stop, on_picture)

    meta = clip.meta
    tensors = {
        **field.state(),
        **attributes.state_tensors("attributes."),
        **(_prefixed("sync.", encoder.state_tensors()) if encoder is not None else {}),
        **personal.state_tensors("motion."),
        "motion.recorded_pose": head_pose,
        "motion.recorded_eye_code": eyes,
        "face.identity": clip.track.identity,
        "background.image": torch.from_numpy(clip.background().copy()),
    }
    record = {
        "version": __version__,
        "clip_sha256": meta.source_sha256,
        "frames": len(frames),
        "left_out": len(frames) - int(judgement.pictured(frames).sum()),
        "seed": seed,
        "processes": team.size,
        "device": team.device.type,
        "motion_gain_nats": motion_outcome,
        "seconds": round(time.monotonic() - started, 1),
        "machine": platform.machine(),
        "fingerprint": fingerprint,
    }
    return Avatar(
        AvatarMeta(
            name=name,
            width=meta.width,
            height=meta.height,
            focal_px=meta.focal_px,
            cx=meta.cx,
            cy=meta.cy,
            fps=meta.fps,
            licence=meta.licence,
            consent=meta.consent,
            field=asdict(preset.field_config),
            sync=asdict(encoder.config) if encoder is not None else {},
            motion=personal.settings,
            training=record,
        ),
        {key: value.detach().cpu().contiguous() for key, value in tensors.items()},
    )


def person_attributes(clip: Clip) -> AttributeModel:
    """The bundled autoencoder (eq. 2) about the neutral face of the person in the clip."""
    model = FaceModel.bundled()
    if len(clip.track.identity) != model.n_identity:
        found = f"{len(clip.track.identity)} identity coefficients, the head model has {model.n_identity}"
        raise ClipError(f"{clip.root}: tracked with another head model ({found}); run 'dfanerf prepare' again")
    neutral = model.landmarks(clip.track.identity, torch.zeros(clip.track.expression.shape[1]))
    return AttributeModel.bundled().for_person(neutral).requires_grad_(False)


def _prefixed(prefix: str, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {prefix + name: value for name, value in tensors.items()}


def discard(work: Path) -> None:
    """Remove the folder of a training that has become an avatar, or shall start anew."""
    shutil.rmtree(work, ignore_errors=True)


def _sync_stage(
    clip: Clip,
    mouth_code: torch.Tensor,
    tracked: torch.Tensor,
    attributes: AttributeModel,
    work: Path,
    fingerprint: str,
    preset: Preset,
    seed: int,
    on_progress: Progress,
    should_stop: ShouldStop,
) -> AudioEncoder | None:
    """The bundled audio encoder, fine-tuned to a clip with sound; kept in ``work`` once trained."""
    samples = clip.audio()
    if samples is None:
        return None
    path = work / "sync.safetensors"
    if path.is_file():
        tensors, metadata = load_tensors(path, DfanerfError)
        if metadata.get("fingerprint") == fingerprint:
            on_progress(1.0, {})
            return AudioEncoder.from_tensors(tensors, SyncConfig.from_dict(metadata["config"], path), path)
    frames = clip.meta.train_frames
    with one_thread():
        encoder = train_sync(
            samples,
            mouth_code[frames.start : frames.stop],
            attributes=attributes,
            tracked=tracked,
            init=AudioEncoder.bundled(),
            budget_s=preset.sync_budget_s,
            seed=seed,
            on_progress=on_progress,
            should_stop=should_stop,
        )
    if should_stop():
        raise Interrupted("stopped while learning the lips; the same command begins that stage again")
    save_tensors(path, encoder.state_tensors(), {"fingerprint": fingerprint, "config": asdict(encoder.config)})
    return encoder


def _fingerprint(clip: Clip, preset: Preset, seed: int) -> str:
    """Names the clip and the settings: a checkpoint goes on only under the same ones."""
    settings = json.dumps(
        {"clip": clip.meta.source_sha256, "frames": clip.meta.n_frames, "seed": seed, **asdict(preset)}
    )
    track = (clip.root / "track.safetensors").read_bytes()
    return hashlib.sha256(settings.encode() + track).hexdigest()[:16]
