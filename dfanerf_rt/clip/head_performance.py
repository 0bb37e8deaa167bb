"""How a synthetic person's head moves while a voice is heard: posture, turns, nods on stress, tilts, breathing."""

from __future__ import annotations

import math

import numpy as np
import torch

from dfanerf_rt.audio.stress import Stresses
from dfanerf_rt.clip.persona import Axes, Persona
from dfanerf_rt.face.rotation import rotation_matrix

POSTURE_S = ((6.0, 0.79), (2.2, 0.61))
RESTLESS_S = ((0.8, 0.38), (0.3, 0.19), (0.13, 0.10))
"""Length scales of what the head does by itself, slow and quick, and their shares of its standard deviation: the slower
the larger, so that the spectrum falls steeply, as that of tracked heads does."""
SWAY_S = ((8.0, 0.80), (2.0, 0.55), (0.6, 0.24))
"""The same of the neck, as the body moves it."""
NOD_RISE_S, NOD_FALL_S = 0.09, 0.15
"""Standard deviations of the two halves of a nod: the head falls faster than it comes back."""
NOD_APART_S, NOD_JITTER_S = 0.35, 0.035
SILENT_S = 0.8
"""Who has been silent for longer than this moves less."""
STILL_SHARE = 0.6
"""Of the liveliness while speaking, what is left then."""


def head_rotation(
    persona: Persona, stresses: Stresses, pauses: np.ndarray, n_frames: int, fps: float, random: np.random.Generator
) -> np.ndarray:
    """Rotation vectors of the head while a voice is heard.

    Args:
        stresses: of the voice.
        pauses: (P, 2) seconds, between its phrases.

    Returns:
        (n_frames, 3) radians; frame k is the middle of its exposure, (k + 0.5) / fps.
    """
    times = (np.arange(n_frames) + 0.5) / fps
    lively = 1.0 - (1.0 - STILL_SHARE) * _silent(pauses, times, fps)
    degrees = np.stack([deg * _wander(persona, n_frames, fps, random) for deg in persona.wander_deg], 1)
    degrees = degrees * lively[:, None]
    degrees += _turns(persona, pauses, times, random)
    degrees += nods(stresses, times, persona, random)[:, None] * np.array(persona.nod_axes)
    degrees[:, 2] += _tilts(persona, pauses, times, random)
    # Softly bounded, so that no chance of many movements in one direction twists the neck.
    limit = 3.0 * np.hypot(persona.wander_deg, persona.turn_deg) + persona.nod_deg * np.abs(persona.nod_axes)
    limit[2] += persona.tilt_deg
    return np.deg2rad(limit * np.tanh(degrees / limit))


def head_pose(
    rotation: np.ndarray, position: Axes, persona: Persona, fps: float, random: np.random.Generator
) -> np.ndarray:
    """Head poses of rotations: the head turns on a neck that sways and breathes.

    Args:
        rotation: (T, 3) radians.
        position: where the head is at rest, camera coordinates, metres.

    Returns:
        (T, 6) float64, head to camera.
    """
    n_frames = len(rotation)
    sway_m = np.stack([1e-3 * mm * _sway(persona.tempo, n_frames, fps, random) for mm in persona.sway_mm], 1)
    wander = 1.0 + 0.2 * smooth_noise(n_frames, 4.0, fps, random)
    phase = 2 * np.pi * (random.random() + np.cumsum(persona.breath_hz * wander) / fps)
    sway_m[:, 1] += 1e-3 * persona.breath_mm * np.sin(phase)
    sway_m[:, 2] += 0.4e-3 * persona.breath_mm * np.sin(phase + 0.5)
    return on_neck(rotation, np.array(position) + np.array(persona.pivot_m) + sway_m, persona.pivot_m)


def on_neck(rotation: np.ndarray, at_pivot: np.ndarray, pivot_m: Axes) -> np.ndarray:
    """Poses (T, 6) that turn by ``rotation`` (T, 3) and hold the head's point ``pivot_m`` at ``at_pivot`` (T, 3)."""
    matrices = rotation_matrix(torch.from_numpy(rotation)).numpy()
    return np.concatenate([rotation, at_pivot - matrices @ np.array(pivot_m)], 1)


def nods(stresses: Stresses, times: np.ndarray, persona: Persona, random: np.random.Generator) -> np.ndarray:
    """(T,) degrees by which nods lower the nose at ``times`` (T,) in seconds."""
    lowered = np.zeros_like(times)
    last_s = -math.inf
    for time_s, strength in zip(stresses.time_s, stresses.strength, strict=True):
        if time_s - last_s < NOD_APART_S or random.random() >= persona.nod_share * min(2.0 * strength, 1.0):
            continue
        last_s = time_s
        lowest_s = time_s + persona.nod_delay_s + NOD_JITTER_S * random.standard_normal()
        depth = persona.nod_deg * strength * np.exp(0.25 * random.standard_normal())
        width = random.uniform(0.85, 1.2) / math.sqrt(persona.tempo)
        away = times - lowest_s
        lowered += depth * np.exp(-0.5 * (away / (width * np.where(away < 0, NOD_RISE_S, NOD_FALL_S))) ** 2)
    return lowered


def smooth_noise(n_frames: int, time_s: float, fps: float, random: np.random.Generator) -> np.ndarray:
    """A Gaussian process of unit variance with a squared-exponential kernel of that length: filtered white noise."""
    sigma = time_s * fps / math.sqrt(2)
    reach = int(4 * sigma) + 1
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    kernel /= np.linalg.norm(kernel)
    return np.convolve(random.standard_normal(n_frames + 2 * reach), kernel, "valid")


def _wander(persona: Persona, n_frames: int, fps: float, random: np.random.Generator) -> np.ndarray:
    quick = tuple((time_s, persona.restless * share) for time_s, share in RESTLESS_S)
    scales = [share * smooth_noise(n_frames, s / persona.tempo, fps, random) for s, share in POSTURE_S + quick]
    return np.sum(scales, axis=0)


def _sway(tempo: float, n_frames: int, fps: float, random: np.random.Generator) -> np.ndarray:
    return np.sum([share * smooth_noise(n_frames, s / tempo, fps, random) for s, share in SWAY_S], axis=0)


def _turns(persona: Persona, pauses: np.ndarray, times: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """(T, 3) degrees: the head comes to rest somewhere, stays, and goes on, often at a pause."""
    end_s = float(times[-1]) if len(times) else 0.0
    # Log-normal with a mean of 1.
    rests, at_s = [], 0.0
    while at_s < end_s:
        at_s += persona.turn_every_s / persona.tempo * np.exp(0.7 * random.standard_normal() - 0.5 * 0.7**2)
        rests.append(at_s)
    starts = [start + 0.1 for start in pauses[:, 0] if random.random() < 0.35]
    place = np.array(persona.turn_deg) * random.standard_normal(3)
    degrees = np.tile(place, (len(times), 1))
    for at_s in sorted([*rests, *starts]):
        target = np.array(persona.turn_deg) * random.standard_normal(3)
        step = target - place
        takes_s = min(0.35 + 0.035 * float(np.linalg.norm(step)), 1.0) / persona.tempo
        degrees += step * _minimum_jerk((times - at_s) / takes_s)[:, None]
        place = target
    return degrees


def _tilts(persona: Persona, pauses: np.ndarray, times: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """(T,) degrees of roll: a tilt that begins as a phrase ends and is taken back as the next one begins."""
    roll = np.zeros_like(times)
    for start_s, end_s in pauses:
        if start_s <= 0.0 or random.random() >= persona.tilt_share:
            continue
        deg = persona.tilt_deg * random.choice((-1.0, 1.0)) * random.uniform(0.5, 1.3)
        back_s = min(end_s + random.uniform(0.0, 0.4), start_s + 3.0)
        roll += deg * (_minimum_jerk((times - start_s + 0.15) / 0.45) - _minimum_jerk((times - back_s) / 0.7))
    return roll


def _minimum_jerk(share: np.ndarray) -> np.ndarray:
    """From 0 to 1 as an arm or a head goes from rest to rest (Flash and Hogan 1985)."""
    u = np.clip(share, 0.0, 1.0)
    result: np.ndarray = u**3 * (10.0 - 15.0 * u + 6.0 * u**2)
    return result


def _silent(pauses: np.ndarray, times: np.ndarray, fps: float) -> np.ndarray:
    """(T,) 0 while speaking and in short pauses, 1 in long ones; it changes within half a second."""
    silent = np.zeros_like(times)
    for start_s, end_s in pauses:
        silent[(times > start_s + SILENT_S) & (times < end_s)] = 1.0
    n_window = max(round(0.5 * fps), 1) | 1
    padded = np.pad(silent, n_window // 2, mode="edge")
    return np.convolve(padded, np.full(n_window, 1.0 / n_window), "valid")
