"""A synthetic person's eyes while a voice is heard: they blink, rest on the camera, look aside, narrow and widen."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from dfanerf_rt.clip.head_performance import smooth_noise
from dfanerf_rt.clip.persona import BlinkHabit, Persona
from dfanerf_rt.face.arkit import ARKIT_INDEX
from dfanerf_rt.face.rotation import rotation_matrix
from dfanerf_rt.motion.blinks import LONGEST_S, OPEN_S, SHORTEST_S, lid_closure

SPEAKING, SILENT, PHRASE_END = 0.75, 1.3, 2.5
"""Chances of a blink, beside each other: while speaking, in a pause, from 0.1 s before a pause to 0.4 s into it."""
SHORTEST_INTERVAL_S = 0.5


def blinks(habit: BlinkHabit, pauses: np.ndarray, n_frames: int, fps: float, random: np.random.Generator) -> np.ndarray:
    """Closure of the lids: a renewal process, log-normal on a clock that runs faster where blinks are likelier.

    Args:
        pauses: (P, 2) seconds, between the phrases of the voice.

    Returns:
        (n_frames, 2) of the left and right eye, 0 open, 1 closed; frame k is the middle of its exposure.
    """
    closure = np.zeros((n_frames, 2))
    times = (np.arange(n_frames) + 0.5) / fps
    free_s = -np.inf
    for start_s in _blink_times(habit, pauses, times, fps, random):
        if start_s < free_s:
            continue
        takes_s = habit.duration_ms / 1000.0 * np.exp(habit.duration_spread * random.standard_normal())
        takes_s = float(np.clip(takes_s, SHORTEST_S, LONGEST_S))
        free_s = start_s + takes_s + OPEN_S
        # Two frames more on either side, so that no rounding cuts a lid's movement.
        frames = slice(max(int(start_s * fps) - 2, 0), int((start_s + takes_s) * fps) + 3)
        elapsed = times[frames] - start_s
        shut = lid_closure(torch.from_numpy(elapsed), takes_s).numpy()
        depth = random.uniform(0.94, 1.0)
        both = depth * shut[:, None] * (1.0, random.uniform(0.97, 1.0))
        closure[frames] = np.maximum(closure[frames], both)
    return closure


def gaze(
    expression: np.ndarray, head_pose: np.ndarray, closure: np.ndarray, fps: float, random: np.random.Generator
) -> None:
    """Eyes that rest on the camera while the head turns, with small saccades; lids that blink and follow the eyes.

    Args:
        expression: (T, 52) ARKit units; those of gaze and blinks are set.
        head_pose: (T, 6).
        closure: (T, 2) of the lids.
    """
    n_frames = len(expression)
    full_deg = 30.0  # the turn of an eye at a unit of 1 in ARKit
    look = np.zeros((n_frames, 2))
    frame = 0
    while frame < n_frames:
        length = int(random.uniform(0.4, 2.2) * fps)
        aside = random.random() < 0.12
        target = random.normal(0, 5.0 if aside else 1.2, 2) * (1.0, 0.6)
        look[frame : frame + (length // 2 if aside else length)] = target
        frame += length
    # A saccade takes two frames.
    look = 0.5 * (look + np.concatenate([look[:1], look[:-1]]))
    matrices = rotation_matrix(torch.from_numpy(head_pose[:, :3].astype(np.float64))).numpy()
    towards = -head_pose[:, 3:] / np.linalg.norm(head_pose[:, 3:], axis=1, keepdims=True)
    in_head = np.einsum("tji,tj->ti", matrices, towards)
    right_deg = np.rad2deg(np.arctan2(in_head[:, 0], -in_head[:, 2])) + look[:, 0]
    down_deg = np.rad2deg(np.arctan2(in_head[:, 1], -in_head[:, 2])) + look[:, 1]
    # The image's right is the subject's left: the left eye looks out, the right eye in.
    right, down = right_deg / full_deg, down_deg / full_deg
    for name, value in (
        ("eyeLookOutLeft", right),
        ("eyeLookInRight", right),
        ("eyeLookInLeft", -right),
        ("eyeLookOutRight", -right),
        ("eyeLookDownLeft", down),
        ("eyeLookDownRight", down),
        ("eyeLookUpLeft", -down),
        ("eyeLookUpRight", -down),
    ):
        expression[:, ARKIT_INDEX[name]] = np.clip(value, 0.0, 1.0)
    for side, name in enumerate(("eyeBlinkLeft", "eyeBlinkRight")):
        expression[:, ARKIT_INDEX[name]] = np.maximum(closure[:, side], np.clip(0.25 * down, 0.0, 0.3))


def lids(expression: np.ndarray, stress: np.ndarray, persona: Persona, fps: float, random: np.random.Generator) -> None:
    """Eyes narrow and relax slowly, and widen on stress (T,); sets these units of ``expression`` (T, 52)."""
    squint = np.clip(persona.squint + 0.06 * smooth_noise(len(stress), 3.0, fps, random), 0.0, 0.5)
    wide = np.clip(persona.widen * stress + 0.04 * smooth_noise(len(stress), 2.0, fps, random), 0.0, 0.4)
    for name, value in (("eyeSquint", squint), ("eyeWide", wide)):
        for side in ("Left", "Right"):
            expression[:, ARKIT_INDEX[name + side]] = value


def _blink_times(
    habit: BlinkHabit, pauses: np.ndarray, times: np.ndarray, fps: float, random: np.random.Generator
) -> Iterator[float]:
    """When blinks begin, in seconds, ascending."""
    likely = np.full(len(times), SPEAKING)
    for start_s, end_s in pauses:
        likely[(times >= start_s) & (times < end_s)] = SILENT
        if start_s > 0.0:
            likely[(times >= start_s - 0.1) & (times < min(start_s + 0.4, end_s))] = PHRASE_END
    # The clock that the intervals are of; as long as the sound, so that the rate stays what it should be.
    clock_s = np.cumsum(likely / likely.mean()) / fps if len(times) else np.zeros(0)
    # Log-normal of that mean; double blinks come on top.
    mean_s = 60.0 / habit.per_min * (1.0 + habit.double_share)
    at_s = -mean_s * random.random()
    while True:
        at_s += max(
            mean_s * np.exp(habit.spread * random.standard_normal() - 0.5 * habit.spread**2), SHORTEST_INTERVAL_S
        )
        index = int(np.searchsorted(clock_s, at_s))
        if index >= len(times):
            return
        if at_s < 0.0:
            continue
        # Anywhere within the frame.
        start_s = float(times[index] + (random.random() - 0.5) / fps)
        yield start_s
        if random.random() < habit.double_share:
            yield start_s + habit.duration_ms / 1000.0 + random.uniform(0.12, 0.28)
