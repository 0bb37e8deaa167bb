"""Phonemes to mouth shapes: ARKit expression targets with coarticulation by dominance functions.

Every phoneme has a target and a strength (dominance) for each of a few articulators; what is seen at a time is
the mean of all targets weighted by dominances that decay with distance in time, so that neighbours blend and
what matters for a sound (closed lips for m, b, p) wins over what does not (Cohen & Massaro 1993, "Modeling
coarticulation in synthetic visual speech", eq. 1-3).
"""

# ruff: noqa: RUF001 - these are phonetic symbols, not look-alikes by mistake

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dfanerf_rt.audio.speech import SAMPLE_RATE_HZ, SILENCE, Phoneme
from dfanerf_rt.face.arkit import ARKIT_INDEX, ARKIT_NAMES

ARTICULATORS = ("jaw", "closure", "tuck", "pucker", "funnel", "spread", "part", "tongue")
"""jaw opening; lips pressed shut; lower lip under the upper teeth; lips pushed forward; lips rounded open;
corners drawn apart; lips drawn off the teeth; tongue between the teeth."""

_JAW, _CLOSURE, _TUCK, _PUCKER, _FUNNEL, _SPREAD, _PART, _TONGUE = range(len(ARTICULATORS))


@dataclass(frozen=True)
class VisemeConfig:
    """How strongly and how fast the mouth articulates."""

    strength: float = 1.0
    """Scales every articulator but closure and tuck, which a sound needs in full."""
    decay_ms: float = 40.0
    """Time in which a dominance falls to 1/e beside its phoneme."""
    closure_decay_ms: float = 22.0
    """The same for closure, tuck and tongue, which are quick."""
    closure_hold_ms: float = 24.0
    """Half the least time that a closure is held; above half a frame, so that no frame rate of 25 or more misses it."""


_Targets = dict[int, tuple[float, float]]
"""Articulator to (target, dominance)."""


def _vowel(jaw: float, pucker: float = 0.0, funnel: float = 0.0, spread: float = 0.0) -> _Targets:
    rounded = 2.0 if pucker or funnel else 0.6
    return {
        _JAW: (jaw, 1.0),
        _CLOSURE: (0.0, 1.0),
        _TUCK: (0.0, 1.0),
        _PUCKER: (pucker, rounded),
        _FUNNEL: (funnel, rounded),
        _SPREAD: (spread, 1.0 if spread else 0.5),
        _PART: (0.12, 0.5),
        _TONGUE: (0.0, 1.0),
    }


def _consonant(jaw: tuple[float, float], **others: tuple[float, float]) -> _Targets:
    """A consonant: lips open and tongue in, weakly, unless said otherwise; rounding is left to the vowels."""
    targets: _Targets = {_CLOSURE: (0.0, 0.5), _TUCK: (0.0, 0.5), _TONGUE: (0.0, 0.5)}
    targets |= {_PUCKER: (0.0, 0.08), _FUNNEL: (0.0, 0.08), _SPREAD: (0.0, 0.08), _PART: (0.1, 0.2), _JAW: jaw}
    return targets | {ARTICULATORS.index(name): value for name, value in others.items()}


_BILABIAL = _consonant((0.04, 1.0), closure=(1.0, 40.0), spread=(0.0, 0.3), part=(0.0, 6.0))
_LABIODENTAL = _consonant((0.08, 1.5), tuck=(1.0, 40.0), closure=(0.0, 4.0), part=(0.25, 2.0))
_DENTAL = _consonant((0.16, 1.5), tongue=(1.0, 20.0), part=(0.15, 0.5))
_ALVEOLAR = _consonant((0.12, 0.6), part=(0.15, 0.3))
_SIBILANT = _consonant((0.05, 1.6), spread=(0.3, 0.5), part=(0.3, 1.2))
_POSTALVEOLAR = _consonant((0.07, 1.5), funnel=(0.35, 1.6), pucker=(0.40, 1.2), part=(0.25, 1.0))
_PALATAL = _consonant((0.10, 0.9), spread=(0.35, 0.8))
_VELAR = _consonant((0.20, 0.4))
_GLIDE_W = _consonant((0.08, 1.5), pucker=(1.0, 5.0), funnel=(0.1, 2.0), spread=(0.0, 2.0))
_RHOTIC = _consonant((0.16, 0.7), pucker=(0.35, 0.7), funnel=(0.2, 0.6))
_GLOTTAL = _consonant((0.25, 0.1))
_PAUSE: _Targets = dict.fromkeys(range(len(ARTICULATORS)), (0.0, 0.7)) | {_CLOSURE: (0.25, 0.7)}

_SYMBOLS: dict[str, _Targets] = {}
for _symbols, _target in (
    ("aɑä", _vowel(0.62)),
    ("ɐʌ", _vowel(0.46)),
    ("æ", _vowel(0.55, spread=0.25)),
    ("ɛε", _vowel(0.42, spread=0.3)),
    ("e", _vowel(0.30, spread=0.4)),
    ("i", _vowel(0.14, spread=0.6)),
    ("ɪᵻ", _vowel(0.22, spread=0.35)),
    ("əɘɵ", _vowel(0.26)),
    ("ɜɝɚ", _vowel(0.32, pucker=0.1)),
    ("ɯɨɿʅ", _vowel(0.14, spread=0.25)),
    ("ɔ", _vowel(0.40, pucker=0.30, funnel=0.35)),
    ("ɒ", _vowel(0.46, pucker=0.1, funnel=0.25)),
    ("o", _vowel(0.28, pucker=0.65, funnel=0.2)),
    ("ʊ", _vowel(0.18, pucker=0.6, funnel=0.0)),
    ("uʉ", _vowel(0.12, pucker=0.95, funnel=0.0)),
    ("yʏ", _vowel(0.12, pucker=0.9)),
    ("ø", _vowel(0.24, pucker=0.65, funnel=0.2)),
    ("œɶ", _vowel(0.38, pucker=0.35, funnel=0.45)),
    ("mbp", _BILABIAL),
    ("fvɱⱱ", _LABIODENTAL),
    ("βɸʋ", _consonant((0.10, 1.2), closure=(0.55, 3.0))),
    ("θð", _DENTAL),
    ("tdnlɾɽɫɬɭɳʈɖ", _ALVEOLAR),
    ("sz", _SIBILANT),
    ("ʃʒʂʐ", _POSTALVEOLAR),
    ("ɕʑ", _SIBILANT),
    ("jʝçɲʎɟc", _PALATAL),
    ("kɡgŋxɣχqɰɴ", _VELAR),
    ("wʍɥ", _GLIDE_W),
    ("ɹɻ", _RHOTIC),
    ("rʁʀ", _VELAR),
    ("hɦʔħʕ", _GLOTTAL),
):
    _SYMBOLS |= dict.fromkeys(_symbols, _target)

_MNEMONICS = {
    "@": "ə", "I": "ɪ", "U": "ʊ", "E": "ɛ", "O": "ɔ", "A": "ɑ", "V": "ʌ", "0": "ɒ", "3": "ɜ", "&": "æ", "Y": "ʏ",
    "W": "œ", "S": "ʃ", "Z": "ʒ", "T": "θ", "D": "ð", "N": "ŋ", "C": "ç", "R": "ʁ", "Q": "ɣ", "B": "β", "?": "ʔ",
}  # fmt: skip


def phoneme_symbols(name: str) -> str:
    """The base IPA symbols of a phoneme name, without stress, length, tone and other diacritics.

    ``"ˈaɪ"`` gives ``"aɪ"``, ``"tʃ"`` itself, espeak's mnemonic ``"i:"`` gives ``"i"``, a pause gives ``""``.
    """
    return "".join(symbol for symbol in (_MNEMONICS.get(mark, mark) for mark in name) if symbol in _SYMBOLS)


def articulation(phonemes: Sequence[Phoneme], times_s: np.ndarray, config: VisemeConfig | None = None) -> np.ndarray:
    """Articulators at given times, by dominance functions.

    Args:
        phonemes: in order of time; a diphthong or affricate shares its time among its symbols.
        times_s: (T,) seconds.

    Returns:
        (T, 8) float64 in [0, 1], in the order of :data:`ARTICULATORS`.
    """
    config = config or VisemeConfig()
    quick = np.isin(np.arange(len(ARTICULATORS)), (_CLOSURE, _TUCK, _TONGUE))
    decay_s = np.where(quick, config.closure_decay_ms, config.decay_ms) / 1000.0
    times = np.asarray(times_s, np.float64)
    weighted = np.zeros((times.size, len(ARTICULATORS)))
    # A weak pull towards rest, so that a time without phonemes is a softly closed mouth.
    rest = 1e-3
    total = np.full_like(weighted, rest)
    weighted[:, _CLOSURE] = rest * _PAUSE[_CLOSURE][0]
    for start_s, end_s, targets in _segments(phonemes):
        centre, half = (start_s + end_s) / 2, (end_s - start_s) / 2
        for index, (target, strength) in targets.items():
            hold = 0.6 * half
            if quick[index] and target > 0.5:
                hold = max(hold, config.closure_hold_ms / 1000.0)
            distance = np.maximum(np.abs(times - centre) - hold, 0.0)
            dominance = strength * np.exp(-distance / decay_s[index])
            weighted[:, index] += dominance * target
            total[:, index] += dominance
    return weighted / total


def mouth_expression(articulators: np.ndarray, strength: float = 1.0) -> np.ndarray:
    """ARKit mouth units of articulators.

    Args:
        articulators: (T, 8) from :func:`articulation`.
        strength: scales every articulator but closure and tuck.

    Returns:
        (T, 52) float32 in [0, 1], ARKit names and order; units that do not speak are 0.
    """
    shut, tuck = articulators[:, _CLOSURE], articulators[:, _TUCK]
    jaw, pucker, funnel, spread, part, tongue = (
        strength * articulators[:, index] for index in (_JAW, _PUCKER, _FUNNEL, _SPREAD, _PART, _TONGUE)
    )
    open_lips = (1.0 - shut) * (1.0 - tuck)
    jaw = jaw * (1.0 - 0.7 * shut) * (1.0 - 0.6 * tuck)
    # The quarter of closure that a pause has is lips that touch, which those of the neutral face do not quite; only a
    # real closure presses them. Amounts are such that the points of the inner lips meet and do not cross.
    touch = 0.045 * np.clip(shut / 0.25, 0.0, 1.0)
    press = np.clip((shut - 0.3) / 0.7, 0.0, 1.0)
    units = {
        "jawOpen": jaw,
        "mouthClose": jaw * np.clip(shut * 1.2, 0.0, 1.0) + touch,
        "mouthPress": 0.12 * press,
        "mouthRollLower": 0.06 * press + 0.55 * tuck,
        "mouthRollUpper": 0.06 * press,
        "mouthPucker": pucker,
        "mouthFunnel": funnel * (1.0 - 0.8 * shut) * (1.0 - 0.8 * tuck),
        "mouthStretch": 0.45 * spread * (1.0 - 0.5 * shut),
        "mouthSmile": 0.25 * spread,
        "mouthUpperUp": 0.5 * part * open_lips + 0.18 * tuck + 0.12 * jaw * open_lips,
        "mouthLowerDown": 0.8 * part * open_lips,
        "tongueOut": 0.4 * tongue * (1.0 - shut),
    }
    expression = np.zeros((articulators.shape[0], len(ARKIT_NAMES)), np.float32)
    for name, value in units.items():
        for index in [ARKIT_INDEX[side] for side in (name, f"{name}Left", f"{name}Right") if side in ARKIT_INDEX]:
            expression[:, index] = np.clip(value, 0.0, 1.0)
    return expression


def viseme_track(
    phonemes: Sequence[Phoneme], n_samples: int, fps: float = 25.0, config: VisemeConfig | None = None
) -> np.ndarray:
    """Mouth shapes of spoken phonemes, one a video frame.

    Frame i is exposed from i / fps to (i + 1) / fps, as a camera's is, and shows the lips in the middle of that time.

    Args:
        phonemes: with times in samples at 16 kHz.
        n_samples: length of the sound.

    Returns:
        (T, 52) float32 in [0, 1], ARKit names and order, T = ceil(n_samples * fps / 16000).
    """
    config = config or VisemeConfig()
    n_frames = math.ceil(n_samples * fps / SAMPLE_RATE_HZ)
    return mouth_expression(articulation(phonemes, (np.arange(n_frames) + 0.5) / fps, config), config.strength)


def _segments(phonemes: Sequence[Phoneme]) -> list[tuple[float, float, _Targets]]:
    """(start s, end s, targets) of each symbol; symbols of one phoneme share its time equally."""
    segments = []
    for phoneme in phonemes:
        symbols = phoneme_symbols(phoneme.name) if phoneme.name != SILENCE else ""
        targets = [_SYMBOLS[symbol] for symbol in symbols] or [_PAUSE]
        edges = np.linspace(phoneme.start_sample, phoneme.end_sample, len(targets) + 1) / SAMPLE_RATE_HZ
        segments += [(float(a), float(b), t) for a, b, t in zip(edges[:-1], edges[1:], targets, strict=True)]
    return segments
