"""What the synthetic presenter does: speaks sentences, moves the head, blinks, looks around, lifts the brows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dfanerf_rt.audio import texts
from dfanerf_rt.audio.speech import SAMPLE_RATE_HZ, Phoneme, synthesize
from dfanerf_rt.audio.stress import Stresses, find_pauses, find_stresses, stress_track
from dfanerf_rt.audio.visemes import VisemeConfig, viseme_track
from dfanerf_rt.clip.eye_performance import blinks, gaze
from dfanerf_rt.clip.head_performance import nods, on_neck, smooth_noise
from dfanerf_rt.clip.persona import BlinkHabit, Persona
from dfanerf_rt.face.arkit import ARKIT_INDEX

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
FOREIGN = ("de", "fr+f2", "es+m4")
"""Voices of other languages, which say sentences of their own."""


def _lines() -> tuple[tuple[str, str], ...]:
    """English sentences by turns in several voices, every fourth line in another language."""
    result: list[tuple[str, str]] = []
    others = {voice: iter(texts.sentences(voice.partition("+")[0])) for voice in FOREIGN}
    for count, sentence in enumerate(SENTENCES):
        result.append((VOICES[count % len(VOICES)], sentence))
        if count % 3 == 2:
            voice = FOREIGN[count // 3 % len(FOREIGN)]
            result.append((voice, next(others[voice])))
    return tuple(result)


LINES = _lines()
"""(espeak-ng voice, sentence), in the order in which they are spoken."""


@dataclass(frozen=True)
class PerformanceConfig:
    """How lively the presenter is. Angles are limits that the motion approaches smoothly."""

    seed: int = 1
    fps: float = 25.0
    duration_s: float = 60.0
    """Lines are spoken until at least this time has passed; the clip ends there."""
    lines: tuple[tuple[str, str], ...] = LINES
    """(espeak-ng voice, sentence)."""
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
    stresses = find_stresses(samples)
    rotation = _head_rotation(n_frames, stresses, config, rng)
    torso_pose, head_pose = _poses(rotation, position, config, rng)
    expression = np.zeros_like(mouth)
    closure = blinks(BlinkHabit(per_min=60.0 * config.blinks_per_s), find_pauses(samples), n_frames, config.fps, rng)
    _face(expression, loudness, stress_track(stresses, n_frames, config.fps), config, rng)
    gaze(expression, head_pose, closure, config.fps, rng)
    expression = np.maximum(expression, 0.0) + mouth
    return Performance(samples, phonemes, np.clip(expression, 0.0, 1.0).astype(np.float32), head_pose, torso_pose)


def _speak(config: PerformanceConfig, rng: np.random.Generator) -> tuple[np.ndarray, tuple[Phoneme, ...]]:
    """Lines with pauses between them, cut to the duration (a whole number of frames)."""
    frame = SAMPLE_RATE_HZ / config.fps
    total = round(round(config.duration_s * config.fps) * frame)
    parts: list[np.ndarray] = [np.zeros(int(0.3 * SAMPLE_RATE_HZ), np.float32)]
    length, phonemes = parts[0].size, []
    order: list[int] = []
    count = 0
    while length < total:
        if not order:
            # Every line once, then all again in another order, so that none is missing from a long clip.
            order = list(range(len(config.lines))) if count == 0 else list(rng.permutation(len(config.lines)))
        voice, sentence = config.lines[order.pop(0)]
        speech = synthesize(sentence, voice=voice, rate_wpm=config.rate_wpm)
        phonemes += [Phoneme(p.name, p.start_sample + length, p.end_sample + length) for p in speech.phonemes]
        pause = np.zeros(int(rng.uniform(0.25, 0.8) * SAMPLE_RATE_HZ), np.float32)
        parts += [speech.samples, pause]
        length += speech.samples.size + pause.size
        count += 1
    kept = tuple(Phoneme(p.name, p.start_sample, min(p.end_sample, total)) for p in phonemes if p.start_sample < total)
    return np.concatenate(parts)[:total], kept


def _loudness(samples: np.ndarray, n_frames: int, fps: float) -> np.ndarray:
    """Root mean square of each frame's sound, 1 at its loudest."""
    hop = SAMPLE_RATE_HZ / fps
    edges = np.round(np.arange(n_frames + 1) * hop).astype(int)
    energy = np.concatenate([[0.0], np.cumsum(samples.astype(np.float64) ** 2)])
    rms = np.sqrt(np.diff(energy[np.minimum(edges, samples.size)]) / hop)
    return rms / max(float(rms.max()), 1e-6)


def _head_rotation(
    n_frames: int, stresses: Stresses, config: PerformanceConfig, rng: np.random.Generator
) -> np.ndarray:
    """(T, 3) rotation vectors: posture (slow) and liveliness (fast), nods on stressed words."""

    def wander(limit_deg: float) -> np.ndarray:
        slow = smooth_noise(n_frames, 1.1, config.fps, rng)
        fast = smooth_noise(n_frames, 0.3, config.fps, rng)
        return limit_deg * (0.45 * slow + 0.08 * fast)

    def bound(angle: np.ndarray, limit_deg: float) -> np.ndarray:
        return np.deg2rad(limit_deg * np.tanh(angle / limit_deg))

    # About x, a positive angle lowers the nose, as a nod does.
    times = (np.arange(n_frames) + 0.5) / config.fps
    nodding = nods(stresses, times, Persona(nod_deg=0.4 * config.pitch_deg), rng)
    pitch = bound(wander(config.pitch_deg) + nodding, config.pitch_deg)
    yaw = bound(wander(config.yaw_deg), config.yaw_deg)
    roll = bound(wander(config.roll_deg), config.roll_deg)
    return np.stack([pitch, yaw, roll], 1)


def _poses(
    rotation: np.ndarray, position: tuple[float, float, float], config: PerformanceConfig, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Torso pose (a tenth of the head's turn, breathing, a slow sway) and the head pose on top of it."""
    n_frames = len(rotation)
    sway_m = np.stack([smooth_noise(n_frames, 2.5, config.fps, rng) for _ in range(3)], 1) * (0.0025, 0.0008, 0.0025)
    breath_m = 0.0008 * np.sin(2 * np.pi * 0.25 * np.arange(n_frames) / config.fps)
    torso_rotation = rotation * (0.06, 0.10, 0.12)
    # Both frames agree on where the pivot is, so that the head turns on the neck and not about the ears.
    at_pivot = np.array(config.neck_pivot) + np.array(position) + sway_m
    at_pivot[:, 1] += breath_m
    torso, head = (on_neck(turn, at_pivot, config.neck_pivot) for turn in (torso_rotation, rotation))
    return torso.astype(np.float32), head.astype(np.float32)


def _face(
    expression: np.ndarray,
    loudness: np.ndarray,
    stress: np.ndarray,
    config: PerformanceConfig,
    rng: np.random.Generator,
) -> None:
    """Brows that follow stress, and a friendliness that comes and goes."""
    n_frames = len(expression)
    mood = np.clip(0.10 + 0.08 * smooth_noise(n_frames, 2.0, config.fps, rng), 0.0, 0.3)
    brow = np.clip(0.05 + 0.05 * smooth_noise(n_frames, 1.2, config.fps, rng) + 0.22 * stress, 0.0, 0.6)
    frown = np.clip(0.06 * smooth_noise(n_frames, 1.5, config.fps, rng) - 0.02, 0.0, 0.3) * (1 - np.minimum(stress, 1))
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
