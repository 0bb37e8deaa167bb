"""What a corpus of synthesised speech holds: who says what and how, as a pure function of its settings."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np

from dfanerf_rt.audio import festival, flite, texts
from dfanerf_rt.audio.voices import can_set, language_of
from dfanerf_rt.errors import AudioError

FORMAT = "dfanerf-speech/2"

HELD_OUT_LANGUAGES = ("it", "pl", "pt", "tr")
"""Nobody speaks these in training."""
HELD_OUT_RECORDED = ("flite:rms", "festival:lp_diphone", "festival:pc_diphone")
HELD_OUT_VARIANTS = ("f4", "m2", "Alex", "klatt3", "marcelo", "shelby", "victor")
"""Variants of espeak-ng (formants, breath, pitch) that training does not use."""

RECORDED = tuple(
    voice
    for voice in [f"flite:{name}" for name in flite.VOICES] + [f"festival:{name}" for name in festival.VOICES]
    if voice not in HELD_OUT_RECORDED
)
LANGUAGES = (
    *(language for language in texts.languages() if language not in HELD_OUT_LANGUAGES),
    *("en-us", "en-gb-scotland", "es-419"),
)
VARIANTS = (
    *("", "m1", "m3", "m4", "m5", "m6", "m7", "m8", "f1", "f2", "f3", "f5", "klatt", "klatt2", "klatt4", "adam"),
    *("Andrea", "Andy", "anika", "Annie", "antonio", "aunty", "belinda", "boris", "croak", "david", "ed", "edward"),
    *("Gene", "grandma", "grandpa", "gustave", "Jacky", "linda", "max", "Mike", "paul", "pedro", "quincy", "rob"),
    *("steph", "whisper", "whisperf", "zac"),
)

Split = Literal["train", "held-out"]

_CHARACTERS_PER_S = 13.5


@dataclass(frozen=True)
class CorpusConfig:
    """Settings of a corpus; two corpora of the same settings are the same, byte by byte."""

    hours: float = 1.0
    """Length aimed at; what comes out differs by a few percent."""
    split: Split = "train"
    seed: int = 0
    voices: tuple[str, ...] = ()
    """Voices to speak with, in equal parts; those of the split if none are given."""
    recorded_share: float = 0.5
    """Of the lines of a split, those by voices made from recordings; the others are espeak-ng's."""
    clean_share: float = 0.2
    """Lines that are left as the synthesiser made them; the others are augmented (dfanerf_rt.audio.augment)."""
    pause_share: float = 0.03
    """Lines of 1 to 4 s in which nobody speaks."""
    silence_s: tuple[float, float] = (0.2, 1.5)
    """Before and after each utterance."""
    rate: tuple[float, float] = (0.75, 1.35)
    pitch: tuple[float, float] = (0.75, 1.35)
    formants: tuple[float, float] = (0.82, 1.22)
    """Range of the factors on a voice's speed, base pitch, and pitch with formants; 1 is their median."""
    shard_lines: int = 200
    """Lines that one process speaks: espeak-ng keeps state from line to line, so this is part of what comes out."""


@dataclass(frozen=True)
class Line:
    """One utterance that is to be spoken."""

    voice: str
    """As :func:`dfanerf_rt.audio.voices.speak` takes it; empty for a pause."""
    language: str
    text: str
    rate: float
    pitch: float
    formants: float
    before_s: float
    after_s: float
    """Silence around the utterance; a pause is ``before_s`` long."""
    clean: bool
    seed: int
    """Of the augmentation."""


def plan(config: CorpusConfig) -> tuple[Line, ...]:
    """The lines of a corpus, in their order.

    Raises:
        AudioError: a setting makes no sense, or a voice speaks a language without sentences.
    """
    _check(config)
    planned: list[Line] = []
    seconds = 0.0
    while seconds < config.hours * 3600.0:
        line = _line(config, len(planned))
        planned.append(line)
        spoken_s = len(line.text) / (_CHARACTERS_PER_S * line.rate * line.formants)
        seconds += line.before_s + line.after_s + spoken_s
    return tuple(planned)


def fingerprint(config: CorpusConfig, lines: tuple[Line, ...]) -> str:
    """Hexadecimal digest of all that decides what is built."""
    described = json.dumps([FORMAT, asdict(config), [list(asdict(line).values()) for line in lines]])
    return hashlib.sha256(described.encode()).hexdigest()[:16]


def _line(config: CorpusConfig, index: int) -> Line:
    # A generator for each line, so that a longer corpus begins with the shorter one.
    random = np.random.default_rng([config.seed, index])
    seed = int(random.integers(0, 2**62))
    if random.uniform() < config.pause_share:
        return Line("", "", "", 1.0, 1.0, 1.0, round(float(random.uniform(1.0, 4.0)), 3), 0.0, False, seed)
    voice = _voice(config, random)
    takes_rate, takes_pitch = can_set(voice)
    language = language_of(voice)
    rate, pitch, formants = (_factor(bounds, random) for bounds in (config.rate, config.pitch, config.formants))
    # Squared, so that short silences are the most: else there is as much silence as speech.
    shortest_s, longest_s = config.silence_s
    before_s, after_s = (round(shortest_s + (longest_s - shortest_s) * random.uniform() ** 2, 3) for _ in range(2))
    clean = bool(random.uniform() < config.clean_share)
    text = next(texts.lines(language, random))
    return Line(
        voice,
        language,
        text,
        rate if takes_rate else 1.0,
        pitch if takes_pitch else 1.0,
        formants,
        before_s,
        after_s,
        clean,
        seed,
    )


def _voice(config: CorpusConfig, random: np.random.Generator) -> str:
    held_out = config.split == "held-out"
    if config.voices:
        choices = config.voices
    elif random.uniform() < config.recorded_share:
        choices = HELD_OUT_RECORDED if held_out else RECORDED
    else:
        language = str(random.choice(HELD_OUT_LANGUAGES if held_out else LANGUAGES))
        variant = str(random.choice(HELD_OUT_VARIANTS if held_out else VARIANTS))
        return f"espeak:{language}+{variant}".rstrip("+")
    return str(random.choice(choices))


def _factor(bounds: tuple[float, float], random: np.random.Generator) -> float:
    """1 in the middle of the draws, less often the further from it."""
    side = bounds[int(random.integers(0, 2))]
    return round(float(1.0 + (side - 1.0) * random.uniform() ** 1.5), 4)


def _check(config: CorpusConfig) -> None:
    if config.split not in ("train", "held-out"):
        raise AudioError(f"split is {config.split!r}, expected train or held-out")
    if not 0.0 < config.hours <= 1000.0:
        raise AudioError(f"hours is {config.hours}, expected more than 0 and at most 1000")
    if config.shard_lines < 1:
        raise AudioError(f"shard_lines is {config.shard_lines}, expected at least 1")
    for name in ("recorded_share", "clean_share", "pause_share"):
        share = getattr(config, name)
        if not 0.0 <= share <= 1.0:
            raise AudioError(f"{name} is {share}, expected 0 to 1")
    for name, (low, high) in {
        "silence_s": (0.0, 10.0),
        "rate": (0.5, 2.0),
        "pitch": (0.5, 2.0),
        "formants": (0.5, 2.0),
    }.items():
        found = getattr(config, name)
        if not low <= found[0] <= found[1] <= high:
            raise AudioError(f"{name} is {found[0]} to {found[1]}, expected a range within {low} to {high}")
