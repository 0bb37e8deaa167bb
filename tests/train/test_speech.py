"""Lips that belong to synthesised speech: closed where the phonemes say so, one code a frame."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from dfanerf_rt.attributes.model import AttributeModel, mouth_opening
from dfanerf_rt.audio.corpus import Corpus
from dfanerf_rt.audio.corpus_plan import FORMAT, Line
from dfanerf_rt.audio.speech import Phoneme
from dfanerf_rt.audio.visemes import viseme_track
from dfanerf_rt.face.model import FaceModel
from dfanerf_rt.sync.model import AudioEncoder
from dfanerf_rt.train.speech import lip_codes, rest_code, speech_pairs

BUILD_SYNC = Path(__file__).resolve().parents[2] / "tools" / "build_sync.py"
SPOKEN = (Phoneme("_", 0, 6400), Phoneme("a", 6400, 12_800), Phoneme("m", 12_800, 16_000), Phoneme("a", 16_000, 22_500))


def _openings(codes: torch.Tensor) -> np.ndarray:
    mouth, _ = AttributeModel.bundled().decode(codes, torch.zeros(len(codes), 16))
    return mouth_opening(mouth).numpy() * 1e3


def test_lips_open_at_a_close_at_m_and_rest_in_silence() -> None:
    codes = lip_codes(SPOKEN, 22_500, AttributeModel.bundled(), FaceModel.bundled())
    assert codes.shape == (36, 32) and codes.dtype == torch.float32 and not codes.requires_grad
    opening = _openings(codes)
    assert opening[15] > 8.0 and opening[30] > 8.0  # mm, in the middle of each a
    assert opening[22] < 1.0  # in the middle of the m
    torch.testing.assert_close(codes[2], rest_code(), atol=0.05, rtol=0.0)
    assert _openings(rest_code()[None])[0] < 1.0


def test_codes_are_those_of_the_landmarks() -> None:
    """No identity, and so the code of a person who shows the same expression."""
    face = FaceModel.bundled()
    identity = torch.linspace(-1.0, 1.0, face.n_identity)
    person = AttributeModel.bundled().for_person(face.landmarks(identity, torch.zeros(52)))
    expression = torch.from_numpy(viseme_track(SPOKEN, 22_500))
    of_person, _ = person.encode(face.landmarks(identity, expression))
    torch.testing.assert_close(
        lip_codes(SPOKEN, 22_500, AttributeModel.bundled(), face), of_person, atol=2e-3, rtol=1e-3
    )


def test_pairs_of_a_corpus_are_its_sound_with_its_lips(tmp_path: Path) -> None:
    sound = np.round(np.random.default_rng(0).uniform(-9000, 9000, 45_000)).astype("<i2")
    sound.tofile(tmp_path / "sound.i16")
    line = asdict(Line("espeak:en", "en", "mama", 1.0, 1.0, 1.0, 0.4, 0.0, True, 1))
    named = [[p.name, p.start_sample, p.end_sample] for p in SPOKEN]
    rows = [{"start": start, "samples": 22_500, "line": line, "phonemes": named} for start in (0, 22_500)]
    (tmp_path / "lines.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    meta = {"format": FORMAT, "fingerprint": "0", "utterances": 2, "unspoken": 0, "samples": 45_000}
    (tmp_path / "corpus.json").write_text(json.dumps(meta), encoding="utf-8")
    corpus = Corpus(tmp_path)
    first, second = speech_pairs(corpus)
    np.testing.assert_array_equal(second[0], sound[22_500:].astype(np.float32) / 32768.0)
    torch.testing.assert_close(first[1], second[1], atol=0.0, rtol=0.0)
    ((only, codes),) = speech_pairs(corpus, [1])
    np.testing.assert_array_equal(only, second[0])
    assert codes.shape == (36, 32)


def test_the_script_that_builds_the_bundled_encoder_runs(tmp_path: Path) -> None:
    out = tmp_path / "sync.safetensors"
    command = [sys.executable, str(BUILD_SYNC), "--work", str(tmp_path), "--out", str(out), "--hours", "0.02"]
    command += ["--steps", "3", "--workers", "1", "--voices", "espeak:en", "espeak:de+m3"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    made, bundled = AudioEncoder.load(out), AudioEncoder.bundled()
    assert made.config == bundled.config
    # Components in which codes are compared are scaled by one over the root of their spread: the largest comes first.
    scales = made.similarity.norm(dim=0)
    assert (scales.diff() >= 0).all() and scales[-1] > 2 * scales[0]
