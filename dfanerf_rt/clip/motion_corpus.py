"""A corpus of synthetic people who speak and move: head pose and eye codes that belong to a voice, by construction.

Every person has a voice of espeak-ng and habits of its own (:mod:`dfanerf_rt.clip.persona`). Nods follow stressed
syllables, tilts and blinks the ends of phrases; the rest is chance. A folder: ``speech`` (a corpus of sentences, see
:mod:`dfanerf_rt.audio.corpus`) and ``motion.safetensors`` (all takes one after another).
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dfanerf_rt.audio.augment import augment
from dfanerf_rt.audio.corpus import Corpus, build_corpus
from dfanerf_rt.audio.corpus_plan import LANGUAGES, VARIANTS, CorpusConfig
from dfanerf_rt.audio.quiet import nobody_speaks
from dfanerf_rt.audio.stress import find_pauses, find_stresses, stress_track
from dfanerf_rt.clip.eye_performance import blinks, gaze, lids
from dfanerf_rt.clip.head_performance import head_pose, head_rotation
from dfanerf_rt.clip.motion import eye_codes
from dfanerf_rt.clip.persona import Axes, Persona, draw_persona
from dfanerf_rt.errors import ClipError
from dfanerf_rt.face.arkit import ARKIT_NAMES
from dfanerf_rt.files import check_tensors, from_json_object, load_tensors, save_tensors
from dfanerf_rt.motion.track import EYE_DIM, FPS, MotionTrack
from dfanerf_rt.sync.model import FRAME_SAMPLES, AudioEncoder, encode_audio
from dfanerf_rt.threads import one_thread

SCHEMA = "dfanerf-motion-corpus/1"
POSITION_M: Axes = (0.0, -0.015, 0.8)
"""Where every head is at rest: where a person sits says nothing about how the person moves."""
IDLE_S = (2.0, 8.0)
"""How long nobody speaks at a time."""
_SAMPLE_RATE_HZ = 16_000


@dataclass(frozen=True)
class MotionCorpusConfig:
    """Settings of a corpus; the same settings give the same corpus."""

    hours: float = 2.0
    """Length aimed at; what comes out differs by a few percent."""
    seed: int = 0
    """Another seed means other people, voices and sentences."""
    n_personas: int = 36
    take_s: float = 60.0
    """Least length of a take; what a person has left over is a shorter one."""
    idle_share: float = 0.1
    """Of the time, in which nobody speaks for seconds."""
    noisy_share: float = 0.4
    """Takes whose sound goes through rooms, noise and microphones before the audio encoder hears it."""


@dataclass(frozen=True)
class MotionTake:
    """One person speaking for about a minute."""

    persona: int
    """Number of the person; habits are ``draw_persona(seed, persona)``."""
    track: MotionTrack
    audio_code: Tensor
    """(T, 32) f_a of the bundled encoder at its live look-ahead."""
    stress: Tensor
    """(T,) :func:`dfanerf_rt.audio.stress.stress_track` of the clean voice."""


class MotionCorpus:
    """A built corpus.

    Raises:
        ClipError: the folder holds none, or one that is damaged.
    """

    def __init__(self, folder: Path) -> None:
        path = Path(folder) / "motion.safetensors"
        self._tensors, metadata = load_tensors(path, ClipError)
        if metadata.get("schema") != SCHEMA:
            raise ClipError(f"{path}: schema is {metadata.get('schema')!r}, expected {SCHEMA!r}")
        self.encoder = metadata.get("encoder")
        """Names the audio encoder whose codes it holds, see :func:`encoder_name`."""
        self.config = from_json_object(MotionCorpusConfig, metadata.get("config") or {}, str(path), ClipError)
        takes: Any = metadata.get("takes")
        numbers = isinstance(takes, list) and all(
            isinstance(take, list) and len(take) == 2 and all(type(n) is int and n >= 0 for n in take) for take in takes
        )
        if not numbers:
            raise ClipError(f"{path}: damaged list of takes")
        self._takes: list[list[int]] = takes
        n_frames = sum(length for _, length in self._takes)
        code_dim = AudioEncoder.bundled().config.code_dim
        shapes: dict[str, tuple[int | None, ...]] = {"head_pose": (n_frames, 6), "eye_code": (n_frames, EYE_DIM)}
        shapes |= {"audio_code": (n_frames, code_dim), "stress": (n_frames,)}
        check_tensors(path, self._tensors, shapes, ClipError, torch.float32)

    def __len__(self) -> int:
        return len(self._takes)

    def __iter__(self) -> Iterator[MotionTake]:
        start = 0
        for persona, length in self._takes:
            part = {name: tensor[start : start + length] for name, tensor in self._tensors.items()}
            track = MotionTrack(part["head_pose"], part["eye_code"], FPS)
            yield MotionTake(persona, track, part["audio_code"], part["stress"])
            start += length

    @property
    def hours(self) -> float:
        """Length of all takes."""
        return len(self._tensors["stress"]) / FPS / 3600.0


def build_motion_corpus(
    folder: Path,
    config: MotionCorpusConfig | None = None,
    workers: int = 1,
    on_progress: Callable[[float, str], None] | None = None,
) -> MotionCorpus:
    """Make a corpus in ``folder``, or open the one of these settings that is there.

    One whose audio codes are those of another encoder than the bundled one is made anew, from the same speech.

    Args:
        workers: processes that speak at a time; what is built does not depend on it. The calling script needs the
            ``if __name__ == "__main__"`` of every program that spawns.
        on_progress: called with the share done, from 0 to 1, and a word on what is being done.

    Raises:
        AudioError: espeak-ng is not installed, or the settings give no speech.
        ClipError: the folder holds a corpus of other settings.
    """
    config = config or MotionCorpusConfig()
    tell = on_progress or (lambda share, what: None)
    folder = Path(folder)
    if (folder / "motion.safetensors").exists():
        found = MotionCorpus(folder)
        if found.config != config:
            raise ClipError(f"{folder}: holds a motion corpus of other settings; choose another folder")
        if found.encoder == encoder_name(AudioEncoder.bundled()):
            return found
    folder.mkdir(parents=True, exist_ok=True)
    voices = draw_voices(config)
    speech_config = CorpusConfig(
        hours=config.hours * (1.0 - config.idle_share),
        seed=config.seed,
        voices=voices,
        clean_share=1.0,
        pause_share=0.0,
        silence_s=(0.15, 1.0),
    )
    speech = build_corpus(
        folder / "speech", speech_config, workers, lambda done, lines: tell(0.6 * done / lines, "speech")
    )
    encoder = AudioEncoder.bundled().live()
    takes: list[MotionTake] = []
    lines = _lines_by_voice(speech)
    for persona, voice in enumerate(voices):
        for number, sound in enumerate(_sounds(speech, lines[voice], persona, config)):
            random = np.random.default_rng([config.seed, persona, number, 1])
            takes.append(perform_take(persona, sound, encoder, config, random))
        tell(0.6 + 0.4 * (persona + 1) / len(voices), "motion")
    _save(folder / "motion.safetensors", takes, config, encoder_name(AudioEncoder.bundled()))
    return MotionCorpus(folder)


def encoder_name(encoder: AudioEncoder) -> str:
    """A name that changes with any weight of an audio encoder."""
    digest = hashlib.sha256()
    for name, tensor in sorted(encoder.state_tensors().items()):
        digest.update(name.encode() + tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def draw_voices(config: MotionCorpusConfig) -> tuple[str, ...]:
    """The voice of each person, all different, in the languages of the speech corpus' training split."""
    random = np.random.default_rng([config.seed, 2])
    every = [f"espeak:{language}+{variant}".rstrip("+") for language in LANGUAGES for variant in VARIANTS]
    if not 0 < config.n_personas <= len(every):
        raise ClipError(f"n_personas is {config.n_personas}, expected 1 to {len(every)}")
    return tuple(every[int(index)] for index in random.choice(len(every), config.n_personas, replace=False))


def perform_take(
    persona: int, sound: np.ndarray, encoder: AudioEncoder, config: MotionCorpusConfig, random: np.random.Generator
) -> MotionTake:
    """What a person does while saying ``sound``, (N,) float32 clean speech at 16 kHz, N a multiple of 640."""
    habits, n_frames = draw_persona(config.seed, persona), len(sound) // FRAME_SAMPLES
    stresses, pauses = find_stresses(sound), find_pauses(sound)
    stress = stress_track(stresses, n_frames, FPS)
    rotation = head_rotation(habits, stresses, pauses, n_frames, FPS, random)
    pose = head_pose(rotation, POSITION_M, habits, FPS, random)
    expression = _eyes(habits, pose, stress, pauses, random)
    if random.random() < config.noisy_share:
        sound = augment(sound + nobody_speaks(len(sound), random), random)
    with one_thread():
        code = encode_audio(encoder, sound, n_frames)
        track = MotionTrack(torch.from_numpy(pose).float(), eye_codes(torch.from_numpy(expression)), FPS)
    return MotionTake(persona, track, code, torch.from_numpy(stress).float())


def _eyes(
    habits: Persona, pose: np.ndarray, stress: np.ndarray, pauses: np.ndarray, random: np.random.Generator
) -> np.ndarray:
    """(T, 52) float32: the units of lids and gaze; the others are 0."""
    expression = np.zeros((len(pose), len(ARKIT_NAMES)))
    closure = blinks(habits.blink, pauses, len(pose), FPS, random)
    lids(expression, stress, habits, FPS, random)
    gaze(expression, pose, closure, FPS, random)
    return expression.astype(np.float32)


def _lines_by_voice(speech: Corpus) -> defaultdict[str, list[int]]:
    lines: defaultdict[str, list[int]] = defaultdict(list)
    for index in range(len(speech)):
        lines[speech.utterance(index).line.voice].append(index)
    return lines


def _sounds(speech: Corpus, lines: list[int], persona: int, config: MotionCorpusConfig) -> Iterator[np.ndarray]:
    """Takes of one voice: its lines one after another, with stretches between them in which nobody speaks."""
    random = np.random.default_rng([config.seed, persona, 3])
    parts: list[np.ndarray] = []
    n_samples = n_idle = 0
    for index in lines:
        if n_idle < config.idle_share * n_samples and random.random() < 0.3:
            idle = np.zeros(round(random.uniform(*IDLE_S) * _SAMPLE_RATE_HZ), np.float32)
            parts.append(idle)
            n_idle += len(idle)
            n_samples += len(idle)
        parts.append(speech.utterance(index).samples)
        n_samples += len(parts[-1])
        if n_samples >= config.take_s * _SAMPLE_RATE_HZ:
            yield _whole_frames(parts)
            parts, n_samples, n_idle = [], 0, 0
    if n_samples >= 2 * _SAMPLE_RATE_HZ:
        yield _whole_frames(parts)


def _whole_frames(parts: list[np.ndarray]) -> np.ndarray:
    sound = np.concatenate(parts)
    return sound[: len(sound) // FRAME_SAMPLES * FRAME_SAMPLES]


def _save(path: Path, takes: list[MotionTake], config: MotionCorpusConfig, encoder: str) -> None:
    columns: dict[str, list[Any]] = {"head_pose": [], "eye_code": [], "audio_code": [], "stress": []}
    for take in takes:
        columns["head_pose"].append(take.track.head_pose)
        columns["eye_code"].append(take.track.eye_code)
        columns["audio_code"].append(take.audio_code)
        columns["stress"].append(take.stress)
    if not takes:
        raise ClipError(f"{path.parent}: {config.hours} hours among {config.n_personas} people give no take of 2 s")
    metadata = {
        "schema": SCHEMA,
        "config": asdict(config),
        "encoder": encoder,
        "takes": [[take.persona, len(take.track)] for take in takes],
    }
    save_tensors(path, {name: torch.cat(column) for name, column in columns.items()}, metadata)
