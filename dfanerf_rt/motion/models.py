"""All models of motion together: head and eyes, each with its cross-modal encoder, and the blinks' clock.

The bundled ones have learned from synthetic people alone; every person is shown to them in units of its own mean and
spread (:class:`~dfanerf_rt.motion.style.Style`). They are stored in half precision, which moves a frame by less than
half a hundredth of a person's spread (tests/motion/test_models.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from torch import Tensor

from dfanerf_rt.errors import AvatarError
from dfanerf_rt.files import load_tensors, save_tensors
from dfanerf_rt.motion.blinks import BlinkClock, BlinkClockConfig
from dfanerf_rt.motion.cross_modal import CrossModalConfig, CrossModalEncoder
from dfanerf_rt.motion.model import MotionConfig, MotionVae

MODELS_SCHEMA = "dfanerf-motion-models/1"
_ASSET = Path(__file__).parent / "assets" / "motion.safetensors"


@dataclass(frozen=True)
class MotionModels:
    """What generates motion, for anybody."""

    head: MotionVae
    head_encoder: CrossModalEncoder
    """E_ah of the head."""
    eyes: MotionVae
    """Of open eyes: blinks are laid over them."""
    eyes_encoder: CrossModalEncoder
    clock: BlinkClock

    @property
    def settings(self) -> dict[str, dict[str, Any]]:
        """Sizes of each part, as JSON takes them."""
        return {name: asdict(getattr(self, name).config) for name in _PARTS}

    def state_tensors(self, prefix: str = "") -> dict[str, Tensor]:
        """All weights by name in half precision, each name with ``prefix`` before it."""
        return {
            f"{prefix}{part}.{name}": tensor.detach().half()
            for part in _PARTS
            for name, tensor in getattr(self, part).state_dict().items()
        }

    @classmethod
    def from_tensors(
        cls, tensors: Mapping[str, Tensor], settings: Mapping[str, Any], where: Path = Path("avatar")
    ) -> MotionModels:
        """The inverse of :meth:`state_tensors` without prefix and of :attr:`settings`, ready to use.

        Raises:
            AvatarError: names the tensor that is missing or misshapen, or the settings that are.
        """
        for part in _PARTS:
            if not isinstance(settings.get(part), Mapping):
                raise AvatarError(f"{where}: settings of '{part}' are missing among those of the motion models")
        weights = {
            part: {
                name.removeprefix(f"{part}."): tensor.float()
                for name, tensor in tensors.items()
                if name.startswith(f"{part}.")
            }
            for part in _PARTS
        }
        vae, encoder = {}, {}
        for part in ("head", "eyes"):
            config = MotionConfig.from_dict(settings[part], where)
            vae[part] = MotionVae.from_tensors(weights[part], config, where)
            sizes = CrossModalConfig.from_dict(settings[f"{part}_encoder"], where)
            encoder[part] = CrossModalEncoder.from_tensors(weights[f"{part}_encoder"], config, sizes, where)
        clock = BlinkClock.from_tensors(weights["clock"], BlinkClockConfig.from_dict(settings["clock"], where), where)
        return cls(vae["head"], encoder["head"], vae["eyes"], encoder["eyes"], clock)

    def save(self, path: Path) -> None:
        """Write the weights as a ``.safetensors`` file."""
        save_tensors(path, self.state_tensors(), {"schema": MODELS_SCHEMA, "settings": self.settings})

    @classmethod
    def load(cls, path: Path) -> MotionModels:
        """Read what :meth:`save` wrote.

        Raises:
            AvatarError: missing, damaged, or of another schema.
        """
        tensors, metadata = load_tensors(path, AvatarError)
        if metadata.get("schema") != MODELS_SCHEMA:
            raise AvatarError(f"{path}: schema is {metadata.get('schema')!r}, expected {MODELS_SCHEMA!r}")
        settings = metadata.get("settings")
        return cls.from_tensors(tensors, settings if isinstance(settings, dict) else {}, path)

    @classmethod
    def bundled(cls) -> MotionModels:
        """Those that come with the package; not to be trained, but copied first (:meth:`load`)."""
        return _bundled()


_PARTS = ("head", "head_encoder", "eyes", "eyes_encoder", "clock")


@lru_cache(maxsize=1)
def _bundled() -> MotionModels:
    return MotionModels.load(_ASSET)
