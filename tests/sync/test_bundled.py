"""What the bundled encoder does with sound that it was not trained on: a voice, silence, noise, another level."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from dfanerf_rt.attributes.model import AttributeModel
from dfanerf_rt.audio.acoustics import noise
from dfanerf_rt.audio.speech import Speech, synthesize
from dfanerf_rt.evaluate.articulation import closures, speech_mean
from dfanerf_rt.sync import model as sync_model
from dfanerf_rt.sync.model import LIVE_LOOKAHEAD_MS, AudioEncoder, encode_audio
from dfanerf_rt.train.speech import lip_codes, rest_code
from dfanerf_rt.train.sync_corpus import opening_of

TEXT = "Ho comprato una bambola per mia nipote, ma il bambino preferisce la pompa dei pompieri e un piccolo albero."


@pytest.fixture(scope="module")
def encoder() -> AudioEncoder:
    return AudioEncoder.bundled().with_lookahead(LIVE_LOOKAHEAD_MS)


@pytest.fixture(scope="module")
def speech() -> Speech:
    """A language of the held-out split, and a variant that training does not use."""
    return synthesize(TEXT, "it+m2", 150)


def _opening_mm(encoder: AudioEncoder, samples: np.ndarray) -> np.ndarray:
    return 1e3 * opening_of(AttributeModel.bundled(), encode_audio(encoder, samples)).numpy()


def _truth_mm(speech: Speech) -> np.ndarray:
    from dfanerf_rt.face.model import FaceModel

    attributes = AttributeModel.bundled()
    codes = lip_codes(speech.phonemes, len(speech.samples), attributes, FaceModel.bundled())
    return 1e3 * opening_of(attributes, codes).numpy()


def _rest_mm() -> float:
    return float(1e3 * opening_of(AttributeModel.bundled(), rest_code()[None])[0])


def test_it_is_small_and_offers_every_lookahead() -> None:
    path = Path(sync_model.__file__).parent / "assets" / "sync.safetensors"
    assert path.stat().st_size < 5e6
    assert AudioEncoder.bundled().config.lookahead_ms == 200.0


def test_lips_follow_an_unseen_language(encoder: AudioEncoder, speech: Speech) -> None:
    found, truth = _opening_mm(encoder, speech.samples), _truth_mm(speech)
    assert np.corrcoef(found, truth)[0, 1] > 0.75
    assert found.std() > 0.6 * truth.std()
    closed = closures(found, speech.phonemes, speech_mean(found, speech.phonemes))
    assert len(closed) > 12
    assert np.mean(closed) > 0.6


def test_silence_after_speech_closes_within_200_ms_and_stays_still(encoder: AudioEncoder, speech: Speech) -> None:
    spoken = speech.samples[: max(p.end_sample for p in speech.phonemes if p.name != "_")]
    found = _opening_mm(encoder, np.concatenate([spoken, np.zeros(5 * 16_000, np.float32)])) - _rest_mm()
    closed_from = int(np.ceil((len(spoken) + 3200) / 640))
    most = found[:closed_from].max()
    assert found[closed_from] < 0.05 * most
    assert found[closed_from:].std() < 0.01 * most


@pytest.mark.parametrize("kind", ["pink", "white", "hum"])
def test_quiet_noise_does_not_open_the_mouth(encoder: AudioEncoder, speech: Speech, kind: str) -> None:
    quiet = noise(kind, 5 * 16_000, np.random.default_rng(3))  # type: ignore[arg-type]
    quiet = (quiet * 10 ** (-50 / 20) / np.sqrt(np.mean(quiet**2))).astype(np.float32)
    most = _opening_mm(encoder, speech.samples).max() - _rest_mm()
    assert _opening_mm(encoder, quiet).max() - _rest_mm() < 0.05 * most


def test_the_level_of_a_microphone_does_not_matter(encoder: AudioEncoder, speech: Speech) -> None:
    loud = encode_audio(encoder, 0.9 * speech.samples / np.abs(speech.samples).max())
    soft = encode_audio(encoder, 0.09 * speech.samples / np.abs(speech.samples).max())
    opening = [opening_of(AttributeModel.bundled(), code).numpy() for code in (loud, soft)]
    assert np.corrcoef(*opening)[0, 1] > 0.9
    assert torch.isfinite(soft).all()
