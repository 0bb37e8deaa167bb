"""What a preset makes stays within the size of an avatar."""

from __future__ import annotations

import pytest
import torch

from dfanerf_rt.field.field import ConditionalField
from dfanerf_rt.train.presets import PRESETS

MOST_BYTES = 25e6
REST_BYTES = 6.5e6
"""Audio encoder, motion models, attributes and a background of 512x512."""


@pytest.mark.parametrize("name", PRESETS)
def test_an_avatar_stays_under_25_mb(name: str) -> None:
    field = ConditionalField(PRESETS[name].field_config, torch.tensor([[-0.3, -0.3, -0.2], [0.3, 0.3, 0.2]]))
    stored = sum(tensor.numel() * tensor.element_size() for tensor in field.state().values())
    assert stored + REST_BYTES < MOST_BYTES
