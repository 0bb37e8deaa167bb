"""Synthesised speech with phoneme times, from espeak-ng's C library through ctypes: text in, sound and phonemes out.

The library keeps state that no call resets, so the same text said twice in one process differs by a few samples.
"""

# ruff: noqa: RUF001 - these are phonetic symbols, not look-alikes by mistake

from __future__ import annotations

import ctypes
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count, pairwise, takewhile

import numpy as np

from dfanerf_rt.audio.intake import to_mono_16k
from dfanerf_rt.errors import AudioError

SAMPLE_RATE_HZ = 16_000
SILENCE = "_"
"""Name of a pause among the phonemes (espeak's own mnemonic)."""

_STOPS = tuple("pbtdkɡgcɟʈɖqɢ")
_QUIET, _ECHO = 16, 0.05  # a closure is below this, of 32768 and of what precedes (voices such as +f2 have an echo)
_CLOSURE_S, _CLOSURE_AFTER_PAUSE_S = 0.15, 0.06  # at most; after a pause the sound does not tell when lips close

_RETRIEVAL = 1
_PHONEME_EVENTS, _PHONEME_IPA, _DONT_EXIT = 0x0001, 0x0002, 0x8000
_EVENT_END, _EVENT_PHONEME = 0, 7
_RATE, _PITCH = 1, 3
_CHARS_UTF8 = 1
_CHUNK_MS = 200


@dataclass(frozen=True)
class Phoneme:
    """One phoneme of synthesised speech; times are sample indices at 16 kHz, ``end_sample`` excluded."""

    name: str
    """IPA with stress marks, or ``"_"`` for a pause."""
    start_sample: int
    end_sample: int


@dataclass(frozen=True)
class Speech:
    """What :func:`synthesize` gives: sound and its phonemes, which cover it without gaps."""

    samples: np.ndarray
    """(N,) float32 in [-1, 1], 16 kHz mono."""
    phonemes: tuple[Phoneme, ...]
    text: str


class _EventId(ctypes.Union):
    _fields_ = [("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8)]


class _Event(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _EventId),
    ]


class _Voice(ctypes.Structure):
    """The beginning of espeak_VOICE."""

    _fields_ = [("name", ctypes.c_char_p), ("languages", ctypes.c_void_p)]


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))
# The library keeps one global state, so one thread speaks at a time.
_lock = threading.Lock()
_library: ctypes.CDLL | None = None
_native_rate_hz = 0


def cover(ends: Sequence[tuple[str, float]], n_samples: int) -> tuple[Phoneme, ...]:
    """(IPA name, end in seconds) of consecutive phonemes as intervals that cover [0, n_samples).

    Pauses that follow each other become one, the rest after the last is a pause, and what ends after the sound is cut.
    """
    phonemes: list[Phoneme] = []
    start = 0
    for name, end_s in (*ends, (SILENCE, n_samples / SAMPLE_RATE_HZ)):
        end = min(round(end_s * SAMPLE_RATE_HZ), n_samples)
        if end <= start:
            continue
        if phonemes and name == SILENCE == phonemes[-1].name:
            start = phonemes.pop().start_sample
        phonemes.append(Phoneme(name, start, end))
        start = end
    return tuple(phonemes)


def synthesize(text: str, voice: str = "en", rate_wpm: int = 165, pitch: int = 50) -> Speech:
    """Speak ``text`` with espeak-ng.

    Args:
        text: what to say, in the voice's language.
        voice: espeak-ng voice, optionally with a variant: ``"en"``, ``"de"``, ``"zh"``, ``"en+f3"``.
        rate_wpm: words a minute, 80 to 450.
        pitch: base pitch, 0 to 100.

    Raises:
        AudioError: espeak-ng is not installed, the voice is unknown, a setting is out of range, or nothing was said.
    """
    if not 80 <= rate_wpm <= 450:
        raise AudioError(f"rate_wpm is {rate_wpm}, expected 80 to 450")
    if not 0 <= pitch <= 100:
        raise AudioError(f"pitch is {pitch}, expected 0 to 100")
    with _lock:
        native, events = _speak(text, voice, rate_wpm, pitch)
        ratio = SAMPLE_RATE_HZ / _native_rate_hz
    if native.size == 0:
        raise AudioError(f"espeak-ng said nothing for the text {text!r}")
    events = _with_closures(events, native, _native_rate_hz)
    samples = to_mono_16k(native, _native_rate_hz)
    return Speech(samples, _intervals(events, ratio, samples.size), text)


def _intervals(events: list[tuple[str, int]], ratio: float, n_samples: int) -> tuple[Phoneme, ...]:
    """Turn (name, start at the native rate) into intervals that cover [0, n_samples)."""
    # "(en)" marks a change of language: a few milliseconds of silence.
    names = {"": SILENCE, "ʲ": "j"}  # a lone palatal glide comes as the mark of softness
    starts = [
        (SILENCE if name.startswith("(") else names.get(name, name), min(round(sample * ratio), n_samples))
        for name, sample in events
    ]
    if not starts or starts[0][1] > 0:
        starts.insert(0, (SILENCE, 0))
    ends = [start for _, start in starts[1:]] + [n_samples]
    return tuple(Phoneme(name, start, end) for (name, start), end in zip(starts, ends, strict=True) if end > start)


def _with_closures(events: list[tuple[str, int]], native: np.ndarray, rate_hz: int) -> list[tuple[str, int]]:
    """Let a stop begin with its closure: espeak marks the burst, and counts the silence before it to what precedes.

    Lips part at the burst, which fades in over a few samples.
    """
    if events and events[0][1] > 0:
        events = [(SILENCE, 0), *events]
    moved = list(events)
    for index, ((before, floor), (name, start)) in enumerate(pairwise(events), 1):
        if not name.lstrip("ˈˌ").startswith(_STOPS):
            continue
        before_burst = start - round(0.003 * rate_hz)
        heard = np.abs(native[floor:before_burst].astype(np.int32))
        loud = np.flatnonzero(heard > max(_QUIET, _ECHO * heard.max(initial=0)))
        closure = floor + int(loud[-1]) + 1 if loud.size else floor
        longest_s = _CLOSURE_AFTER_PAUSE_S if before == SILENCE or not before else _CLOSURE_S
        if closure < before_burst:
            moved[index] = (name, max(closure, start - round(longest_s * rate_hz)))
    return moved


def _speak(text: str, voice: str, rate_wpm: int, pitch: int) -> tuple[np.ndarray, list[tuple[str, int]]]:
    """The library's own samples (int16, native rate) and the (name, start sample) of its phoneme events."""
    library = _load()
    # The voice "cmn" of espeak-ng 1.51 reads characters as English words ("ni three"); this one does not.
    language, plus, variant = voice.partition("+")
    name = ("cmn-latn-pinyin" if language.lower() in ("zh", "zh-cn", "cmn") else language) + plus + variant
    if library.espeak_SetVoiceByName(name.encode()) != 0:
        raise AudioError(f"espeak-ng has no voice {voice!r}; 'espeak-ng --voices' lists them")
    library.espeak_SetParameter(_RATE, rate_wpm, 0)
    library.espeak_SetParameter(_PITCH, pitch, 0)
    chunks: list[np.ndarray] = []
    events: list[tuple[str, int]] = []

    def collect(wav: ctypes._Pointer[ctypes.c_short], n_samples: int, event: ctypes._Pointer[_Event]) -> int:
        if wav and n_samples > 0:
            chunks.append(np.ctypeslib.as_array(wav, (n_samples,)).copy())
        index = 0
        while event[index].type != _EVENT_END:
            if event[index].type == _EVENT_PHONEME:
                events.append((event[index].id.string.decode("utf-8", "ignore"), int(event[index].sample)))
            index += 1
        return 0

    callback = _Callback(collect)
    library.espeak_SetSynthCallback(callback)
    encoded = text.encode("utf-8")
    status = library.espeak_Synth(encoded, len(encoded) + 1, 0, 0, 0, _CHARS_UTF8, None, None)
    library.espeak_Synchronize()
    library.espeak_SetSynthCallback(_Callback())
    if status != 0:
        raise AudioError(f"espeak-ng could not speak {text!r} (status {status})")
    return np.concatenate(chunks) if chunks else np.zeros(0, np.int16), events


def available_voices() -> tuple[str, ...]:
    """The languages that espeak-ng speaks here, by the names that :func:`synthesize` takes.

    Raises:
        AudioError: espeak-ng is not installed.
    """
    with _lock:
        library = _load()
        library.espeak_ListVoices.restype = ctypes.POINTER(ctypes.POINTER(_Voice))
        listed = library.espeak_ListVoices(None)
        names: list[str] = []
        for index in takewhile(lambda index: listed[index], count()):
            # Pairs of a priority, one byte, and a name; an empty one ends them.
            address = listed[index].contents.languages
            while ctypes.string_at(address, 1) != b"\0":
                names.append(ctypes.string_at(address + 1).decode())
                address += len(names[-1].encode()) + 2
    return tuple(dict.fromkeys(names))


def _load() -> ctypes.CDLL:
    """Load and initialise the library once. Called with the lock held."""
    global _library, _native_rate_hz
    if _library is not None:
        return _library
    for name in ("libespeak-ng.so.1", "libespeak-ng.so", "libespeak-ng.1.dylib", "libespeak-ng.dll"):
        try:
            library = ctypes.CDLL(name)
            break
        except OSError:
            continue
    else:
        raise AudioError("libespeak-ng was not found; install espeak-ng (apt install espeak-ng)")
    library.espeak_Synth.argtypes = [
        ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint, ctypes.c_int, ctypes.c_uint, ctypes.c_uint,
        ctypes.c_void_p, ctypes.c_void_p,
    ]  # fmt: skip
    library.espeak_SetSynthCallback.argtypes = [_Callback]
    library.espeak_SetSynthCallback.restype = None
    options = _PHONEME_EVENTS | _PHONEME_IPA | _DONT_EXIT
    rate = library.espeak_Initialize(_RETRIEVAL, _CHUNK_MS, None, options)
    if rate <= 0:
        raise AudioError("espeak-ng found no voice data; install espeak-ng (apt install espeak-ng espeak-ng-data)")
    _library, _native_rate_hz = library, rate
    return library
