"""One door to every synthesiser: a voice is named ``"espeak:de+f2"``, ``"flite:slt"`` or ``"festival:czech_dita"``."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from dfanerf_rt.audio import festival, flite, speech
from dfanerf_rt.audio.speech import Speech
from dfanerf_rt.errors import AudioError, UnspokenError

ENGINES = ("espeak", "flite", "festival")

_ESPEAK_RATE_WPM = 165


@dataclass(frozen=True)
class Request:
    """A sentence to be spoken."""

    text: str
    voice: str
    rate: float = 1.0
    """Speed relative to the voice's own."""
    pitch: float = 1.0
    """Base pitch relative to the voice's own."""


def speak(text: str, voice: str, rate: float = 1.0, pitch: float = 1.0) -> Speech:
    """Speak ``text`` with a voice of any synthesiser.

    Args:
        text: in the voice's language; every synthesiser reads digits.
        voice: ``"espeak:LANGUAGE"`` with or without ``"+VARIANT"``, ``"flite:NAME"``, ``"festival:NAME"``.
        rate: 0.5 to 2.5; 1 for a voice that cannot change it (:func:`can_set`).
        pitch: 0.5 to 2; 1 for a voice that cannot change it (:func:`can_set`).

    Raises:
        AudioError: the name is of no synthesiser, the synthesiser or voice is not installed (it says what to install),
            or cannot speak this text or with these settings.
    """
    return speak_many([Request(text, voice, rate, pitch)])[0]


def speak_many(requests: Sequence[Request]) -> list[Speech]:
    """:func:`speak` for many sentences, in their order; those of one Festival voice share a process.

    Raises:
        UnspokenError: a synthesiser failed on a sentence; ``index`` is that of its request.
        AudioError: as :func:`speak`.
    """
    spoken: dict[int, Speech] = {}
    by_voice: defaultdict[str, list[int]] = defaultdict(list)
    for index, request in enumerate(requests):
        engine, name = split_name(request.voice)
        if engine == "festival":
            by_voice[name].append(index)
        elif engine == "flite":
            spoken[index] = flite.synthesize(request.text, name, request.rate, request.pitch)
        else:
            spoken[index] = _espeak(name, request)
    for name, members in by_voice.items():
        asked = [(requests[index].text, requests[index].rate, requests[index].pitch) for index in members]
        try:
            spoken |= dict(zip(members, festival.synthesize_many(asked, name), strict=True))
        except UnspokenError as fault:
            raise UnspokenError(str(fault), members[fault.index]) from fault
    return [spoken[index] for index in range(len(requests))]


def available_voices() -> tuple[str, ...]:
    """Names of all voices that can be spoken here; espeak-ng's without variants, which are common to all languages."""
    try:
        found = [f"espeak:{name}" for name in speech.available_voices()]
    except AudioError:
        found = []
    found += [f"flite:{name}" for name in flite.available_voices()]
    return tuple(found + [f"festival:{name}" for name in festival.available_voices()])


def can_set(voice: str) -> tuple[bool, bool]:
    """Whether a voice takes a rate, and a pitch, other than 1."""
    engine, name = split_name(voice)
    if engine == "flite":
        return True, name not in flite.FIXED_PITCH
    kind = festival.VOICES[name].engine if engine == "festival" and name in festival.VOICES else "diphone"
    return kind != "units", kind == "diphone"


def split_name(voice: str) -> tuple[str, str]:
    """``"flite:slt"`` as ``("flite", "slt")``.

    Raises:
        AudioError: no synthesiser is named.
    """
    engine, colon, name = voice.partition(":")
    if engine not in ENGINES or not colon or not name:
        raise AudioError(f"the voice {voice!r} names no synthesiser; expected {':NAME, '.join(ENGINES)}:NAME")
    return engine, name


def _espeak(name: str, request: Request) -> Speech:
    if not 0.5 <= request.pitch <= 2.0:
        raise AudioError(f"pitch is {request.pitch}, expected 0.5 to 2")
    # espeak's 0, 50 and 100 are 0.5, 1 and 2 times a voice's pitch (its table pitch_adjust_tab).
    pitch = round(50.0 + 50.0 * math.log2(request.pitch))
    return speech.synthesize(request.text, name, round(_ESPEAK_RATE_WPM * request.rate), pitch)


def language_of(voice: str) -> str:
    """The language of a voice, as :mod:`dfanerf_rt.audio.texts` names it: ``"espeak:en-us+f2"`` gives ``"en"``.

    Raises:
        AudioError: the name is of no synthesiser, or of no Festival voice.
    """
    engine, name = split_name(voice)
    if engine == "flite":
        return "en"
    if engine == "espeak":
        return name.partition("+")[0].partition("-")[0]
    if name not in festival.VOICES:
        raise AudioError(f"the voice {name!r} of festival is not known; expected one of {', '.join(festival.VOICES)}")
    return festival.VOICES[name].language
