"""A corpus of synthesised speech on disk: built once from its settings, then read through a memory map.

A folder: ``corpus.json`` (settings, fingerprint, counts), ``sound.i16`` (all utterances one after another, int16 at
16 kHz, little endian), ``lines.jsonl`` (one object an utterance: where it begins, who says what, its phonemes).
"""

from __future__ import annotations

import json
import multiprocessing
import shutil
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dfanerf_rt.audio.corpus_plan import FORMAT, CorpusConfig, Line, fingerprint, plan
from dfanerf_rt.audio.corpus_speak import speak_shard
from dfanerf_rt.audio.speech import SAMPLE_RATE_HZ, Phoneme
from dfanerf_rt.audio.voices import available_voices
from dfanerf_rt.errors import AudioError
from dfanerf_rt.files import parse_json_object, write_json

UNSPOKEN_SHARE = 0.01
"""A synthesiser crashes on a sentence now and then; more than this share of lines lost is a fault."""


class Utterance(NamedTuple):
    """One line of a corpus as it is heard."""

    samples: np.ndarray
    """(N,) float32 in [-1, 1], 16 kHz."""
    phonemes: tuple[Phoneme, ...]
    """They cover the samples; silence and pauses are ``"_"``."""
    line: Line


class Corpus:
    """A built corpus; reading one utterance reads nothing else.

    Raises:
        AudioError: the folder holds no corpus, one of another format, or one that is damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        self.meta = _read_meta(self.folder)
        text, sound = self.folder / "lines.jsonl", self.folder / "sound.i16"
        try:
            self._lines = text.read_text("utf-8").splitlines()
            self._sound = np.memmap(sound, "<i2", mode="r")
        except (OSError, ValueError) as fault:
            raise AudioError(f"{self.folder}: damaged corpus ({fault})") from fault
        found = (len(self._lines), self._sound.size)
        expected = (self.meta["utterances"], self.meta["samples"])
        if found != expected:
            raise AudioError(
                f"{self.folder}: damaged corpus ({found[0]} lines and {found[1]} samples, "
                f"expected {expected[0]} and {expected[1]})"
            )

    def __len__(self) -> int:
        return len(self._lines)

    @property
    def unspoken(self) -> int:
        """Lines that are missing because they crashed their synthesiser."""
        return int(self.meta["unspoken"])

    @property
    def hours(self) -> float:
        """Length of all utterances."""
        return float(self._sound.size / SAMPLE_RATE_HZ / 3600.0)

    def utterance(self, index: int) -> Utterance:
        """The utterance at ``index``, from 0.

        Raises:
            AudioError: its entry is damaged.
            IndexError: there is no such utterance.
        """
        entry = parse_json_object(self._lines[index], f"{self.folder}: damaged line {index}", AudioError)
        try:
            start, n_samples = int(entry["start"]), int(entry["samples"])
            phonemes = tuple(Phoneme(str(name), int(begin), int(end)) for name, begin, end in entry["phonemes"])
            line = Line(**entry["line"])
        except (KeyError, TypeError, ValueError) as fault:
            raise AudioError(f"{self.folder}: damaged line {index} ({fault})") from fault
        samples = self._sound[start : start + n_samples].astype(np.float32) / 32768.0
        return Utterance(samples, phonemes, line)


def build_corpus(
    folder: Path,
    config: CorpusConfig | None = None,
    workers: int = 1,
    on_progress: Callable[[int, int], None] | None = None,
) -> Corpus:
    """Speak a corpus into ``folder``, or open the one of these settings that is there.

    Each shard is spoken by a fresh process, since espeak-ng keeps state; an interrupted build goes on with the shards
    that are missing. The calling script needs the ``if __name__ == "__main__"`` of every program that spawns.

    Args:
        workers: processes at a time; what is built does not depend on it.
        on_progress: called with (lines done, lines in all), at the start and after each shard.

    Raises:
        AudioError: a voice is not installed, more than one line in a hundred cannot be spoken, or the folder holds
            something else: a corpus of other settings, or files of another kind.
    """
    config = config or CorpusConfig()
    folder = Path(folder)
    lines = plan(config)
    mark = fingerprint(config, lines)
    if folder.exists():
        return _open_same(folder, mark)
    _check_voices(lines)
    building = folder.parent / f".{folder.name}.{mark}"
    building.mkdir(parents=True, exist_ok=True)
    shards = [lines[start : start + config.shard_lines] for start in range(0, len(lines), config.shard_lines)]
    names = [building / f"{index:05d}" for index in range(len(shards))]
    missing = [index for index, name in enumerate(names) if not name.with_suffix(".jsonl").is_file()]
    done = sum(len(shard) for shard in shards) - sum(len(shards[index]) for index in missing)
    if on_progress is not None:
        on_progress(done, len(lines))
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max(1, workers), mp_context=spawn, max_tasks_per_child=1) as pool:
        try:
            pending = [pool.submit(speak_shard, names[index], shards[index]) for index in missing]
            for index, future in zip(missing, pending, strict=True):
                future.result()
                done += len(shards[index])
                if on_progress is not None:
                    on_progress(done, len(lines))
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    _join(building, names, config, mark, len(lines))
    building.replace(folder)
    return Corpus(folder)


def _join(building: Path, names: list[Path], config: CorpusConfig, mark: str, n_planned: int) -> None:
    """Put the shards into one file of sound and one of lines, and remove them."""
    n_samples = n_lines = 0
    with (building / "sound.i16").open("wb") as sound, (building / "lines.jsonl").open("w", encoding="utf-8") as text:
        for name in names:
            base = n_samples
            for row in name.with_suffix(".jsonl").read_text("utf-8").splitlines():
                entry = json.loads(row)
                entry["start"] += base
                n_samples = entry["start"] + entry["samples"]
                text.write(json.dumps(entry, ensure_ascii=False) + "\n")
                n_lines += 1
            with name.with_suffix(".i16").open("rb") as part:
                shutil.copyfileobj(part, sound)
    if n_lines < (1.0 - UNSPOKEN_SHARE) * n_planned:
        raise AudioError(f"{n_planned - n_lines} of {n_planned} lines crashed their synthesiser")
    counts = {"utterances": n_lines, "unspoken": n_planned - n_lines, "samples": n_samples}
    meta = {"format": FORMAT, "fingerprint": mark, **counts}
    write_json(building / "corpus.json", {**meta, "config": asdict(config)})
    for name in names:
        name.with_suffix(".jsonl").unlink()
        name.with_suffix(".i16").unlink()


def _open_same(folder: Path, mark: str) -> Corpus:
    found = _read_meta(folder)["fingerprint"]
    if found != mark:
        raise AudioError(
            f"{folder}: holds a corpus of other settings ({found}, expected {mark}); choose another folder"
        )
    return Corpus(folder)


def _read_meta(folder: Path) -> dict[str, Any]:
    path = folder / "corpus.json"
    try:
        meta = parse_json_object(path.read_bytes(), f"{path}: damaged JSON", AudioError)
    except OSError:
        raise AudioError(f"{folder}: holds no speech corpus (corpus.json is missing)") from None
    if meta.get("format") != FORMAT:
        raise AudioError(f"{path}: format is {meta.get('format')!r}, expected {FORMAT!r}")
    for name, kind in (("fingerprint", str), ("utterances", int), ("unspoken", int), ("samples", int)):
        if not isinstance(meta.get(name), kind):
            raise AudioError(f"{path}: {name} is {meta.get(name)!r}, expected {kind.__name__}")
    return meta


def _check_voices(lines: tuple[Line, ...]) -> None:
    """Refuse before anything is spoken, naming every voice that is missing."""
    wanted = {line.voice.partition("+")[0] for line in lines if line.voice}
    missing = sorted(wanted.difference(available_voices()))
    if missing:
        raise AudioError(
            f"{len(missing)} voices are not installed: {', '.join(missing)} (.ci/system-packages corpus installs them)"
        )
