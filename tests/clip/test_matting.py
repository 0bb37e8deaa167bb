from __future__ import annotations

import numpy as np

from dfanerf_rt.clip.background import static_background
from dfanerf_rt.clip.matting import guided_filter


def test_the_matte_snaps_to_the_pictures_edge() -> None:
    guide = np.zeros((64, 64), np.float32)
    guide[:, 30:] = 1.0
    rough = np.zeros((64, 64), np.float32)
    rough[:, 33:] = 1.0  # three pixels off
    fine = guided_filter(guide, rough, 8, 1e-4)
    assert float(fine[32, 31] - fine[32, 28]) > 0.5  # the step moved to where the picture has it
    assert float(fine[32, 34] - fine[32, 31]) < 0.25


def test_an_even_guide_only_smooths() -> None:
    values = np.random.default_rng(0).random((64, 64)).astype(np.float32)
    smooth = guided_filter(np.full((64, 64), 0.5, np.float32), values, 4, 1e-4)
    assert smooth.std() < 0.2 * values.std()
    assert abs(smooth.mean() - values.mean()) < 0.01


def moving_person(n_frames: int, step: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rows, columns = np.mgrid[:80, :80]
    background = np.stack([2 * columns + 40, 2 * rows + 30, np.full_like(rows, 90)], -1).astype(np.uint8)
    frames, alphas = np.repeat(background[None], n_frames, 0), np.zeros((n_frames, 80, 80), np.uint8)
    for index in range(n_frames):
        left = 10 + step * index
        frames[index, 20:, left : left + 25] = (250, 0, 0)
        alphas[index, 20:, left : left + 25] = 255
    return background, frames, alphas


def test_the_background_behind_a_moving_person_is_found() -> None:
    background, frames, alphas = moving_person(8, 6)
    found, seen = static_background(frames, alphas)
    assert seen > 0.95
    assert np.abs(found.astype(int) - background).max() <= 2


def test_what_is_never_uncovered_is_filled_smoothly() -> None:
    background, frames, alphas = moving_person(3, 0)
    found, seen = static_background(frames, alphas)
    hidden = alphas[0] > 0
    assert 0.6 < seen < 0.8
    assert np.array_equal(found[:15], background[:15])
    error = np.abs(found.astype(int) - background)[hidden]
    assert error.mean() < 25  # far from the person's red
    assert found[hidden][:, 0].max() < 220
