from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from dfanerf_rt.audio.stress import Stresses, stress_track
from dfanerf_rt.clip.head_performance import head_pose, head_rotation, nods, on_neck, smooth_noise
from dfanerf_rt.clip.persona import Persona, draw_persona
from dfanerf_rt.evaluate.liveliness import motion_energy, stress_correlation
from dfanerf_rt.evaluate.motion import spectrum_slope
from dfanerf_rt.face.model import FaceModel
from dfanerf_rt.face.rotation import head_to_camera, rotation_matrix

FPS = 25.0
NONE = np.zeros((0, 2))
QUIET = Stresses(np.zeros(0), np.zeros(0))
STILL = replace(Persona(), wander_deg=(1e-6,) * 3, turn_deg=(1e-6,) * 3, tilt_share=0.0, nod_share=0.0)


def _voice(duration_s: float, seed: int = 0) -> Stresses:
    """A syllable about every 0.2 s, some stressed."""
    random = np.random.default_rng(seed)
    times = np.cumsum(random.uniform(0.12, 0.3, int(duration_s * 5)))
    times = times[times < duration_s]
    return Stresses(times, np.clip(random.normal(0.1, 0.6, len(times)), 0.0, 1.0))


def test_a_nod_follows_its_syllable_and_lowers_the_nose() -> None:
    person = replace(STILL, nod_share=1.0, nod_deg=4.0, nod_delay_s=0.1)
    lowest, depths = [], []
    for seed in range(40):
        voice = Stresses(np.array([2.0]), np.array([1.0]))
        rotation = head_rotation(person, voice, NONE, 100, FPS, np.random.default_rng(seed))
        pitch = np.rad2deg(rotation[:, 0])
        lowest.append((pitch.argmax() + 0.5) / FPS)
        depths.append(pitch.max())
        assert np.abs(rotation[:35]).max() < 1e-4 and np.abs(rotation[80:]).max() < 1e-4
    assert np.mean(lowest) == pytest.approx(2.1, abs=0.02) and np.std(lowest) < 0.06
    assert 3.0 < np.mean(depths) < 4.5
    face = FaceModel.bundled()
    nose = face.landmarks(torch.zeros(face.n_identity), torch.zeros(face.n_expressions))[30]
    assert (rotation_matrix(torch.tensor([0.1, 0.0, 0.0])) @ nose)[1] > nose[1] + 0.005, "y points down"


def test_who_nods_more_is_more_in_step_with_the_voice() -> None:
    voice = _voice(300.0)
    stress = stress_track(voice, 7500, FPS)
    found = []
    for share in (0.0, 0.5, 1.0):
        person = replace(Persona(), nod_share=share)
        rotation = head_rotation(person, voice, NONE, 7500, FPS, np.random.default_rng(1))
        found.append(stress_correlation(motion_energy(rotation, FPS), stress, FPS).value)
    assert found[0] < 0.1 and found[0] + 0.1 < found[1] < found[2]


def test_nods_keep_apart() -> None:
    dense = Stresses(np.arange(0.5, 20.0, 0.1), np.ones(195))
    times = np.arange(0.0, 21.0, 0.005)
    lowered = nods(dense, times, replace(Persona(), nod_share=1.0), np.random.default_rng(0))
    tops = np.flatnonzero((lowered[1:-1] > lowered[:-2]) & (lowered[1:-1] >= lowered[2:])) * 0.005
    assert np.diff(tops).min() > 0.15 and 40 < len(tops) < 60


def test_a_phrase_ends_with_a_tilt_that_is_taken_back() -> None:
    person = replace(STILL, tilt_share=1.0, tilt_deg=3.0)
    pauses = np.array([[0.0, 0.5], [4.0, 5.0]])
    roll = np.rad2deg(head_rotation(person, QUIET, pauses, 250, FPS, np.random.default_rng(0))[:, 2])
    assert np.abs(roll[: int(3.8 * FPS)]).max() < 1e-3, "the pause before the first word ends no phrase"
    assert 1.0 < np.abs(roll[int(4.4 * FPS) : int(4.9 * FPS)]).min() < 4.5
    assert np.abs(roll[int(6.5 * FPS) :]).max() < 1e-3


def test_the_head_turns_to_a_place_and_rests_there() -> None:
    person = replace(STILL, turn_deg=(0.001, 8.0, 0.001))
    yaw = np.rad2deg(head_rotation(person, QUIET, NONE, 7500, FPS, np.random.default_rng(0))[:, 1])
    speed = np.abs(np.gradient(yaw)) * FPS
    assert (speed < 0.1).mean() > 0.6, "most of the time it rests"
    starts = np.flatnonzero((speed[1:] > 0.5) & (speed[:-1] <= 0.5))
    assert 300 / 3.5 * 0.5 < len(starts) < 300 / 3.5 * 1.3
    assert 5.0 < yaw.std() < 10.0


def test_who_is_silent_for_long_moves_less() -> None:
    person = replace(Persona(), turn_deg=(1e-6,) * 3, tilt_share=0.0, nod_share=0.0)
    rotation = head_rotation(person, QUIET, np.array([[100.0, 200.0]]), 7500, FPS, np.random.default_rng(0))
    energy = motion_energy(rotation, FPS)
    assert energy[2600:4900].mean() < 0.75 * np.concatenate([energy[:2400], energy[5100:]]).mean()


def test_people_stay_within_what_a_neck_can_do_and_move_smoothly() -> None:
    voice = _voice(120.0)
    slopes, speeds = [], []
    for index in range(12):
        person = draw_persona(3, index)
        random = np.random.default_rng(index)
        rotation = head_rotation(person, voice, np.array([[30.0, 31.0]]), 3000, FPS, random)
        pose = head_pose(rotation, (0.0, 0.0, 0.8), person, FPS, random)
        assert pose.shape == (3000, 6) and np.array_equal(pose[:, :3], rotation)
        degrees = np.rad2deg(rotation)
        assert np.abs(degrees).max() < 45.0 and np.abs(np.diff(degrees, axis=0)).max() < 5.0
        assert np.abs(pose[:, 3:] - (0.0, 0.0, 0.8)).max() < 0.12
        slopes.append(spectrum_slope(rotation, FPS).mean())
        speeds.append(np.diff(degrees, axis=0).std() * FPS)
    assert -4.2 < np.mean(slopes) < -2.2
    assert 4.0 < np.mean(speeds) < 15.0 and max(speeds) > 1.5 * min(speeds), "people differ"


def test_on_neck_holds_the_pivot() -> None:
    random = np.random.default_rng(0)
    rotation, at_pivot = 0.3 * random.standard_normal((20, 3)), random.standard_normal((20, 3))
    matrix = head_to_camera(torch.from_numpy(on_neck(rotation, at_pivot, (0.0, 0.1, 0.05)))).numpy()
    assert matrix @ np.array([0.0, 0.1, 0.05, 1.0]) == pytest.approx(at_pivot)


def test_the_same_chance_moves_the_same_way_and_breathing_goes_on() -> None:
    voice = _voice(20.0)
    one, two, other = (
        head_rotation(Persona(), voice, NONE, 500, FPS, np.random.default_rng(seed)) for seed in (0, 0, 1)
    )
    assert np.array_equal(one, two) and not np.allclose(one, other)
    assert draw_persona(0, 1) == draw_persona(0, 1) != draw_persona(0, 2)
    calm = replace(Persona(), sway_mm=(0.0, 0.0, 0.0), breath_mm=2.0, breath_hz=0.25)
    pose = head_pose(np.zeros((1000, 3)), (0.0, 0.0, 0.8), calm, FPS, np.random.default_rng(0))
    assert np.ptp(pose[:, 4]) == pytest.approx(0.004, rel=0.02)
    crossings = (np.diff(np.sign(pose[:, 4] - pose[:, 4].mean())) > 0).sum()
    assert crossings == pytest.approx(10, abs=2)


def test_smooth_noise_is_of_unit_variance_and_that_length() -> None:
    noise = smooth_noise(100_000, 0.4, FPS, np.random.default_rng(0))
    assert noise.std() == pytest.approx(1.0, abs=0.03)
    # At a distance of the length the correlation is exp(-1/2).
    assert np.corrcoef(noise[:-10], noise[10:])[0, 1] == pytest.approx(np.exp(-0.5), abs=0.03)
