from __future__ import annotations

import numpy as np
import pytest
import torch

from dfanerf_rt.errors import ShapeError
from dfanerf_rt.sync.offset import best_offset, lateness, offset_errors, similarity_matrix


def _lips(n_frames: int, seed: int = 0) -> torch.Tensor:
    """Codes that move smoothly, as lips do."""
    noise = torch.randn(n_frames + 4, 32, generator=torch.Generator().manual_seed(seed))
    return noise.unfold(0, 5, 1).mean(dim=-1)


@pytest.mark.parametrize("late", [-7, 0, 4])
def test_a_shift_of_the_sound_is_found(late: int) -> None:
    lips = _lips(120)
    found = best_offset(similarity_matrix(lips.roll(late, dims=0), lips))
    assert found.frames == late
    assert found.confidence > 0.5
    assert found.similarity.argmax() == 15 + late
    assert (offset_errors(lips.roll(late, dims=0), lips, shifts=(-5, 0, 5)) == late).all()


def test_who_speaks_does_not_count() -> None:
    """A constant on all codes is identity or the way lips rest."""
    lips = _lips(100)
    assert best_offset(similarity_matrix(lips.roll(3, dims=0) + 5.0, lips)).frames == 3


def test_other_words_give_no_confidence() -> None:
    found = best_offset(similarity_matrix(_lips(200, 1), _lips(200, 2)))
    assert found.confidence < 0.15


def test_windows_and_shifts_are_all_tried() -> None:
    # 100 frames give 98 stretches, a window of 2 s has 48 of them: 11 windows 5 frames apart, 5 shifts each.
    assert offset_errors(_lips(100), _lips(100)).shape == (55,)
    assert offset_errors(_lips(30), _lips(30)).shape == (5,)
    assert np.abs(offset_errors(_lips(100), _lips(100))).max() == 0


def test_codes_that_do_not_belong_together_are_refused() -> None:
    with pytest.raises(ShapeError, match="expected two of the same"):
        similarity_matrix(_lips(50), _lips(51))


def test_lateness_between_frames_is_found() -> None:
    lips = _lips(1201)
    late = 0.5 * (lips[:-1] + lips[1:])
    found = lateness(similarity_matrix(late, lips[1:]))
    assert found is not None
    assert found.frames == pytest.approx(0.5, abs=0.05)
    assert found.error_frames < 0.05 < found.confidence


def test_lateness_counts_only_the_lips_it_is_given() -> None:
    lips = _lips(600)
    sound = torch.cat([lips[:300], lips[295:595]])
    matrix = similarity_matrix(sound, lips)
    late = lateness(matrix, np.arange(len(matrix)) >= 305)
    in_step = lateness(matrix, np.arange(len(matrix)) < 295)
    assert late is not None and in_step is not None
    assert late.frames == pytest.approx(5.0, abs=0.05)
    assert in_step.frames == pytest.approx(0.0, abs=0.05)
    assert lateness(matrix, np.arange(len(matrix)) < 100) is None
