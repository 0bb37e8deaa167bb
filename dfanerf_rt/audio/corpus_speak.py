"""Speaks one shard of a corpus, in a process of its own: text to sound, silence around it, room and microphone."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from dfanerf_rt.audio.acoustics import apply_response, noise, random_response
from dfanerf_rt.audio.augment import augment, resample_speech
from dfanerf_rt.audio.corpus_plan import Line
from dfanerf_rt.audio.speech import SAMPLE_RATE_HZ, SILENCE, Phoneme, Speech
from dfanerf_rt.audio.voices import Request, speak_many
from dfanerf_rt.errors import UnspokenError

_FADE_IN_SAMPLES, _FADE_OUT_SAMPLES = 320, 1_280
"""What stays of a synthesiser's own silence before and after an utterance."""
_BABBLING = 3


def speak_shard(name: Path, lines: Sequence[Line]) -> None:
    """Write ``NAME.i16`` and, when that is complete, ``NAME.jsonl``.

    Lines that crash their synthesiser are left out.

    Raises:
        AudioError: a voice cannot speak at all.
    """
    spoken = _speak(lines)
    before: list[np.ndarray] = []
    rows, start = [], 0
    sound, text = name.with_suffix(".i16"), name.with_suffix(".jsonl")
    with sound.open("wb") as stream:
        for index, line in enumerate(lines):
            if line.voice and index not in spoken:
                continue
            samples, phonemes = _say(line, spoken[index], before) if line.voice else _pause(line)
            coded = np.round(np.clip(samples, -1.0, 1.0) * 32767.0).astype("<i2")
            stream.write(coded.tobytes())
            named = [[phoneme.name, phoneme.start_sample, phoneme.end_sample] for phoneme in phonemes]
            row = {"start": start, "samples": coded.size, "line": asdict(line), "phonemes": named}
            rows.append(json.dumps(row, ensure_ascii=False) + "\n")
            start += coded.size
    unfinished = name.with_suffix(".unfinished")
    unfinished.write_text("".join(rows), encoding="utf-8")
    unfinished.replace(text)


def _speak(lines: Sequence[Line]) -> dict[int, Speech]:
    """What is said, by the index of its line."""
    said = [index for index, line in enumerate(lines) if line.voice]
    while True:
        asked = [lines[index] for index in said]
        try:
            spoken = speak_many([Request(line.text, line.voice, line.rate, line.pitch) for line in asked])
        except UnspokenError as fault:
            del said[fault.index]
        else:
            return dict(zip(said, spoken, strict=True))


def surround(speech: Speech, before_s: float, after_s: float) -> Speech:
    """Replace a synthesiser's silence before and after an utterance with silence of given lengths.

    Phonemes still cover the sound; a pause at either end and the silence beside it are one.
    """
    phonemes = list(speech.phonemes)
    first, last = 0, speech.samples.size
    if phonemes[0].name == SILENCE:
        first = max(0, phonemes.pop(0).end_sample - _FADE_IN_SAMPLES)
    if phonemes and phonemes[-1].name == SILENCE:
        last = min(last, phonemes.pop().start_sample + _FADE_OUT_SAMPLES)
    quiet_before, quiet_after = round(before_s * SAMPLE_RATE_HZ), round(after_s * SAMPLE_RATE_HZ)
    samples = np.pad(speech.samples[first:last], (quiet_before, quiet_after))
    shift = quiet_before - first
    moved = [Phoneme(p.name, p.start_sample + shift, p.end_sample + shift) for p in phonemes]
    begin, end = (moved[0].start_sample, moved[-1].end_sample) if moved else (samples.size, samples.size)
    around = [Phoneme(SILENCE, 0, begin), *moved, Phoneme(SILENCE, end, samples.size)]
    return Speech(samples, tuple(p for p in around if p.end_sample > p.start_sample), speech.text)


def _say(line: Line, speech: Speech, before: list[np.ndarray]) -> tuple[np.ndarray, tuple[Phoneme, ...]]:
    placed = surround(resample_speech(speech, line.formants), line.before_s, line.after_s)
    samples = placed.samples
    if not line.clean:
        samples = augment(samples, np.random.default_rng(line.seed), babble=tuple(before))
    before.append(speech.samples)
    del before[:-_BABBLING]
    return samples, placed.phonemes


def _pause(line: Line) -> tuple[np.ndarray, tuple[Phoneme, ...]]:
    """A room in which nobody speaks, from nearly digital silence to loud."""
    random = np.random.default_rng(line.seed)
    n_samples = round(line.before_s * SAMPLE_RATE_HZ)
    level = 10.0 ** (random.uniform(-90.0, -20.0) / 20.0)
    kinds = ("white", "pink", "brown", "hum")
    made = level * noise(kinds[int(random.integers(0, 4))], n_samples, random)  # type: ignore[arg-type]
    return apply_response(made, *random_response(random, 12.0, 2.5)), (Phoneme(SILENCE, 0, n_samples),)
