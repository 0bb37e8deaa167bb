"""Loads an avatar into the stages that make it speak, warm and ready for the first sound."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from dfanerf_rt.audio.ring import CHUNK_SAMPLES, SAMPLE_RATE_HZ
from dfanerf_rt.avatar import Avatar
from dfanerf_rt.errors import AvatarError
from dfanerf_rt.files import check_tensors
from dfanerf_rt.live.stages import Motion, Renderer
from dfanerf_rt.motion.recorded import RecordedMotion, StillMotion
from dfanerf_rt.render.session import RenderSession
from dfanerf_rt.sync.model import LIVE_LOOKAHEAD_MS, AudioEncoder, SyncConfig
from dfanerf_rt.sync.stream import StreamingSync

MotionName = Literal["recorded", "still"]


@dataclass
class Chain:
    """The stages between sound and sinks."""

    avatar: Avatar
    encoder: StreamingSync
    motion: Motion
    renderer: Renderer


def load_chain(
    avatar: str | Path,
    size: int | None = None,
    motion: MotionName = "recorded",
    seed: int | None = None,
    device: str = "cpu",
    lookahead_ms: float | None = LIVE_LOOKAHEAD_MS,
) -> Chain:
    """Load an avatar and run each stage once, so that nothing is built or compiled when sound comes.

    Args:
        avatar: a file, or the name of a bundled avatar.
        size: width of the pictures in px; None for the avatar's own.
        motion: replay the recorded head pose and blinks, or hold still.
        seed: where in the recording to begin; None begins where the loop does.
        device: where to render.
        lookahead_ms: how much future sound a frame waits for; None for the most the avatar was trained with.

    Raises:
        AvatarError: the file is damaged, lacks what speaking needs, or was trained for less lookahead.
    """
    loaded = Avatar.load(avatar)
    encoder = load_encoder(loaded, lookahead_ms)
    moving = load_motion(loaded, motion, seed)
    renderer = RenderSession(loaded, device=device, size=size)

    warm = StreamingSync(encoder)
    code = torch.zeros(encoder.config.code_dim)
    for _ in range(SAMPLE_RATE_HZ // (2 * CHUNK_SAMPLES)):
        code = next(iter(warm.push(np.zeros(CHUNK_SAMPLES, np.float32))), code)
    head_pose, eye_code = load_motion(loaded, "still", None).next()
    renderer.fold(torch.cat([code, eye_code]), head_pose)
    renderer.render()
    return Chain(loaded, StreamingSync(encoder), moving, renderer)


def load_encoder(avatar: Avatar, lookahead_ms: float | None = None) -> AudioEncoder:
    """The avatar's audio encoder, which waits for so much future sound; None for the most it was trained with.

    Raises:
        AvatarError: the avatar was never taught to speak, or was trained for less lookahead.
    """
    tensors = avatar.section("sync")
    if not tensors:
        raise AvatarError(f"{avatar.where}: was trained on a silent clip and cannot speak; train it on one with sound")
    encoder = AudioEncoder.from_tensors(tensors, SyncConfig.from_dict(avatar.meta.sync, avatar.where), avatar.where)
    if lookahead_ms is None:
        return encoder
    try:
        return encoder.with_lookahead(lookahead_ms)
    except ValueError as fault:
        raise AvatarError(f"{avatar.where}: {fault}") from fault


def load_motion(avatar: Avatar, name: MotionName, seed: int | None) -> Motion:
    """The avatar's head pose and eyes; raises :class:`AvatarError` where none were recorded."""
    section = avatar.section("motion")
    check_tensors(avatar.where, section, {"recorded_pose": (None, 6), "recorded_eye_code": (None, None)}, AvatarError)
    head_pose, eye_code = section["recorded_pose"], section["recorded_eye_code"]
    if name == "still":
        return StillMotion(head_pose, eye_code)
    moving = RecordedMotion(head_pose, eye_code)
    if seed is not None:
        moving.position = random.Random(seed).randrange(moving.period)
    return moving
