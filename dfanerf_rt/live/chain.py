"""Loads an avatar into the stages that make it speak, warm and ready for the first sound."""

from __future__ import annotations

import math
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
from dfanerf_rt.motion.generator import MotionGenerator
from dfanerf_rt.motion.person import PersonalMotion
from dfanerf_rt.motion.recorded import RecordedMotion, StillMotion
from dfanerf_rt.render.session import RenderSession
from dfanerf_rt.sync.model import LIVE_LOOKAHEAD_MS, AudioEncoder, SyncConfig
from dfanerf_rt.sync.stream import StreamingSync

MOST_DEG = 60.0
"""Nobody looks further aside by turning the head."""
MotionName = Literal["generated", "recorded", "still"]


@dataclass
class Chain:
    """The stages between sound and sinks."""

    avatar: Avatar
    encoder: StreamingSync
    motion: Motion
    renderer: Renderer
    motion_name: MotionName
    """What ``motion`` is."""


@dataclass(frozen=True)
class MotionControls:
    """How generated motion is directed; see :class:`~dfanerf_rt.motion.generator.MotionGenerator`."""

    temperature: float = 1.0
    look_at: tuple[float, float] | None = None
    hold_still: bool = False


def load_chain(
    avatar: str | Path,
    size: int | None = None,
    motion: MotionName | None = None,
    seed: int | None = None,
    device: str = "cpu",
    lookahead_ms: float | None = LIVE_LOOKAHEAD_MS,
    controls: MotionControls | None = None,
) -> Chain:
    """Load an avatar and run each stage once, so that nothing is built or compiled when sound comes.

    Args:
        avatar: a file, or the name of a bundled avatar.
        size: width of the pictures in px; None for the avatar's own.
        motion: generate head pose and blinks, replay the recorded ones, or hold still; None generates them where the
            avatar can, and replays them where it cannot.
        seed: of what is generated, 0 where it is None; or where in the recording to begin, where the loop does for
            None.
        device: where to render.
        lookahead_ms: how much future sound a frame waits for; None for the most the avatar was trained with.
        controls: of generated motion.

    Raises:
        AvatarError: the file is damaged, lacks what speaking needs, was trained for less lookahead, or ``motion`` is
            none that it has.
    """
    loaded = Avatar.load(avatar)
    encoder = load_encoder(loaded, lookahead_ms)
    name = motion or default_motion(loaded)
    moving = load_motion(loaded, name, seed, controls)
    renderer = RenderSession(loaded, device=device, size=size)

    warm = StreamingSync(encoder)
    code = torch.zeros(encoder.config.code_dim)
    for _ in range(SAMPLE_RATE_HZ // (2 * CHUNK_SAMPLES)):
        code = next(iter(warm.push(np.zeros(CHUNK_SAMPLES, np.float32))), code)
    head_pose, eye_code = load_motion(loaded, "still").next()
    renderer.fold(torch.cat([code, eye_code]), head_pose)
    renderer.render()
    return Chain(loaded, StreamingSync(encoder), moving, renderer, name)


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


def default_motion(avatar: Avatar) -> MotionName:
    """Generated where the avatar has learned how its person moves, recorded elsewhere."""
    return "generated" if avatar.meta.motion else "recorded"


def load_motion(
    avatar: Avatar, name: MotionName, seed: int | None = None, controls: MotionControls | None = None
) -> Motion:
    """The avatar's head pose and eyes.

    Raises:
        AvatarError: none were recorded, none can be generated, or controls are given to what cannot be directed.
    """
    if name == "generated":
        return _load_generator(avatar, seed or 0, controls or MotionControls())
    if controls is not None and controls != MotionControls():
        raise AvatarError(f"{avatar.where}: temperature, look-at and hold-still direct generated motion, not {name}")
    section = avatar.section("motion")
    check_tensors(avatar.where, section, {"recorded_pose": (None, 6), "recorded_eye_code": (None, None)}, AvatarError)
    head_pose, eye_code = section["recorded_pose"], section["recorded_eye_code"]
    if name == "still":
        return StillMotion(head_pose, eye_code)
    moving = RecordedMotion(head_pose, eye_code)
    if seed is not None:
        moving.position = random.Random(seed).randrange(moving.period)
    return moving


def _load_generator(avatar: Avatar, seed: int, controls: MotionControls) -> MotionGenerator:
    if not avatar.meta.motion:
        raise AvatarError(f"{avatar.where}: has not learned to move; take recorded motion, or train it again")
    if not 0 <= controls.temperature < math.inf:
        raise AvatarError(f"temperature is {controls.temperature}, expected 0 or more")
    if controls.look_at is not None and not all(abs(degrees) <= MOST_DEG for degrees in controls.look_at):
        raise AvatarError(f"look-at is {controls.look_at}, expected two angles within {MOST_DEG} degrees")
    person = PersonalMotion.from_tensors(avatar.section("motion"), avatar.meta.motion, avatar.where)
    generator = MotionGenerator(person, seed, controls.temperature)
    generator.look_at, generator.hold_still = controls.look_at, controls.hold_still
    return generator
