"""Which frames of a clip are left out, and why: clips of the presenter with one thing wrong, known to the frame."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from dfanerf_rt.clip.format import Clip
from dfanerf_rt.clip.interruptions import find_interruptions
from dfanerf_rt.clip.judge import judge_clip, judgement_of
from dfanerf_rt.clip.judgement import (
    FILE_NAME,
    FROZEN,
    INTERRUPTED,
    MISFIT,
    NO_FACE,
    NO_MATTE,
    Judgement,
    bridged,
    good_stretches,
    load_judgement,
)
from dfanerf_rt.clip.presenter import generate_presenter, tiny_config
from dfanerf_rt.errors import ClipError
from dfanerf_rt.files import load_tensors, save_tensors
from tests.clip.odd_clips import Paint, black, busy_background, frozen, garbled, glasses, repainted, without_matte

BAD = range(20, 32)


@pytest.fixture(scope="module")
def blinking_clip(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    """10 s of the presenter, in which the eyes close several times."""
    return generate_presenter(tmp_path_factory.mktemp("presenter") / "blinks", tiny_config(10.0))


def test_nothing_is_wrong_with_a_good_clip(tiny_clip: Clip, blinking_clip: Clip) -> None:
    for clip in (tiny_clip, blinking_clip):
        judged = judge_clip(clip)
        assert not judged.fault.any() and not judged.moving.any()
        assert judged.eyes_trusted and judged.warnings(range(clip.meta.n_frames), 25.0) == []


@pytest.mark.parametrize(
    ("paint", "fault"),
    [
        (black(BAD), INTERRUPTED),
        (garbled(BAD), INTERRUPTED),
        (None, FROZEN),
        (without_matte(BAD), NO_MATTE),
        (without_matte(BAD, 255), NO_MATTE),
    ],
    ids=["black", "garbled", "frozen", "no matte", "matte of everything"],
)
def test_bad_frames_are_found_to_the_frame(tiny_clip: Clip, tmp_path: Path, paint: Paint | None, fault: int) -> None:
    clip = repainted(tiny_clip, tmp_path / "odd", paint or frozen(tiny_clip, BAD))
    judged = judge_clip(clip)
    assert np.flatnonzero(judged.fault).tolist() == list(BAD)
    assert set(judged.fault[BAD]) == {fault}
    frames = clip.meta.train_frames
    assert judged.tracked(frames).tolist() == [fault == NO_MATTE or frame not in BAD for frame in frames]
    (line,) = judged.warnings(range(clip.meta.n_frames), 25.0)
    assert line.startswith("left out 12 of 75 frames (20 to 31 at 0.8 s): ")
    assert judged.warnings(range(40, 75), 25.0) == []


def test_black_ends_are_no_part_of_the_shot() -> None:
    pictures = np.random.default_rng(0).uniform(0.3, 0.7, (1, 8, 8, 3)).repeat(60, 0)
    pictures[:5] = pictures[50:] = 0.0
    assert np.flatnonzero(find_interruptions(pictures, 25.0)).tolist() == [*range(5), *range(50, 60)]


def test_a_cut_is_no_interruption() -> None:
    one, other = np.random.default_rng(0).uniform(0.0, 1.0, (2, 8, 8, 3))
    pictures = np.stack([one] * 30 + [other] * 30)
    assert not find_interruptions(pictures, 25.0).any()
    for_a_moment = np.stack([one] * 30 + [other] * 30 + [one] * 30)
    assert np.flatnonzero(find_interruptions(for_a_moment, 25.0)).tolist() == list(range(30, 60))
    assert not find_interruptions(for_a_moment, 5.0).any()  # the same frames, now six seconds of them


def test_a_low_frame_rate_is_not_frozen(tiny_clip: Clip, tmp_path: Path) -> None:
    """12.5 pictures a second, each shown twice."""
    clip = repainted(
        tiny_clip, tmp_path / "slow", lambda i, frame, alpha: (tiny_clip.frame(i // 2 * 2), tiny_clip.alpha(i // 2 * 2))
    )
    assert not judge_clip(clip).fault.any()


def test_a_track_that_strays_or_was_filled_in(tiny_clip: Clip, tmp_path: Path) -> None:
    clip = repainted(tiny_clip, tmp_path / "odd", lambda index, frame, alpha: (frame, alpha))
    clip.track.confidence[10:15] = 0.0
    clip.track.landmarks_px[40:44] += 12.0
    fault = judge_clip(clip).fault
    assert set(fault[10:15]) == {NO_FACE} and set(fault[40:44]) == {MISFIT} and (fault > 0).sum() == 9


def test_where_the_background_moves(tiny_clip: Clip, tmp_path: Path) -> None:
    clip = repainted(tiny_clip, tmp_path / "busy", busy_background(tiny_clip))
    judged = judge_clip(clip)
    assert not judged.fault.any()
    assert judged.moving[10:30, 6:22].mean() > 0.95  # the screen covers 8 to 32, 4 to 24
    assert not judged.moving[40:].any() and not judged.moving[:, 40:].any()
    (line,) = judged.warnings(clip.meta.train_frames, 25.0)
    assert line.startswith("the background moves in ") and 0.03 < judged.moving_share < 0.2


def test_eyes_behind_dark_glasses_are_doubted(blinking_clip: Clip, tmp_path: Path) -> None:
    plain = judge_clip(blinking_clip).eye_contrast
    clear, dark = (
        judge_clip(repainted(blinking_clip, tmp_path / name, glasses(blinking_clip, name == "dark")))
        for name in ("clear", "dark")
    )
    assert plain is not None and clear.eye_contrast is not None and dark.eye_contrast is not None
    assert min(plain, clear.eye_contrast) > 1.0 and clear.eyes_trusted
    assert dark.eye_contrast < 0.25 and not dark.eyes_trusted
    (line,) = dark.warnings(blinking_clip.meta.train_frames, 25.0)
    assert "blinks of this clip are doubtful" in line
    assert not clear.fault.any() and not dark.fault.any()


def test_a_judgement_is_kept_with_its_clip(tiny_clip: Clip, tmp_path: Path) -> None:
    clip = repainted(tiny_clip, tmp_path / "odd", black(BAD))
    assert load_judgement(clip) is None
    judged = judgement_of(clip)
    judged.save(clip.root)
    kept = load_judgement(clip)
    assert kept is not None and np.array_equal(kept.fault, judged.fault) and np.array_equal(kept.moving, judged.moving)
    assert kept.eye_contrast == judged.eye_contrast and kept.counts() == judged.counts()
    path = clip.root / FILE_NAME
    tensors, metadata = load_tensors(path, ClipError)
    for change, words in (
        ({"fault": tensors["fault"][:10]}, "shape"),
        ({"fault": tensors["fault"] + 9}, "fault holds"),
        ({"moving": tensors["moving"].float()}, "expected torch.uint8"),
    ):
        save_tensors(path, {**tensors, **change}, metadata)
        with pytest.raises(ClipError, match=words):
            judgement_of(clip)


def test_stretches_and_bridges() -> None:
    good = torch.tensor([1, 1, 0, 0, 1, 0, 1, 1, 1], dtype=torch.bool)
    assert good_stretches(good, 2) == [slice(0, 2), slice(6, 9)]
    values = torch.tensor([[0.0], [1.0], [9.0], [9.0], [4.0], [9.0], [6.0], [7.0], [8.0]])
    assert bridged(values, good)[:, 0].tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8]
    assert bridged(values, torch.ones(9, dtype=torch.bool)) is values
    with pytest.raises(ClipError, match="no frame"):
        bridged(values, torch.zeros(9, dtype=torch.bool))


def test_long_lists_are_cut_short() -> None:
    fault = np.zeros(100, np.uint8)
    fault[::10] = NO_FACE
    judged = Judgement(fault, np.zeros((4, 4), bool), 0.0, None)
    (line,) = judged.warnings(range(100), 25.0)
    assert line == (
        "left out 10 of 100 frames (0 at 0.0 s, 10 at 0.4 s, 20 at 0.8 s, 30 at 1.2 s and 6 more stretches): "
        "no face was found"
    )
