"""What the synthetic presenter does: speaks sentences, moves the head, blinks, looks around, lifts the brows."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from dfanerf_rt.audio.speech import SAMPLE_RATE_HZ, Phoneme, synthesize
from dfanerf_rt.audio.visemes import VisemeConfig, viseme_track
from dfanerf_rt.face.arkit import ARKIT_INDEX
from dfanerf_rt.face.rotation import rotation_matrix

SENTENCES = (
    "Good morning, and welcome. I am not a real person, but I hope that you can follow what I say.",
    "Every morning the baker opens the shop before the first bus passes the market.",
    "She sells fresh fish, five kinds of cheese, and the very best plums in town.",
    "Whether the weather be cold or whether the weather be hot, we walk to the harbour.",
    "Could you please move the blue boat before the bigger ship comes in?",
    "My brother thinks that both of these theories are worth a thorough look.",
    "Pumpkin soup, warm bread and a cup of mint tea make a perfect supper.",
    "We should choose a few good rules, and use them through the whole year.",
    "The jury was sure that the measure would usually bring pleasure to children.",
    "How about a walk around the old town, down to the river and out to the tower?",
    "Papa bought a purple umbrella, because the November rain would not stop.",
    "Five famous violins were found above the valley, wrapped in velvet and foam.",
    "You knew the truth too, but you would not choose to prove it to us.",
    "Maybe members of my family will come by Monday, maybe they will phone.",
    "Though the path was smooth, the thick fog made both drivers breathe with care.",
    "Why are you whispering? Open your mouth wide, and let the words fly out.",
    "Each teacher chose a chapter, and each child shared a joke about cheese.",
    "Boys enjoy the noise of toys; girls, as it happens, enjoy it as well.",
    "Look at the moon over the pool, how cool and blue the night is in June.",
    "Thank you very much for watching. Goodbye, and have a wonderful evening.",
)
VOICES = ("en-us", "en", "en+f3", "en-us+m3")
"""Several, so that the lips learn to follow what is said and not who says it."""


@dataclass(frozen=True)
class PerformanceConfig:
    """How lively the presenter is. Angles are limits that the motion approaches smoothly."""

    seed: int = 1
    fps: float = 25.0
    duration_s: float = 60.0
    """Sentences are spoken until at least this time has passed; the clip ends there."""
    sentences: tuple[str, ...] = SENTENCES
    voices: tuple[str, ...] = VOICES
    """espeak-ng voices, used in turn."""
    rate_wpm: int = 150
    yaw_deg: float = 12.0
    pitch_deg: float = 6.0
    roll_deg: float = 4.0
    blinks_per_s: float = 0.3
    articulation: float = 1.1
    """Scales how far the mouth opens and rounds."""
    neck_pivot: tuple[float, float, float] = (0.0, 0.06, 0.03)
    """The point of the head frame about which the head turns, metres: the top of the neck's spine."""


@dataclass(frozen=True)
class Performance:
    """A whole performance, one row a frame."""

    samples: np.ndarray
    """(N,) float32 sound at 16 kHz."""
    phonemes: tuple[Phoneme, ...]
    expression: np.ndarray
    """(T, 52) float32 in [0, 1]."""
    head_pose: np.ndarray
    """(T, 6) float32, head to camera."""
    torso_pose: np.ndarray
    """(T, 6) float32, torso to camera; equals the head pose when the head faces the camera upright."""


def perform(config: PerformanceConfig, position: tuple[float, float, float]) -> Performance:
    """Make a performance; the same configuration moves in the same way.

    Args:
        position: where the head is when it is at rest, camera coordinates, metres.
    """
    rng = np.random.default_rng(config.seed)
    samples, phonemes = _speak(config, rng)
    n_frames = round(samples.size * config.fps / SAMPLE_RATE_HZ)
    # Visemes count a started frame as a frame; the picture track ends with the sound.
    mouth = viseme_track(phonemes, samples.size, config.fps, VisemeConfig(strength=config.articulation))[:n_frames]
    loudness = _loudness(samples, n_frames, config.fps)
    stress = _stress(loudness, config.fps, rng)
    rotation = _head_rotation(n_frames, stress, config, rng)
    torso_pose, head_pose = _poses(rotation, position, config, rng)
    expression = np.zeros_like(mouth)
    blink = _blinks(loudness, config, rng)
    _face(expression, loudness, stress, config, rng)
    _gaze(expression, head_pose, blink, config, rng)
    expression = np.maximum(expression, 0.0) + mouth
    return Performance(samples, phonemes, np.clip(expression, 0.0, 1.0).astype(np.float32), head_pose, torso_pose)


def _speak(config: PerformanceConfig, rng: np.random.Generator) -> tuple[np.ndarray, tuple[Phoneme, ...]]:
    """Sentences with pauses between them, cut to the duration (a whole number of frames)."""
    frame = SAMPLE_RATE_HZ / config.fps
    total = round(round(config.duration_s * config.fps) * frame)
    parts: list[np.ndarray] = [np.zeros(int(0.3 * SAMPLE_RATE_HZ), np.float32)]
    length, phonemes = parts[0].size, []
    order: list[int] = []
    count = 0
    while length < total:
        if not order:
            # Every sentence once, then all again in another order, so that no sentence is missing from a long clip.
            order = list(range(len(config.sentences))) if count == 0 else list(rng.permutation(len(config.sentences)))
        speech = synthesize(
            config.sentences[order.pop(0)],
            voice=config.voices[count % len(config.voices)],
            rate_wpm=config.rate_wpm,
        )
        phonemes += [Phoneme(p.name, p.start_sample + length, p.end_sample + length) for p in speech.phonemes]
        pause = np.zeros(int(rng.uniform(0.25, 0.8) * SAMPLE_RATE_HZ), np.float32)
        parts += [speech.samples, pause]
        length += speech.samples.size + pause.size
        count += 1
    kept = tuple(Phoneme(p.name, p.start_sample, min(p.end_sample, total)) for p in phonemes if p.start_sample < total)
    return np.concatenate(parts)[:total], kept


def _smooth_noise(n_frames: int, time_s: float, fps: float, rng: np.random.Generator) -> np.ndarray:
    """A Gaussian process of unit variance with a squared-exponential kernel of that length: filtered white noise."""
    sigma = time_s * fps / math.sqrt(2)
    reach = int(4 * sigma) + 1
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    kernel /= np.linalg.norm(kernel)
    return np.convolve(rng.standard_normal(n_frames + 2 * reach), kernel, "valid")


def _loudness(samples: np.ndarray, n_frames: int, fps: float) -> np.ndarray:
    """Root mean square of each frame's sound, 1 at its loudest."""
    hop = SAMPLE_RATE_HZ / fps
    edges = np.round(np.arange(n_frames + 1) * hop).astype(int)
    energy = np.concatenate([[0.0], np.cumsum(samples.astype(np.float64) ** 2)])
    rms = np.sqrt(np.diff(energy[np.minimum(edges, samples.size)]) / hop)
    return rms / max(float(rms.max()), 1e-6)


def _stress(loudness: np.ndarray, fps: float, rng: np.random.Generator) -> np.ndarray:
    """Pulses of 0.3 s on some of the loudest moments, at least 0.8 s apart."""
    stress = np.zeros_like(loudness)
    frames = np.arange(loudness.size)
    last = -math.inf
    for frame in range(1, loudness.size - 1):
        peak = loudness[frame] >= loudness[frame - 1] and loudness[frame] > loudness[frame + 1]
        if peak and loudness[frame] > 0.5 and frame - last > 0.8 * fps:
            last = frame
            if rng.random() < 0.6:
                stress += rng.uniform(0.5, 1.0) * np.exp(-0.5 * ((frames - frame) / (0.12 * fps)) ** 2)
    return stress


def _head_rotation(
    n_frames: int, stress: np.ndarray, config: PerformanceConfig, rng: np.random.Generator
) -> np.ndarray:
    """(T, 3) rotation vectors: posture (slow) and liveliness (fast), nods on stressed words."""

    def wander(limit_deg: float) -> np.ndarray:
        slow = _smooth_noise(n_frames, 1.1, config.fps, rng)
        fast = _smooth_noise(n_frames, 0.3, config.fps, rng)
        return limit_deg * (0.45 * slow + 0.08 * fast)

    def bound(angle: np.ndarray, limit_deg: float) -> np.ndarray:
        return np.deg2rad(limit_deg * np.tanh(angle / limit_deg))

    # About x, a positive angle lifts the nose; a nod lowers it.
    pitch = bound(wander(config.pitch_deg) - 0.4 * config.pitch_deg * stress, config.pitch_deg)
    yaw = bound(wander(config.yaw_deg), config.yaw_deg)
    roll = bound(wander(config.roll_deg), config.roll_deg)
    return np.stack([pitch, yaw, roll], 1)


def _poses(
    rotation: np.ndarray, position: tuple[float, float, float], config: PerformanceConfig, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Torso pose (a tenth of the head's turn, breathing, a slow sway) and the head pose on top of it."""
    n_frames = len(rotation)
    sway_m = np.stack([_smooth_noise(n_frames, 2.5, config.fps, rng) for _ in range(3)], 1) * (0.0025, 0.0008, 0.0025)
    breath_m = 0.0008 * np.sin(2 * np.pi * 0.25 * np.arange(n_frames) / config.fps)
    torso_rotation = rotation * (0.06, 0.10, 0.12)
    pivot = np.array(config.neck_pivot)
    head, torso = (rotation_matrix(torch.from_numpy(r)).numpy() for r in (rotation, torso_rotation))
    # Both frames agree on where the pivot is, so that the head turns on the neck and not about the ears.
    at_pivot = pivot + np.array(position) + sway_m
    at_pivot[:, 1] += breath_m
    return (
        np.concatenate([torso_rotation, at_pivot - torso @ pivot], 1).astype(np.float32),
        np.concatenate([rotation, at_pivot - head @ pivot], 1).astype(np.float32),
    )


def _blinks(loudness: np.ndarray, config: PerformanceConfig, rng: np.random.Generator) -> np.ndarray:
    """(T, 2) closure of the left and right eye: a Poisson process with a rest of one second, likelier in pauses."""
    closure = np.zeros((loudness.size, 2))
    speaking = np.convolve(loudness, np.ones(5) / 5, "same") > 0.08
    # With rest r and rate w after it, blinks come every r + 1 / w seconds.
    rest_s = 1.0
    wait_s = max(1 / max(config.blinks_per_s, 1e-6) - rest_s, 0.05)
    hazard = np.where(speaking, 0.85, 1.5) / (wait_s * config.fps)
    frame = int(rest_s * config.fps * rng.uniform(0.3, 1.0))
    while frame < loudness.size:
        if rng.random() < hazard[frame]:
            # Lids close in two frames and open in three to four.
            shape = (
                np.array([0.45, 0.95, 1.0, 0.7, 0.35, 0.1])
                if rng.random() < 0.6
                else np.array([0.6, 1.0, 0.8, 0.4, 0.12])
            )
            if rng.random() < 0.25:
                shape = np.insert(shape, 2, 1.0)
            length = min(len(shape), loudness.size - frame)
            depth = rng.uniform(0.94, 1.0)
            closure[frame : frame + length] = depth * shape[:length, None] * (1.0, rng.uniform(0.97, 1.0))
            frame += int(rest_s * config.fps)
        frame += 1
    return closure


def _face(
    expression: np.ndarray,
    loudness: np.ndarray,
    stress: np.ndarray,
    config: PerformanceConfig,
    rng: np.random.Generator,
) -> None:
    """Brows that follow stress, and a friendliness that comes and goes."""
    n_frames = len(expression)
    mood = np.clip(0.10 + 0.08 * _smooth_noise(n_frames, 2.0, config.fps, rng), 0.0, 0.3)
    brow = np.clip(0.05 + 0.05 * _smooth_noise(n_frames, 1.2, config.fps, rng) + 0.22 * stress, 0.0, 0.6)
    frown = np.clip(0.06 * _smooth_noise(n_frames, 1.5, config.fps, rng) - 0.02, 0.0, 0.3) * (1 - np.minimum(stress, 1))
    for name, value in (
        ("mouthSmileLeft", mood),
        ("mouthSmileRight", 0.92 * mood),
        ("cheekSquintLeft", 0.5 * mood),
        ("cheekSquintRight", 0.5 * mood),
        ("browInnerUp", 0.8 * brow),
        ("browOuterUpLeft", brow),
        ("browOuterUpRight", 0.9 * brow),
        ("browDownLeft", frown),
        ("browDownRight", frown),
        ("jawOpen", 0.02 * (loudness > 0.05)),
    ):
        expression[:, ARKIT_INDEX[name]] = value


def _gaze(
    expression: np.ndarray,
    head_pose: np.ndarray,
    blink: np.ndarray,
    config: PerformanceConfig,
    rng: np.random.Generator,
) -> None:
    """Eyes that rest on the camera while the head turns, with small saccades; lids that blink and follow the eyes."""
    n_frames = len(expression)
    full_deg = 30.0  # the turn of an eye at a unit of 1 in ARKit
    look = np.zeros((n_frames, 2))
    frame = 0
    while frame < n_frames:
        length = int(rng.uniform(0.4, 2.2) * config.fps)
        aside = rng.random() < 0.12
        target = rng.normal(0, 5.0 if aside else 1.2, 2) * (1.0, 0.6)
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
        expression[:, ARKIT_INDEX[name]] = np.maximum(blink[:, side], np.clip(0.25 * down, 0.0, 0.3))
