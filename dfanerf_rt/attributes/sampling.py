"""Random expressions in the manner of real faces, to train the autoencoder on."""

from __future__ import annotations

import torch
from torch import Tensor

from dfanerf_rt.face.arkit import ARKIT_INDEX, ARKIT_NAMES

_MOUTH_PAIRS = (
    "mouthDimple", "mouthFrown", "mouthLowerDown", "mouthPress", "mouthSmile", "mouthStretch", "mouthUpperUp",
)  # fmt: skip
_MOUTH_SINGLES = (
    "jawForward", "jawLeft", "jawRight", "mouthClose", "mouthFunnel", "mouthLeft", "mouthPucker", "mouthRight",
    "mouthRollLower", "mouthRollUpper", "mouthShrugLower", "mouthShrugUpper", "cheekPuff", "tongueOut",
)  # fmt: skip
_EYE_PAIRS = ("eyeSquint", "eyeWide", "cheekSquint", "browDown", "browOuterUp", "noseSneer")


def sample_expressions(n: int, generator: torch.Generator, talking_only: bool = False) -> Tensor:
    """Draw expression coefficients F_exp.

    Two thirds of the faces talk, the others are random sparse combinations of all mouth units. Eyes and brows are
    drawn apart from the mouth; the two sides of a face differ a little.

    Args:
        n: number of faces.
        generator: source of randomness, on the CPU.
        talking_only: leave out the sparse combinations.

    Returns:
        (n, 52) in [0, 1], ARKit names and order.
    """
    talks = torch.rand(n, generator=generator) < (1.0 if talking_only else 2 / 3)
    sampler = _Sampler(n, generator)
    mouth = torch.where(talks[:, None], sampler.talking(), sampler.sparse())
    return (mouth + sampler.eyes()).clamp_(0.0, 1.0)


class _Sampler:
    """Draws parts of ``n`` faces, each (n, 52) with zeros elsewhere."""

    def __init__(self, n: int, generator: torch.Generator) -> None:
        self.n, self.generator = n, generator

    def uniform(self) -> Tensor:
        return torch.rand(self.n, generator=self.generator)

    def skewed(self, power: float, top: float) -> Tensor:
        """In [0, top], the closer to 0 the higher the power."""
        return top * self.uniform() ** power

    def sometimes(self, probability: float) -> Tensor:
        return (self.uniform() < probability).float()

    def faces(self, units: dict[str, Tensor]) -> Tensor:
        """Fill in units by name; a name without its side sets both sides, nearly alike."""
        faces = torch.zeros(self.n, len(ARKIT_NAMES))
        for name, value in units.items():
            if name in ARKIT_INDEX:
                faces[:, ARKIT_INDEX[name]] = value
            else:
                for side in ("Left", "Right"):
                    faces[:, ARKIT_INDEX[name + side]] = value * (0.85 + 0.3 * self.uniform())
        return faces

    def talking(self) -> Tensor:
        """Jaw by a skewed distribution; rounded and spread lips exclude each other; lips press when the jaw is up."""
        jaw = self.skewed(2.5, 0.7)
        rounding = 2 * self.uniform() - 1
        rounded, spread = rounding.clamp(min=0) ** 2, (-rounding).clamp(min=0) ** 2
        pressed = self.sometimes(0.2) * self.uniform() * (1 - jaw / 0.7)
        sideways = (2 * self.uniform() - 1) ** 5 * 0.4
        to_left, to_right = sideways.clamp(min=0), (-sideways).clamp(min=0)
        return self.faces(
            {
                "jawOpen": jaw,
                "mouthClose": jaw * (self.skewed(3.0, 0.7) + 0.3 * self.sometimes(0.1)),
                "mouthFunnel": rounded * self.skewed(0.7, 0.8),
                "mouthPucker": rounded * self.skewed(0.7, 0.9),
                "mouthStretch": spread * self.skewed(1.5, 0.5),
                "mouthSmile": spread * self.skewed(1.0, 0.6) + self.skewed(6.0, 0.7),
                "mouthDimple": spread * self.skewed(2.0, 0.4),
                "mouthLowerDown": jaw.sqrt() * self.skewed(1.5, 0.7),
                "mouthUpperUp": jaw.sqrt() * self.skewed(2.0, 0.6),
                "mouthPress": pressed * self.skewed(1.0, 0.7),
                "mouthRollLower": pressed * self.skewed(1.0, 0.6) + self.skewed(8.0, 0.4),
                "mouthRollUpper": pressed * self.skewed(1.0, 0.5),
                "mouthFrown": self.skewed(5.0, 0.4),
                "mouthShrugLower": self.skewed(3.0, 0.4),
                "mouthShrugUpper": self.skewed(4.0, 0.4),
                "jawLeft": to_left,
                "jawRight": to_right,
                "mouthLeft": to_left,
                "mouthRight": to_right,
            }
        )

    def sparse(self) -> Tensor:
        """Few units at a time, each up to full strength, now and then on one side alone."""
        units = {name: self.sometimes(0.12) * self.uniform() for name in _MOUTH_SINGLES}
        units |= {"jawOpen": self.sometimes(0.5) * self.skewed(1.5, 1.0)}
        units |= {stem: self.sometimes(0.15) * self.uniform() for stem in _MOUTH_PAIRS}
        one_sided = {f"{stem}Left": self.sometimes(0.05) * self.uniform() for stem in _MOUTH_PAIRS}
        one_sided |= {f"{stem}Right": self.sometimes(0.05) * self.uniform() for stem in _MOUTH_PAIRS}
        return self.faces(units) + self.faces(one_sided)

    def eyes(self) -> Tensor:
        """Mostly open lids, every third face anywhere between open and shut; brows; both eyes look the same way."""
        lids = torch.where(self.uniform() < 0.7, self.skewed(3.0, 0.4), self.uniform()) + 0.6 * self.sometimes(0.1)
        units = {stem: self.sometimes(0.25) * self.skewed(1.5, 0.9) for stem in _EYE_PAIRS}
        leftwards, upwards = ((2 * self.uniform() - 1) ** 3 * 0.8 for _ in range(2))
        units |= {"eyeBlink": lids, "browInnerUp": self.sometimes(0.3) * self.skewed(1.5, 0.9)}
        units |= dict.fromkeys(("eyeLookOutLeft", "eyeLookInRight"), leftwards.clamp(min=0))
        units |= dict.fromkeys(("eyeLookInLeft", "eyeLookOutRight"), (-leftwards).clamp(min=0))
        units |= {"eyeLookUp": upwards.clamp(min=0), "eyeLookDown": (-upwards).clamp(min=0)}
        return self.faces(units)
