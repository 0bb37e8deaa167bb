"""The corpus: a function of its settings to the byte, disjoint splits, refusals for folders of another kind."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dfanerf_rt.audio import corpus as corpus_module
from dfanerf_rt.audio.corpus import Corpus, build_corpus
from dfanerf_rt.audio.corpus_plan import HELD_OUT_LANGUAGES, RECORDED, CorpusConfig, Split, fingerprint, plan
from dfanerf_rt.audio.corpus_speak import speak_shard, surround
from dfanerf_rt.audio.speech import SAMPLE_RATE_HZ, SILENCE, Phoneme, Speech
from dfanerf_rt.audio.voices import Request, available_voices, language_of
from dfanerf_rt.errors import AudioError, UnspokenError

SCRIPT = Path(__file__).resolve().parents[2] / "tools" / "build_corpus.py"
VOICES = ("espeak:en", "espeak:de+f2", "espeak:en+whisper", "flite:kal16", "festival:kal_diphone", "festival:czech_ph")
SPLITS: tuple[Split, ...] = ("train", "held-out")
SMALL = CorpusConfig(hours=0.02, voices=VOICES, shard_lines=4, pause_share=0.1, seed=7)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    missing = sorted({voice.partition("+")[0] for voice in VOICES}.difference(available_voices()))
    if missing:
        pytest.skip(f"voices are not installed: {', '.join(missing)}")
    seen: list[tuple[int, int]] = []
    built = build_corpus(tmp_path_factory.mktemp("corpus") / "small", SMALL, 1, lambda *counts: seen.append(counts))
    assert seen[0] == (0, len(built)) and seen[-1] == (len(built), len(built))
    return built


def test_two_builds_are_the_same_to_the_byte_whatever_the_workers(small: Corpus, tmp_path: Path) -> None:
    again = build_corpus(tmp_path / "again", SMALL, workers=2)
    for name in ("sound.i16", "lines.jsonl", "corpus.json"):
        assert (again.folder / name).read_bytes() == (small.folder / name).read_bytes(), name
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again"], "nothing is left behind"


def test_utterances_are_as_planned_and_phonemes_cover_them(small: Corpus) -> None:
    lines = plan(SMALL)
    assert len(small) == len(lines) > 6
    total = 0
    for index, line in enumerate(lines):
        samples, phonemes, said = small.utterance(index)
        assert said == line
        assert samples.dtype == np.float32 and np.abs(samples).max(initial=0.0) <= 1.0
        total += samples.size
        edges = [0, *(phoneme.end_sample for phoneme in phonemes)]
        assert [phoneme.start_sample for phoneme in phonemes] == edges[:-1] and edges[-1] == samples.size
        assert phonemes[0].name == phonemes[-1].name == SILENCE
        if line.voice:
            assert line.before_s * SAMPLE_RATE_HZ - 1 <= phonemes[0].end_sample <= line.before_s * SAMPLE_RATE_HZ + 321
            assert {phoneme.name for phoneme in phonemes} != {SILENCE}
        if line.voice and line.clean:
            assert not samples[: round(line.before_s * SAMPLE_RATE_HZ)].any()
    assert small.hours == pytest.approx(total / SAMPLE_RATE_HZ / 3600)
    assert 0.6 < small.hours / SMALL.hours < 1.8
    with pytest.raises(IndexError):
        small.utterance(len(small))


def test_a_built_corpus_is_opened_and_another_is_refused(small: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*arguments: object) -> None:
        raise AssertionError("spoken again")

    monkeypatch.setattr(corpus_module, "speak_shard", never)
    assert len(build_corpus(small.folder, SMALL)) == len(small)
    with pytest.raises(AudioError, match="holds a corpus of other settings"):
        build_corpus(small.folder, replace(SMALL, seed=4))


def test_an_interrupted_build_goes_on(small: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(done: int, lines: int) -> None:
        if done:
            raise KeyboardInterrupt

    folder = tmp_path / "late"
    with pytest.raises(KeyboardInterrupt):
        build_corpus(folder, SMALL, on_progress=interrupt)
    assert not folder.exists()
    started: list[int] = []
    late = build_corpus(folder, SMALL, on_progress=lambda done, lines: started.append(done))
    assert started[0] >= SMALL.shard_lines, "the first shard is there already"
    assert (late.folder / "sound.i16").read_bytes() == (small.folder / "sound.i16").read_bytes()


def test_damage_is_named(small: Corpus, tmp_path: Path) -> None:
    with pytest.raises(AudioError, match=r"holds no speech corpus \(corpus.json is missing\)"):
        Corpus(tmp_path)
    meta = json.loads((small.folder / "corpus.json").read_text())
    (tmp_path / "corpus.json").write_text(json.dumps({**meta, "format": "other/9"}))
    with pytest.raises(AudioError, match="format is 'other/9', expected 'dfanerf-speech/2'"):
        Corpus(tmp_path)
    (tmp_path / "corpus.json").write_text(json.dumps(meta))
    (tmp_path / "sound.i16").write_bytes((small.folder / "sound.i16").read_bytes()[:-2])
    (tmp_path / "lines.jsonl").write_bytes((small.folder / "lines.jsonl").read_bytes())
    with pytest.raises(AudioError, match=r"damaged corpus .* samples, expected"):
        Corpus(tmp_path)
    (tmp_path / "sound.i16").write_bytes((small.folder / "sound.i16").read_bytes())
    rows = (small.folder / "lines.jsonl").read_text("utf-8").splitlines()
    (tmp_path / "lines.jsonl").write_text("\n".join(['{"start": 0}', *rows[1:]]) + "\n", encoding="utf-8")
    with pytest.raises(AudioError, match="damaged line 0"):
        Corpus(tmp_path).utterance(0)


def test_the_plan_is_a_function_of_its_settings() -> None:
    lines = plan(CorpusConfig(hours=2.0))
    assert lines == plan(CorpusConfig(hours=2.0))
    assert lines[:100] == plan(CorpusConfig(hours=1.0))[:100]
    assert lines[:100] != plan(CorpusConfig(hours=2.0, seed=1))[:100]
    marks = {fingerprint(c, plan(c)) for c in (CorpusConfig(), CorpusConfig(seed=1), CorpusConfig(clean_share=0.3))}
    assert len(marks) == 3
    spoken = [line for line in lines if line.voice]
    assert 0.01 < 1 - len(spoken) / len(lines) < 0.06
    assert 0.4 < np.mean([line.voice in RECORDED for line in spoken]) < 0.6
    assert 0.14 < np.mean([line.clean for line in spoken]) < 0.26
    assert {line.voice for line in spoken} >= set(RECORDED)
    assert len({line.language for line in spoken}) >= 24
    assert 0.95 < np.median([line.formants for line in spoken]) < 1.05


def test_the_splits_share_no_voice_and_no_language_but_english() -> None:
    train, held_out = ([line for line in plan(CorpusConfig(hours=4.0, split=split)) if line.voice] for split in SPLITS)
    assert not {line.voice for line in train} & {line.voice for line in held_out}
    # flite's rms is a new speaker of a known language.
    assert {line.language for line in train} & {line.language for line in held_out} == {"en"}
    assert {line.language for line in held_out} == {*HELD_OUT_LANGUAGES, "en"}
    known, new = (
        {line.voice.partition("+")[2] for line in lines if line.voice.startswith("espeak")}
        for lines in (train, held_out)
    )
    assert not known & new
    assert language_of("festival:czech_ph") == "cs" and language_of("espeak:en-gb-scotland+f1") == "en"


def test_silence_around_an_utterance_is_as_long_as_asked() -> None:
    samples = np.ones(10_000, np.float32)
    phonemes = (Phoneme(SILENCE, 0, 2_000), Phoneme("a", 2_000, 6_000), Phoneme(SILENCE, 6_000, 10_000))
    placed = surround(Speech(samples, phonemes, "a"), 0.5, 0.25)
    assert [(p.name, p.start_sample, p.end_sample) for p in placed.phonemes] == [
        (SILENCE, 0, 8_320),
        ("a", 8_320, 12_320),
        (SILENCE, 12_320, 17_600),
    ]
    assert placed.samples[8_000:13_600].all() and placed.samples.sum() == 5_600


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"hours": 0.0}, "hours is 0.0"),
        ({"split": "test"}, "split is 'test', expected train or held-out"),
        ({"clean_share": 1.5}, "clean_share is 1.5, expected 0 to 1"),
        ({"rate": (0.1, 1.0)}, "rate is 0.1 to 1.0, expected a range within 0.5 to 2.0"),
        ({"voices": ("espeak:xx",)}, "no sentences in the language 'xx'"),
    ],
)
def test_settings_that_make_no_sense_are_refused(changes: dict, says: str) -> None:
    with pytest.raises(AudioError, match=says):
        plan(replace(SMALL, **changes))


def test_missing_voices_are_named_before_anything_is_spoken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpus_module, "available_voices", lambda: ("espeak:en",))
    with pytest.raises(AudioError, match="4 voices are not installed: espeak:de, festival:czech_ph"):
        build_corpus(tmp_path / "none", SMALL)
    assert not list(tmp_path.iterdir())


def test_the_command_says_in_one_line_what_is_wrong(tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPT), "--out", str(tmp_path), "--hours", "0.001"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == f"build_corpus: {tmp_path}: holds no speech corpus (corpus.json is missing)\n"


def test_a_line_that_crashes_its_synthesiser_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dfanerf_rt.audio import corpus_speak

    lines = [line for line in plan(SMALL) if line.voice][:4]
    speak_shard(tmp_path / "whole", lines)
    speak = corpus_speak.speak_many

    def crash(requests: Sequence[Request]) -> list[Speech]:
        for index, request in enumerate(requests):
            if request.text == lines[1].text:
                raise UnspokenError("malloc(): corrupted top size", index)
        return speak(requests)

    monkeypatch.setattr(corpus_speak, "speak_many", crash)
    speak_shard(tmp_path / "crashed", lines)
    whole, crashed = (
        [json.loads(row) for row in (tmp_path / f"{name}.jsonl").read_text("utf-8").splitlines()]
        for name in ("whole", "crashed")
    )
    assert [row["line"]["text"] for row in crashed] == [row["line"]["text"] for row in whole if row is not whole[1]]
    assert (tmp_path / "crashed.i16").stat().st_size == 2 * sum(row["samples"] for row in crashed)


def test_too_many_lost_lines_are_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [line for line in plan(SMALL) if line.voice]
    speak_shard(tmp_path / "00000", lines[:2])
    with pytest.raises(AudioError, match="1 of 3 lines crashed their synthesiser"):
        corpus_module._join(tmp_path, [tmp_path / "00000"], SMALL, "mark", 3)
