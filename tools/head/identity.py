"""Samples adult identities from MakeHuman's targets and reduces them to principal components."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from head.cut import Cut
from head.makehuman import AGES, ANCESTRIES, GENDERS, LEVELS, FloatArray, MakeHuman

# Folders of local targets, with the spread of their strength; what only shifts the whole head is left out.
LOCAL_SPREAD = {
    "asym": 0.08,
    "cheek": 0.28,
    "chin": 0.26,
    "ears": 0.25,
    "eyebrows": 0.30,
    "eyes": 0.25,
    "forehead": 0.28,
    "head": 0.20,
    "mouth": 0.24,
    "neck": 0.20,
    "nose": 0.26,
}
LEFT_OUT = ("head-trans", "neck-trans", "neck-scale-vert", "measure-neck-height", "asymm-", "ear-shape", "eye-push")
OPPOSITES = (
    ("incr", "decr"),
    ("up", "down"),
    ("in", "out"),
    ("forward", "backward"),
    ("convex", "concave"),
    ("compress", "uncompress"),
    ("1", "2"),
    ("3", "4"),
)
SIZE_SPREAD = 0.03  # relative; heads of adults differ in size with about this deviation


@dataclass(frozen=True)
class Axis:
    """One direction of local variation: offsets for positive and for negative strength, and its spread."""

    positive: FloatArray
    negative: FloatArray | None
    spread: float


def local_axes(data: MakeHuman, cut: Cut) -> dict[str, list[Axis]]:
    """Local targets as axes on the cut head; keyed by name without the side, so that sides vary together."""
    axes: dict[str, list[Axis]] = {}
    for folder, spread in LOCAL_SPREAD.items():
        files = {path.name.removesuffix(".target.gz"): path for path in (data.targets / folder).glob("*.target.gz")}
        done: set[str] = set()
        for name in sorted(files):
            if name in done or name.startswith(LEFT_OUT) or any(part in name for part in LEFT_OUT):
                continue
            negative = _opposite(name, files)
            done |= {name, negative or name}
            key = name[2:] if name[:2] in ("l-", "r-") else name
            axis = Axis(
                cut.apply(data.target(files[name])),
                cut.apply(data.target(files[negative])) if negative else None,
                spread,
            )
            if np.abs(axis.positive).max() > 0:
                axes.setdefault(key, []).append(axis)
    return axes


def _opposite(name: str, files: dict[str, object]) -> str | None:
    for plus, minus in OPPOSITES:
        for one, other in ((plus, minus), (minus, plus)):
            if name.endswith(f"-{one}"):
                candidate = name[: -len(one)] + other
                if candidate in files:
                    return candidate
    return None


def sample_identities(data: MakeHuman, cut: Cut, count: int, rng: np.random.Generator) -> FloatArray:
    """Head vertices (count, V, 3) of random adults, in MakeHuman's world."""
    axes = local_axes(data, cut)
    # Macro targets enter through products of shares, so cut each one once and mix the cut ones.
    macro = _MacroMixer(data, cut)
    result = np.empty((count, *macro.base.shape), dtype=np.float32)
    for index in range(count):
        person = macro.person(_random_macro(rng))
        for sides in axes.values():
            shared = rng.normal()
            for axis in sides:
                strength = (
                    axis.spread * (0.9 * shared + 0.44 * rng.normal()) if len(sides) > 1 else axis.spread * shared
                )
                strength = float(np.clip(strength, -1, 1))
                if strength > 0:
                    person += strength * axis.positive
                elif axis.negative is not None:
                    person -= strength * axis.negative
        result[index] = person
    return result


class _MacroMixer:
    """MakeHuman's macro targets, cut to the head."""

    def __init__(self, data: MakeHuman, cut: Cut) -> None:
        self.base = cut.apply(data.mesh.vertices)
        folder = data.targets / "macrodetails"
        self.targets: list[tuple[tuple[str, ...], FloatArray]] = []
        for gender in GENDERS:
            for age in AGES:
                for ancestry in ANCESTRIES:
                    offsets = cut.apply(data.target(folder / f"{ancestry}-{gender}-{age}.target.gz"))
                    self.targets.append(((gender, age, ancestry), offsets))
                for muscle in LEVELS["muscle"]:
                    for weight in LEVELS["weight"]:
                        path = folder / f"universal-{gender}-{age}-{muscle}-{weight}.target.gz"
                        self.targets.append(((gender, age, muscle, weight), cut.apply(data.target(path))))

    def person(self, shares: dict[str, float]) -> FloatArray:
        result = self.base.copy()
        for keys, offsets in self.targets:
            part = float(np.prod([shares.get(key, 0.0) for key in keys]))
            if part > 0:
                result += part * offsets
        return result


def _random_macro(rng: np.random.Generator) -> dict[str, float]:
    male = float(np.clip(rng.integers(2) + rng.normal() * 0.2, 0, 1))
    old = float(rng.uniform(0, 0.75) ** 1.3)
    ancestry = rng.dirichlet([0.6, 0.6, 0.6])
    shares = {"male": male, "female": 1 - male, "old": old, "young": 1 - old}
    shares |= dict(zip(ANCESTRIES, (float(value) for value in ancestry), strict=True))
    for names in LEVELS.values():
        value = float(np.clip(rng.normal(1.0, 0.4), 0, 2))
        for level, name in enumerate(names):
            shares[name] = max(0.0, 1 - abs(value - level))
    return shares


def align(people: FloatArray, weight: FloatArray, iterations: int = 3) -> FloatArray:
    """Move and turn each head (rigidly, no scaling) onto the common mean over the weighted vertices."""
    aligned = people.astype(np.float64)
    weight = weight / weight.sum()
    target = aligned[0]
    for _ in range(iterations):
        centre = weight @ target
        for index, person in enumerate(aligned):
            own = weight @ person
            u, _, vt = np.linalg.svd(((person - own) * weight[:, None]).T @ (target - centre))
            sign = np.diag([1, 1, np.linalg.det(u @ vt)])
            aligned[index] = (person - own) @ (u @ sign @ vt) + centre
        target = aligned.mean(0)
    return aligned


def principal_components(people: FloatArray, weight: FloatArray, count: int) -> tuple[FloatArray, FloatArray, float]:
    """Mean (V, 3), basis (count, V, 3) for coefficients of unit variance, and the weighted share explained.

    The components are those of the weighted vertices; the others follow them by regression.
    """
    mean = people.mean(0)
    centred = (people - mean).reshape(len(people), -1)
    scaled = centred * np.repeat(np.sqrt(weight), 3)
    values, vectors = np.linalg.eigh(scaled @ scaled.T / len(people))
    order = np.argsort(values)[::-1][:count]
    scores = vectors[:, order] * np.sqrt(len(people))  # unit variance, uncorrelated
    basis = (scores.T @ centred / len(people)).reshape(count, *mean.shape)
    return mean, basis, float(values[order].sum() / values.sum())
