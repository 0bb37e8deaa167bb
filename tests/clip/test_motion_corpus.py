"""The corpus of people who speak and move: a function of its settings; what is in it belongs to the voice."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from dfanerf_rt.audio.voices import available_voices
from dfanerf_rt.clip.motion_corpus import (
    MotionCorpus,
    MotionCorpusConfig,
    build_motion_corpus,
    draw_voices,
    encoder_name,
    perform_take,
)
from dfanerf_rt.errors import ClipError
from dfanerf_rt.evaluate.blinks import blink_statistics, eye_openness
from dfanerf_rt.evaluate.liveliness import motion_energy, stress_correlation
from dfanerf_rt.files import load_tensors, save_tensors
from dfanerf_rt.sync.model import AudioEncoder, encode_audio

SCRIPT = Path(__file__).resolve().parents[2] / "tools" / "build_motion_corpus.py"
SMALL = MotionCorpusConfig(hours=0.03, n_personas=2, take_s=30.0, seed=5)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if "espeak:en" not in available_voices():
        pytest.skip("espeak-ng is not installed")
    folder = tmp_path_factory.mktemp("motion") / "small"
    seen: list[float] = []
    build_motion_corpus(folder, SMALL, 1, lambda share, what: seen.append(share))
    assert seen == sorted(seen) and seen[-1] == 1.0
    return folder


def test_takes_are_whole_and_of_every_person(small: Path) -> None:
    corpus = MotionCorpus(small)
    takes = list(corpus)
    assert len(takes) == len(corpus) and {take.persona for take in takes} == {0, 1}
    assert corpus.hours == pytest.approx(SMALL.hours, rel=0.25)
    for take in takes:
        n_frames = len(take.track)
        assert take.track.eye_code is not None and take.track.eye_code.shape == (n_frames, 16)
        assert take.audio_code.shape == (n_frames, 32) and take.stress.shape == (n_frames,)
        assert float(take.stress.min()) >= 0.0 and float(take.stress.max()) > 0.5


def test_codes_of_another_encoder_are_made_anew(small: Path, tmp_path: Path) -> None:
    folder = tmp_path / "older"
    shutil.copytree(small, folder)
    tensors, metadata = load_tensors(folder / "motion.safetensors", ClipError)
    codes = {**tensors, "audio_code": torch.zeros_like(tensors["audio_code"])}
    save_tensors(folder / "motion.safetensors", codes, {**metadata, "encoder": "another"})
    made = build_motion_corpus(folder, SMALL)
    assert made.encoder == encoder_name(AudioEncoder.bundled()) != "another"
    assert (folder / "motion.safetensors").read_bytes() == (small / "motion.safetensors").read_bytes()


def test_the_same_settings_give_the_same_corpus(small: Path, tmp_path: Path) -> None:
    build_motion_corpus(tmp_path / "again", SMALL, workers=2)
    assert (tmp_path / "again" / "motion.safetensors").read_bytes() == (small / "motion.safetensors").read_bytes()
    assert len(build_motion_corpus(small, SMALL)) == len(MotionCorpus(small)), "what is there is opened"
    with pytest.raises(ClipError, match="other settings"):
        build_motion_corpus(small, replace(SMALL, seed=6))


def test_people_have_voices_of_their_own() -> None:
    voices = draw_voices(MotionCorpusConfig())
    assert len(set(voices)) == 36 and draw_voices(MotionCorpusConfig()) == voices
    assert draw_voices(MotionCorpusConfig(seed=1)) != voices
    with pytest.raises(ClipError, match="n_personas is 0"):
        draw_voices(MotionCorpusConfig(n_personas=0))


def test_motion_belongs_to_the_sound() -> None:
    """Beeps for stressed syllables: the head is moved by them, the codes are the encoder's, eyes blink."""
    n_samples = 120 * 16_000
    sound = np.zeros(n_samples, np.float32)
    random = np.random.default_rng(0)
    burst = 0.3 * np.hanning(2400) * np.sin(2 * np.pi * 500 * np.arange(2400) / 16_000)
    start = 8000
    while start + 2400 < n_samples:
        sound[start : start + 2400] = burst * random.choice([0.4, 1.0])
        start += int(random.uniform(3000, 6000))
    encoder = AudioEncoder.bundled().live()
    config = replace(SMALL, noisy_share=0.0)
    take = perform_take(0, sound, encoder, config, np.random.default_rng(1))
    energy = motion_energy(take.track.head_pose.numpy(), 25.0)
    found = stress_correlation(energy, take.stress.numpy(), 25.0)
    assert found.value > 0.12 and found.lag_s < 0.3
    assert torch.allclose(take.audio_code, encode_audio(encoder, sound, 3000), atol=1e-4)
    assert take.track.eye_code is not None
    assert blink_statistics(eye_openness(take.track.eye_code), 25.0).count > 8
    noisy = perform_take(0, sound, encoder, replace(config, noisy_share=1.0), np.random.default_rng(1))
    assert torch.equal(noisy.track.head_pose, take.track.head_pose) and not torch.equal(
        noisy.audio_code, take.audio_code
    )


def test_a_damaged_or_foreign_folder_is_refused(small: Path, tmp_path: Path) -> None:
    with pytest.raises(ClipError, match="no such file"):
        MotionCorpus(tmp_path)
    whole = (small / "motion.safetensors").read_bytes()
    (tmp_path / "motion.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ClipError, match="truncated"):
        MotionCorpus(tmp_path)
    (tmp_path / "motion.safetensors").write_bytes(whole.replace(b"dfanerf-motion-corpus/1", b"dfanerf-motion-corpus/9"))
    with pytest.raises(ClipError, match="schema is"):
        MotionCorpus(tmp_path)


def test_the_script_says_how_they_move(small: Path) -> None:
    options = ["--out", str(small), "--hours", "0.03", "--people", "2", "--seed", "5", "--statistics"]
    refused = subprocess.run([sys.executable, SCRIPT, *options], capture_output=True, text=True, check=False)
    assert refused.returncode == 2 and "other settings" in refused.stderr and "Traceback" not in refused.stderr
    options += ["--take-s", "30"]
    done = subprocess.run([sys.executable, SCRIPT, *options], capture_output=True, text=True, check=True)
    for part in (
        "corpus, mean",
        "blinks_per_min",
        "stress read out of the audio codes of other people: correlation 0.",
    ):
        assert part in done.stdout
