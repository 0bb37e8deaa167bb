from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from dfanerf_rt.clip.format import Clip
from dfanerf_rt.clip.motion import eye_codes, motion_of_clip
from dfanerf_rt.errors import ClipError
from dfanerf_rt.evaluate.blinks import eye_openness, find_blinks
from dfanerf_rt.train.pipeline import person_attributes


def test_the_motion_of_a_clip_is_its_track(tiny_clip: Clip) -> None:
    track = motion_of_clip(tiny_clip)
    assert torch.equal(track.head_pose, tiny_clip.track.head_pose) and track.fps == tiny_clip.meta.fps
    assert track.eye_code is not None
    # Identity adds to expression, so the code of the mean face is that of the person.
    own = person_attributes(tiny_clip).encode(tiny_clip.track.landmarks)[1]
    assert torch.allclose(track.eye_code, own, atol=2e-3)


def test_closed_eyes_are_found_in_the_code() -> None:
    expression = torch.zeros(60, 52)
    expression[20:23, 8:10] = 1.0  # eyeBlinkLeft and eyeBlinkRight
    (blink,) = find_blinks(eye_openness(eye_codes(expression)))
    assert 19.0 < blink.start < 20.0 and 22.0 < blink.end < 23.5 and blink.depth == pytest.approx(0.0, abs=0.02)


def test_another_head_model_is_refused(tiny_clip: Clip, tmp_path: Path) -> None:
    shutil.copytree(tiny_clip.root, tmp_path / "clip")
    meta = json.loads((tmp_path / "clip" / "clip.json").read_text())
    (tmp_path / "clip" / "clip.json").write_text(json.dumps({**meta, "face_model": "flame 1234"}))
    with pytest.raises(ClipError, match="'flame 1234', expected 'bundled'"):
        motion_of_clip(Clip(tmp_path / "clip"))


@pytest.mark.slow
def test_blinks_of_a_real_clip_are_those_its_tracker_saw(shared_data: Path, tmp_path: Path) -> None:
    from dfanerf_rt.clip.prepare import PrepareConfig, prepare

    clip = prepare(shared_data / "video" / "speaker_5s.mp4", tmp_path / "clip", PrepareConfig(256, True)).clip
    track = motion_of_clip(clip)
    assert track.eye_code is not None
    openness, seen = eye_openness(track.eye_code), 1.0 - clip.track.eye_closure.mean(dim=1).numpy()
    assert np.corrcoef(openness, seen)[0, 1] > 0.8
