"""Recorded-speech synthesis with phoneme times in several languages, from Festival.

Festival (Black, Taylor & Caley 1998) joins diphones or units that a person once recorded, or runs a hidden Markov
model trained on such recordings. The program is driven with a script, one process for many sentences of one voice.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import wave
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np

from dfanerf_rt.audio.intake import to_mono_16k
from dfanerf_rt.audio.phone_sets import to_ipa
from dfanerf_rt.audio.speech import Speech, cover
from dfanerf_rt.errors import AudioError, UnspokenError


@dataclass(frozen=True)
class FestivalVoice:
    """One voice: where it comes from, how it writes, what can be set."""

    package: str
    """Debian package."""
    language: str
    phone_set: str
    """Key of :data:`dfanerf_rt.audio.phone_sets.PHONE_SETS`."""
    encoding: str = "utf-8"
    """Of the text that the voice reads."""
    engine: Literal["diphone", "hts", "units"] = "diphone"
    """Diphones take rate and pitch, the HTS engine the rate alone, units are played as they were recorded."""


VOICES: dict[str, FestivalVoice] = {
    "kal_diphone": FestivalVoice("festvox-kallpc16k", "en", "radio"),
    "ked_diphone": FestivalVoice("festvox-kdlpc16k", "en", "radio"),
    "cmu_us_slt_arctic_hts": FestivalVoice("festvox-us-slt-hts", "en", "radio", engine="hts"),
    "lp_diphone": FestivalVoice("festvox-italp16k", "it", "italian", "latin-1"),
    "pc_diphone": FestivalVoice("festvox-itapc16k", "it", "italian", "latin-1"),
    "suo_fi_lj_diphone": FestivalVoice("festvox-suopuhe-lj", "fi", "finnish", "latin-1"),
    "hy_fi_mv_diphone": FestivalVoice("festvox-suopuhe-mv", "fi", "finnish", "latin-1"),
    "czech_dita": FestivalVoice("festvox-czech-dita", "cs", "czech", "iso8859-2"),
    "czech_krb": FestivalVoice("festvox-czech-krb", "cs", "czech", "iso8859-2"),
    "czech_machac": FestivalVoice("festvox-czech-machac", "cs", "czech", "iso8859-2"),
    "czech_ph": FestivalVoice("festvox-czech-ph", "cs", "czech", "iso8859-2"),
    "upc_ca_ona_hts": FestivalVoice("festvox-ca-ona-hts", "ca", "catalan", "iso8859-15", engine="hts"),
    "msu_ru_nsh_clunits": FestivalVoice("festvox-ru", "ru", "russian", engine="units"),
    "hindi_NSK_diphone": FestivalVoice("festvox-hi-nsk festival-hi", "hi", "indic"),
    "marathi_NSK_diphone": FestivalVoice("festvox-mr-nsk festival-mr", "mr", "indic"),
    "telugu_NSK_diphone": FestivalVoice("festvox-te-nsk festival-te", "te", "indic"),
}
"""Festival's name of each voice of Debian 12."""

# Runs after the analysis of a sentence and before its sound is made: every diphone voice plans its own durations and
# pitch by then, in its own way, so this is the one place where both can be scaled for all of them.
_PROSODY = """
(defvar the_stretch 1.0)
(defvar the_pitch 1.0)
(define (scale_prosody utt)
  (mapcar
   (lambda (target)
     (item.set_feat target "f0" (* the_pitch (item.feat target "f0")))
     (item.set_feat target "pos" (* the_stretch (item.feat target "pos"))))
   (utt.relation.items utt 'Target))
  (mapcar
   (lambda (segment) (item.set_feat segment "end" (* the_stretch (item.feat segment "end"))))
   (utt.relation.items utt 'Segment))
  utt)
(define (say words sound times)
  (let ((utt (utt.synth (eval (list 'Utterance 'Text words)))) (stream (fopen times "w")))
    (mapcar
     (lambda (segment) (format stream "%s %f\\n" (item.name segment) (item.feat segment "end")))
     (utt.relation.items utt 'Segment))
    (fclose stream)
    (utt.save.wave utt sound 'riff)))
"""
_SETUP = {
    "diphone": "(set! after_analysis_hooks (append after_analysis_hooks (list scale_prosody)))\n",
    "hts": "(set! plain_params hts_engine_params)\n",
    "units": "",
}


def synthesize_many(requests: Sequence[tuple[str, float, float]], voice: str = "kal_diphone") -> list[Speech]:
    """Speak many sentences with one voice, in one process.

    Args:
        requests: (text in the voice's language, rate, pitch) of each; rate and pitch are relative to the voice's own,
            0.4 to 2.5, and 1 where the voice's engine cannot change it (:class:`FestivalVoice`).
        voice: a key of :data:`VOICES`.

    Raises:
        AudioError: Festival or the voice is not installed, a setting is out of range, a text has letters that the
            voice does not read, or Festival failed (:class:`UnspokenError`: some sentences crash some of its voices).
    """
    known = _known(voice)
    if not requests:
        return []
    with tempfile.TemporaryDirectory(prefix="festival") as name:
        folder = Path(name)
        script = folder / "say.scm"
        lines = [_PROSODY, f"(voice_{voice})\n", _SETUP[known.engine]]
        lines += [_line(known, voice, index, *request) for index, request in enumerate(requests)]
        script.write_bytes("".join(lines).encode(known.encoding))
        command = [_program(), "-b", str(script)]
        done = subprocess.run(command, cwd=folder, capture_output=True, stdin=subprocess.DEVNULL, check=False)
        spoken = []
        for index, (text, _, _) in enumerate(requests):
            if not (folder / f"{index}.wav").is_file():
                reason = " ".join(done.stderr.decode("utf-8", "replace").split()) or f"status {done.returncode}"
                raise UnspokenError(f"festival's voice {voice!r} could not speak {text!r} ({reason})", index)
            spoken.append(_read(folder, index, known, text))
    return spoken


def synthesize(text: str, voice: str = "kal_diphone", rate: float = 1.0, pitch: float = 1.0) -> Speech:
    """Speak one sentence; see :func:`synthesize_many`, which is much faster for many."""
    return synthesize_many([(text, rate, pitch)], voice)[0]


@cache
def available_voices() -> tuple[str, ...]:
    """The voices of :data:`VOICES` that are installed; none without Festival."""
    program = shutil.which("festival")
    if program is None:
        return ()
    done = subprocess.run(
        [program, "-b", "(print (voice.list))"], capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False
    )
    installed = done.stdout.replace("(", " ").replace(")", " ").split()
    return tuple(voice for voice in VOICES if voice in installed)


def _known(voice: str) -> FestivalVoice:
    if voice not in VOICES:
        raise AudioError(f"the voice {voice!r} of festival is not known; expected one of {', '.join(VOICES)}")
    _program()
    if voice not in available_voices():
        raise AudioError(f"festival's voice {voice!r} is not installed (apt install {VOICES[voice].package})")
    return VOICES[voice]


def _program() -> str:
    program = shutil.which("festival")
    if program is None:
        raise AudioError("festival was not found; install it (apt install festival)")
    return program


def _line(known: FestivalVoice, voice: str, index: int, text: str, rate: float, pitch: float) -> str:
    """The script's line that speaks one sentence."""
    for name, value, settable in (
        ("rate", rate, known.engine != "units"),
        ("pitch", pitch, known.engine == "diphone"),
    ):
        if not 0.4 <= value <= 2.5:
            raise AudioError(f"{name} is {value}, expected 0.4 to 2.5")
        if value != 1.0 and not settable:
            raise AudioError(f"the {name} of festival's voice {voice!r} cannot be set")
    try:
        text.encode(known.encoding)
    except UnicodeEncodeError as fault:
        letter = text[fault.start]
        raise AudioError(f"festival's voice {voice!r} does not read the letter {letter!r} of {text!r}") from None
    words = " ".join(text.replace("\\", " ").replace('"', " ").split())
    setting = ""
    if known.engine == "diphone":
        setting = f"(set! the_stretch {1.0 / rate:.6f})(set! the_pitch {pitch:.6f})"
    elif known.engine == "hts":
        setting = f'(set! hts_engine_params (append plain_params (list (list "-r" {rate:.6f}))))'
    return f'{setting}(say "{words}" "{index}.wav" "{index}.txt")\n'


def _read(folder: Path, index: int, known: FestivalVoice, text: str) -> Speech:
    with wave.open(str(folder / f"{index}.wav")) as stream:
        rate_hz = stream.getframerate()
        native = np.frombuffer(stream.readframes(stream.getnframes()), "<i2")
    pairs = [line.split() for line in (folder / f"{index}.txt").read_text("ascii").splitlines()]
    if native.size == 0 or not pairs:
        raise AudioError(f"festival said nothing for the text {text!r}")
    samples = to_mono_16k(native, rate_hz)
    ends = [(to_ipa(known.phone_set, phone), float(end_s)) for phone, end_s in pairs]
    return Speech(samples, cover(ends, samples.size), text)
