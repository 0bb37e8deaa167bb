"""All models together: their file, half precision, and the bundled ones."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from dfanerf_rt.errors import AvatarError
from dfanerf_rt.files import save_tensors
from dfanerf_rt.motion import models as module
from dfanerf_rt.motion.generator import MotionGenerator
from dfanerf_rt.motion.models import MotionModels
from dfanerf_rt.motion.person import PersonalMotion
from tests.motion.small_person import small_models, small_person, speech


def test_a_file_gives_the_models_back(tmp_path: Path) -> None:
    models, path = small_models(), tmp_path / "motion.safetensors"
    models.save(path)
    again = MotionModels.load(path)
    assert again.settings == models.settings and again.head_encoder.config.guidance == 3.0
    for name, tensor in models.state_tensors().items():
        assert tensor.dtype == torch.float16 and torch.equal(tensor, again.state_tensors()[name])


def test_half_precision_moves_a_frame_by_less_than_half_a_hundredth() -> None:
    """The bundled weights are what rounding left of those that were trained: those lie half a step away at most."""
    models = MotionModels.bundled()
    generator = torch.Generator().manual_seed(0)
    weights = {}
    for name, tensor in models.state_tensors().items():
        step = tensor.float().abs() * 2.0**-11
        weights[name] = tensor.float() + step * (2 * torch.rand(tensor.shape, generator=generator) - 1)
    unrounded = MotionModels.from_tensors(weights, models.settings)
    motion = torch.randn(1, 48, 6, generator=generator)
    off = (unrounded.head.reconstruct(motion) - models.head.reconstruct(motion)).abs().max()
    assert float(off) < 5e-3


def test_the_bundled_models_are_small_and_for_anybody() -> None:
    models = MotionModels.bundled()
    assert module._ASSET.stat().st_size < 3e6
    assert models.head.config.input_dim == 6 and models.eyes.config.input_dim == 16
    for model in (models.head, models.eyes):  # people in units of their own mean and spread
        assert float(model.mean.abs().max()) < 0.05 and float((model.std - 1).abs().max()) < 0.05
    person = replace(small_person(), models=models)
    moved = MotionGenerator(person)
    for code in speech(30):
        moved.hear(code)
        pose, eyes = moved.next()
        assert bool(torch.isfinite(torch.cat([pose, eyes])).all())


def test_refuses(tmp_path: Path) -> None:
    models, path = small_models(), tmp_path / "motion.safetensors"
    with pytest.raises(AvatarError, match="no such file"):
        MotionModels.load(path)
    save_tensors(path, models.state_tensors(), {"schema": "dfanerf-motion-models/9", "settings": models.settings})
    with pytest.raises(AvatarError, match="schema is 'dfanerf-motion-models/9'"):
        MotionModels.load(path)
    with pytest.raises(AvatarError, match="settings of 'clock' are missing"):
        MotionModels.from_tensors(models.state_tensors(), {**models.settings, "clock": None})
    tensors = models.state_tensors()
    tensors.pop("clock.network.0.weight")
    with pytest.raises(AvatarError, match=r"network\.0\.weight' is missing"):
        MotionModels.from_tensors(tensors, models.settings)


def test_a_person_comes_back_from_an_avatar_s_tensors() -> None:
    person = small_person()
    tensors = person.state_tensors()
    again = PersonalMotion.from_tensors(tensors, person.settings)
    assert again.blinks == person.blinks and torch.equal(again.head.slow, person.head.slow)
    for missing, said in (("head.slow", "head.slow"), ("closed_eyes", "closed_eyes")):
        with pytest.raises(AvatarError, match=f"'{said}' is missing"):
            PersonalMotion.from_tensors({k: v for k, v in tensors.items() if k != missing}, person.settings)
    with pytest.raises(AvatarError, match="no range"):
        PersonalMotion.from_tensors({**tensors, "eyes.low": tensors["eyes.high"] + 1}, person.settings)
    with pytest.raises(AvatarError, match="'blinks' is missing"):
        PersonalMotion.from_tensors(tensors, {"models": person.settings["models"]})
