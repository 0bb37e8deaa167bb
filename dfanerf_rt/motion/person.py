"""All that an avatar knows of how its person moves: the models, bent to the person or not, and the person's style."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dfanerf_rt.errors import AvatarError
from dfanerf_rt.files import check_tensors
from dfanerf_rt.motion.blinks import BlinkRhythm
from dfanerf_rt.motion.models import MotionModels
from dfanerf_rt.motion.style import Style
from dfanerf_rt.motion.track import EYE_DIM

POSE_DIM = 6
_MODELS, _HEAD, _EYES, _CLOSED = "models.", "head.", "eyes.", "closed_eyes"


@dataclass(frozen=True)
class PersonalMotion:
    """What :class:`~dfanerf_rt.motion.generator.MotionGenerator` needs to move as one person."""

    models: MotionModels
    head: Style
    """Of head poses (6,): radians and metres."""
    eyes: Style
    """Of eye codes (16,) of open eyes."""
    closed_eyes: Tensor
    """(16,) eye code of closed eyes."""
    blinks: BlinkRhythm

    def state_tensors(self, prefix: str = "") -> dict[str, Tensor]:
        """All tensors by name, each name with ``prefix`` before it; an avatar keeps them under ``"motion."``."""
        return {
            **self.models.state_tensors(prefix + _MODELS),
            **self.head.state_tensors(prefix + _HEAD),
            **self.eyes.state_tensors(prefix + _EYES),
            prefix + _CLOSED: self.closed_eyes,
        }

    @property
    def settings(self) -> dict[str, Any]:
        """What stands beside the tensors, as JSON takes it."""
        return {"models": self.models.settings, "blinks": asdict(self.blinks)}

    @classmethod
    def from_tensors(
        cls, tensors: Mapping[str, Tensor], settings: Mapping[str, Any], where: Path = Path("avatar")
    ) -> PersonalMotion:
        """The inverse of :meth:`state_tensors` without prefix and of :attr:`settings`.

        Raises:
            AvatarError: names what is missing, misshapen or unusable.
        """
        for name in ("models", "blinks"):
            if not isinstance(settings.get(name), Mapping):
                raise AvatarError(f"{where}: '{name}' is missing among the settings of generated motion")
        weights = {k.removeprefix(_MODELS): v for k, v in tensors.items() if k.startswith(_MODELS)}
        check_tensors(where, tensors, {_CLOSED: (EYE_DIM,)}, AvatarError, torch.float32)
        return cls(
            MotionModels.from_tensors(weights, settings["models"], where),
            Style.from_tensors(tensors, POSE_DIM, where, _HEAD),
            Style.from_tensors(tensors, EYE_DIM, where, _EYES),
            tensors[_CLOSED],
            BlinkRhythm.from_dict(settings["blinks"], where),
        )
