"""Recorded-speech synthesis with phoneme times, from Flite's C library through ctypes.

Flite (Black & Lenzo 2001, "Flite: a small fast run-time synthesis engine") has a diphone voice (kal16) and voices
that a statistical model learnt from hours of one speaker (awb, rms, slt). American English words in all four.
"""

from __future__ import annotations

import ctypes
import threading
from functools import cache

import numpy as np

from dfanerf_rt.audio.intake import to_mono_16k
from dfanerf_rt.audio.phone_sets import to_ipa
from dfanerf_rt.audio.speech import Speech, cover
from dfanerf_rt.errors import AudioError

VOICES = ("kal16", "awb", "rms", "slt")
FIXED_PITCH = ("rms",)
"""Voices that ignore every setting of pitch (Flite 2.2)."""

_BASE_F0_HZ = 95.0
"""The f0 mean of kal16; the other voices take a factor."""


class _Voice(ctypes.Structure):
    """The beginning of cst_voice (cst_voice.h)."""

    _fields_ = [("name", ctypes.c_char_p), ("features", ctypes.c_void_p)]


class _Wave(ctypes.Structure):
    """cst_wave (cst_wave.h)."""

    _fields_ = [
        ("type", ctypes.c_char_p),
        ("sample_rate", ctypes.c_int),
        ("num_samples", ctypes.c_int),
        ("num_channels", ctypes.c_int),
        ("samples", ctypes.POINTER(ctypes.c_short)),
    ]


# Settings live in the voice, which is one for the whole process.
_lock = threading.Lock()


def synthesize(text: str, voice: str = "slt", rate: float = 1.0, pitch: float = 1.0) -> Speech:
    """Speak English ``text`` with Flite.

    Args:
        voice: one of :data:`VOICES`.
        rate: speed relative to the voice's own, 0.4 to 2.5.
        pitch: base pitch relative to the voice's own, 0.4 to 2.5; 1 for a voice of :data:`FIXED_PITCH`.

    Raises:
        AudioError: Flite or the voice is not installed, a setting is out of range, or nothing was said.
    """
    for name, value in (("rate", rate), ("pitch", pitch)):
        if not 0.4 <= value <= 2.5:
            raise AudioError(f"{name} is {value}, expected 0.4 to 2.5")
    if pitch != 1.0 and voice in FIXED_PITCH:
        raise AudioError(f"the pitch of flite's voice {voice!r} cannot be set")
    with _lock:
        library = _load()
        spoken = _load_voice(voice)
        _set(library, spoken, "duration_stretch", 1.0 / rate)
        if voice == "kal16":
            _set(library, spoken, "int_f0_target_mean", _BASE_F0_HZ * pitch)
        elif voice not in FIXED_PITCH:
            _set(library, spoken, "f0_shift", pitch)
        utterance = library.flite_synth_text(text.encode("utf-8"), spoken)
        if not utterance:
            raise AudioError(f"flite could not speak {text!r}")
        try:
            wave = library.utt_wave(utterance).contents
            native = np.ctypeslib.as_array(wave.samples, (wave.num_samples,)).copy() if wave.num_samples else None
            rate_hz, ends = int(wave.sample_rate), _segments(library, utterance)
        finally:
            library.delete_utterance(utterance)
    if native is None or not ends:
        raise AudioError(f"flite said nothing for the text {text!r}")
    samples = to_mono_16k(native, rate_hz)
    return Speech(samples, cover([(to_ipa("radio", phone), end_s) for phone, end_s in ends], samples.size), text)


def available_voices() -> tuple[str, ...]:
    """The voices of :data:`VOICES` that are installed."""
    found = []
    for voice in VOICES:
        try:
            _load_voice(voice)
        except AudioError:
            continue
        found.append(voice)
    return tuple(found)


def _segments(library: ctypes.CDLL, utterance: int) -> list[tuple[str, float]]:
    """(phone, end in seconds) of the utterance."""
    found = []
    item = library.relation_head(library.utt_relation(utterance, b"Segment"))
    while item:
        found.append((library.item_feat_string(item, b"name").decode(), float(library.item_feat_float(item, b"end"))))
        item = library.item_next(item)
    return found


def _set(library: ctypes.CDLL, voice: ctypes._Pointer[_Voice], name: str, value: float) -> None:
    library.flite_feat_set_float(voice.contents.features, _name(name), value)


@cache
def _name(name: str) -> bytes:
    """A name that lives as long as the process: Flite keeps the pointer."""
    return name.encode()


@cache
def _load_voice(voice: str) -> ctypes._Pointer[_Voice]:
    if voice not in VOICES:
        raise AudioError(f"flite has no voice {voice!r}; expected one of {', '.join(VOICES)}")
    _load()
    try:
        register = getattr(ctypes.CDLL(f"libflite_cmu_us_{voice}.so.1"), f"register_cmu_us_{voice}")
    except (OSError, AttributeError):
        raise AudioError(f"the voice {voice!r} of flite was not found; install it (apt install libflite1)") from None
    register.restype = ctypes.POINTER(_Voice)
    register.argtypes = [ctypes.c_char_p]
    registered: ctypes._Pointer[_Voice] = register(None)
    return registered


@cache
def _load() -> ctypes.CDLL:
    try:
        library = ctypes.CDLL("libflite.so.1", mode=ctypes.RTLD_GLOBAL)
    except OSError:
        raise AudioError("libflite was not found; install flite (apt install libflite1)") from None
    pointer, text = ctypes.c_void_p, ctypes.c_char_p
    for name, result, arguments in (
        ("flite_init", ctypes.c_int, []),
        ("flite_synth_text", pointer, [text, ctypes.POINTER(_Voice)]),
        ("flite_feat_set_float", None, [pointer, text, ctypes.c_float]),
        ("utt_wave", ctypes.POINTER(_Wave), [pointer]),
        ("utt_relation", pointer, [pointer, text]),
        ("relation_head", pointer, [pointer]),
        ("item_next", pointer, [pointer]),
        ("item_feat_string", text, [pointer, text]),
        ("item_feat_float", ctypes.c_float, [pointer, text]),
        ("delete_utterance", None, [pointer]),
    ):
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    library.flite_init()
    return library
