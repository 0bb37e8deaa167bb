"""The bundled encoder on faces and voices of people it has never met; benchmarks/bench_lips.py has the figures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from dfanerf_rt.attributes.model import MOUTH_LANDMARKS, mouth_opening
from dfanerf_rt.clip.prepare import PrepareConfig, prepare
from dfanerf_rt.evaluate.lips import correlation
from dfanerf_rt.sync.model import LIVE_LOOKAHEAD_MS, AudioEncoder, encode_audio
from dfanerf_rt.sync.offset import offset_errors
from dfanerf_rt.train.pipeline import person_attributes
from dfanerf_rt.train.sync_corpus import opening_of

pytestmark = pytest.mark.slow


def test_lips_follow_strangers_and_shifts_of_their_sound_are_found(shared_data: Path, tmp_path: Path) -> None:
    encoder = AudioEncoder.bundled().with_lookahead(LIVE_LOOKAHEAD_MS)
    agreement, errors = [], []
    for video in sorted((shared_data / "grid").glob("*.mpg"))[:3]:
        clip = prepare(video, tmp_path / video.stem, PrepareConfig(256, True)).clip
        sound = clip.audio()
        assert sound is not None
        attributes = person_attributes(clip)
        with torch.no_grad():
            mouth_code, _ = attributes.encode(clip.track.landmarks)
        codes = encode_audio(encoder, sound, clip.meta.n_frames)
        tracked = mouth_opening(clip.track.landmarks[:, MOUTH_LANDMARKS]).numpy()
        agreement.append(correlation(opening_of(attributes, codes).numpy(), tracked))
        errors.append(offset_errors(encoder.comparable(codes), encoder.comparable(mouth_code)))
    assert np.mean(agreement) > 0.45, agreement
    assert np.mean(np.abs(np.concatenate(errors)) <= 1) > 0.8
