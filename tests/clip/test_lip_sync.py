from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from dfanerf_rt.attributes.model import AttributeModel
from dfanerf_rt.clip import lip_sync
from dfanerf_rt.clip.format import read_wav
from dfanerf_rt.clip.lip_sync import sound_lateness, sound_report, to_move_ms
from dfanerf_rt.clip.prepare import PrepareConfig, prepare
from dfanerf_rt.errors import ClipError
from dfanerf_rt.face.model import FaceModel
from dfanerf_rt.face.track import Track
from dfanerf_rt.sync.model import AudioEncoder, encode_audio
from dfanerf_rt.sync.offset import Lateness

SENTENCE = Path(__file__).parents[2] / "dfanerf_rt" / "assets" / "demo_sentence.wav"


def _speaking(samples: np.ndarray, n_frames: int) -> Track:
    """Somebody who says the sentence, in step with it."""
    model, identity = FaceModel.bundled(), torch.zeros(FaceModel.bundled().n_identity)
    neutral = model.landmarks(identity, torch.zeros(52))
    code = encode_audio(AudioEncoder.bundled(), samples, n_frames)
    mouth, eyes = AttributeModel.bundled().for_person(neutral).decode(code, torch.zeros(n_frames, 16))
    landmarks = torch.cat([neutral[:36].expand(n_frames, -1, -1), eyes, mouth], dim=1)
    pose = torch.tensor([0.0, 0.0, 0.0, 0.0, 0.0, 0.7]).expand(n_frames, -1)
    seen = torch.ones(n_frames)
    return Track(identity, torch.zeros(n_frames, 52), pose, landmarks, landmarks[..., :2], seen[:, None] * 0, seen)


@pytest.fixture(scope="module")
def spoken() -> tuple[np.ndarray, Track]:
    samples = read_wav(SENTENCE)
    return samples, _speaking(samples, len(samples) // 640)


@pytest.mark.parametrize("late_ms", [-120, 30, 200])
def test_late_and_early_sound_is_found_to_a_few_milliseconds(spoken: tuple[np.ndarray, Track], late_ms: int) -> None:
    samples, track = spoken
    found = sound_lateness(np.roll(samples, late_ms * 16), track, FaceModel.bundled())
    assert found is not None
    assert to_move_ms(found) == pytest.approx(late_ms, abs=8)
    assert ("late" if late_ms > 0 else "early") in sound_report(found, to_move_ms(found))


def test_sound_in_step_stays_to_the_sample(spoken: tuple[np.ndarray, Track]) -> None:
    found = sound_lateness(spoken[0], spoken[1], FaceModel.bundled())
    assert to_move_ms(found) == 0.0
    assert "in step" in sound_report(found, 0.0)


def test_other_words_are_doubted_and_left_alone(spoken: tuple[np.ndarray, Track]) -> None:
    samples, track = spoken
    found = sound_lateness(np.roll(samples, len(samples) // 2), track, FaceModel.bundled())
    assert found is not None and to_move_ms(found) == 0.0
    assert "hardly fits the lips" in sound_report(found, 0.0)


def test_a_short_clip_says_so() -> None:
    samples = read_wav(SENTENCE)[: 3 * 16_000]
    found = sound_lateness(samples, _speaking(samples, 75), FaceModel.bundled())
    assert found is None and to_move_ms(found) == 0.0
    assert "too little" in sound_report(found, 0.0)


def test_less_than_half_a_frame_is_in_step() -> None:
    assert to_move_ms(Lateness(0.4, 0.1, 0.5)) == 0.0
    assert to_move_ms(Lateness(1.5, 0.1, 0.5)) == pytest.approx(60.0)
    assert to_move_ms(Lateness(1.5, 0.8, 0.5)) == 0.0
    assert to_move_ms(Lateness(1.5, 0.1, 0.05)) == 0.0
    assert to_move_ms(Lateness(-15.0, 0.0, 0.5)) == 0.0  # the best may lie beyond the search


def test_an_impossible_lateness_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ClipError, match="sound_late_ms is 90000"):
        prepare(tmp_path / "none.mp4", tmp_path / "clip", PrepareConfig(sound_late_ms=90_000.0))


def test_of_a_long_clip_the_beginning_is_looked_at(
    spoken: tuple[np.ndarray, Track], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lip_sync, "MOST_FRAMES", 225)
    late = np.roll(spoken[0], 120 * 16)
    late[225 * 640 :] = 0.0
    found = sound_lateness(late, spoken[1], FaceModel.bundled())
    assert to_move_ms(found) == pytest.approx(120, abs=8)
    monkeypatch.setattr(lip_sync, "MOST_FRAMES", 75)
    assert sound_lateness(late, spoken[1], FaceModel.bundled()) is None
