"""Who the synthetic presenters are. Neither is anybody: a shape drawn from MakeHuman's targets, and colours."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from dfanerf_rt.clip.presenter.dress import Dress
from dfanerf_rt.clip.presenter.hair import HairStyle
from dfanerf_rt.clip.presenter.surface import Look
from dfanerf_rt.face.model import FaceModel


@dataclass(frozen=True)
class Person:
    """Shape, colours, hair and clothes."""

    shape: tuple[tuple[int, float], ...]
    """Identity coefficients that are not drawn by chance: (component, value)."""
    seed: int
    """Draws the rest of the identity, and every hair."""
    strength: float = 0.5
    """Standard deviation of the identity coefficients that are drawn by chance."""
    look: Look = field(default_factory=Look)
    hair: HairStyle = field(default_factory=HairStyle)
    dress: Dress = field(default_factory=Dress)

    def identity(self, model: FaceModel) -> torch.Tensor:
        """(K,) identity coefficients."""
        drawn = torch.randn(model.n_identity, generator=torch.Generator().manual_seed(self.seed)) * self.strength
        for component, value in self.shape:
            drawn[component] = value
        return drawn


PEOPLE: dict[str, Person] = {
    "presenter": Person(shape=((0, 1.1),), seed=8, look=Look(marks=(0.45, 0.35, 0.0))),
    "narrator": Person(
        shape=((0, -1.2),),
        seed=2,
        look=Look(
            skin=(0.235, 0.115, 0.070),
            lips=(0.250, 0.095, 0.085),
            hair=(0.022, 0.017, 0.015),
            iris=(0.040, 0.022, 0.012),
            shirt=(0.72, 0.66, 0.55),
            jacket=(0.150, 0.018, 0.028),
            marks=(0.0, 0.0, 0.3),
        ),
        hair=HairStyle(
            cut="curly", n_strands=14_000, length_m=0.050, side_m=0.030, grey=0.10, brow_width=0.4, lash_m=0.009
        ),
        dress=Dress(top="round", opening_m=0.058),
    ),
}
"""By the name of the avatar."""
