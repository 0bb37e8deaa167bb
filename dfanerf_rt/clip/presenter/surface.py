"""What the synthetic presenter is made of: colours and relief of skin, eyes and cloth, compiled by numba.

Everything is procedural, in coordinates of the head at rest, so that pores and fabric stick to the surface.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass

import numba
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Colour = tuple[float, float, float]

SKIN, EYE, TEETH, TONGUE, INNER, SHIRT, JACKET = range(7)
"""Materials of faces. Lips, lash line and scalp are skin with a mask."""

MASKS = ("occlusion", "lip", "blush", "brow", "lash", "hair", "beard", "depth")
"""Per-vertex values: share of the sky seen; signed distances into lips, brows, lash line and hair (metres, positive
inside; of cloth, the first is the distance from its edge); redness of cheeks and nose; how thick a beard would grow;
metres behind the lips."""


@dataclass(frozen=True)
class Look:
    """Colours (linear RGB reflectance) of the presenter, and the marks of age on the skin."""

    skin: Colour = (0.62, 0.375, 0.265)
    lips: Colour = (0.46, 0.205, 0.180)
    hair: Colour = (0.050, 0.028, 0.017)
    iris: Colour = (0.055, 0.062, 0.060)
    shirt: Colour = (0.62, 0.66, 0.72)
    jacket: Colour = (0.022, 0.030, 0.048)
    marks: Colour = (0.6, 0.35, 0.0)
    """Shadow of a beard, freckles, and wrinkles, each in [0, 1]."""

    def table(self) -> Floats:
        """(7, 3), in the order of the fields."""
        return np.array(astuple(self), np.float32)


@numba.njit(cache=True, nogil=True, fastmath=True)
def lattice_hash(x: int, y: int, z: int) -> float:
    """A pseudo-random number in [0, 1) of a lattice point."""
    h = np.uint32(x) * np.uint32(374761393) + np.uint32(y) * np.uint32(668265263) + np.uint32(z) * np.uint32(2147483647)
    h = (h ^ (h >> np.uint32(13))) * np.uint32(1274126177)
    h = h ^ (h >> np.uint32(16))
    return float(h & np.uint32(0xFFFFFF)) / 16777216.0


@numba.njit(cache=True, nogil=True, fastmath=True)
def noise(x: float, y: float, z: float) -> float:
    """Value noise in [0, 1], smooth, with features of size 1."""
    ix, iy, iz = int(np.floor(x)), int(np.floor(y)), int(np.floor(z))
    fx, fy, fz = x - ix, y - iy, z - iz
    fx, fy, fz = fx * fx * (3 - 2 * fx), fy * fy * (3 - 2 * fy), fz * fz * (3 - 2 * fz)
    total = 0.0
    for dx in range(2):
        wx = fx if dx else 1 - fx
        for dy in range(2):
            wy = fy if dy else 1 - fy
            for dz in range(2):
                total += wx * wy * (fz if dz else 1 - fz) * lattice_hash(ix + dx, iy + dy, iz + dz)
    return total


@numba.njit(cache=True, nogil=True, fastmath=True)
def step(low: float, high: float, value: float) -> float:
    """Smoothstep from 0 at ``low`` to 1 at ``high``."""
    t = min(max((value - low) / (high - low), 0.0), 1.0)
    return t * t * (3 - 2 * t)


@numba.njit(cache=True, nogil=True, fastmath=True)
def skin_at(x: float, y: float, z: float, m: Floats, look: Floats, albedo: Floats, bump: Floats) -> tuple[float, float]:
    """Skin with its lips, lash line and scalp; returns gloss and roughness. ``bump`` tilts the normal."""
    fine = noise(x * 1300, y * 1300, z * 1300) - 0.5
    pores = noise(x * 620, y * 620, z * 620) - 0.5
    patch = noise(x * 110, y * 110, z * 110) - 0.5
    broad = noise(x * 38 + 7, y * 38, z * 38) - 0.5
    lip = step(-0.0011, 0.0009, m[1] + 0.0005 * patch)
    red = max(m[2] + 0.30 * patch + 0.22 * broad, 0.0)
    freckle = look[6, 1] * step(0.70, 0.80, noise(x * 310, y * 310, z * 310)) * (0.35 + min(m[2], 1.0))
    # A beard's shadow is bluish and mottled.
    beard = look[6, 0] * m[6] * (1 - lip) * (0.75 + 0.9 * pores + 0.5 * fine)
    wrinkle = 0.0
    if look[6, 2] > 0.0:
        wrinkle = look[6, 2] * _wrinkles(x, y, z)
    for k in range(3):
        skin = look[0, k] * (1 + 0.07 * pores + 0.06 * patch + 0.05 * broad + 0.04 * fine)
        skin *= (1 - (0.01, 0.17, 0.15)[k] * red) * (1 - (0.12, 0.26, 0.34)[k] * freckle)
        skin *= 1 - min(max(beard, 0.0), 1.0) * (0.50, 0.44, 0.36)[k]
        skin *= 1 - 0.30 * wrinkle
        albedo[k] = skin
    if lip > 0.0:
        crease = noise(x * 1250, y * 160, 0.0)
        for k in range(3):
            albedo[k] += lip * (look[1, k] * (1.08 - 0.26 * crease) - albedo[k])
        bump[0] += lip * 0.35 * (crease - 0.5)
    e = 0.0005
    # The slope of the pores' relief.
    depth = 0.10 * (1 - lip) + 0.03
    bump[0] += depth * (noise((x + e) * 620, y * 620, z * 620) - 0.5 - pores) * 2
    bump[1] += depth * (noise(x * 620, (y + e) * 620, z * 620) - 0.5 - pores) * 2
    bump[1] += 0.5 * look[6, 2] * (_wrinkles(x, y + e, z) - _wrinkles(x, y, z)) if look[6, 2] > 0.0 else 0.0
    # Brows' own shade under their hairs, the lash line, and the scalp.
    brow = 0.45 * step(-0.0022, 0.0018, m[3] + 0.0012 * pores)
    lash = 0.80 * step(-0.0005, 0.0006, m[4])
    scalp = 0.80 * step(-0.005, 0.006, m[5] + 0.004 * patch)
    for k in range(3):
        albedo[k] += max(brow, lash) * (0.8 * look[2, k] + 0.01 - albedo[k])
        albedo[k] += scalp * (look[2, k] + 0.16 * look[0, k] - albedo[k])
    # Nose, forehead and lips shine, cheeks less.
    oil = min(m[2], 1.0) * 0.25 + step(-0.02, -0.06, y) * step(-0.05, -0.085, z) * 0.5
    gloss = (0.62 + 0.5 * oil + 0.5 * pores) * (1 - max(brow, lash)) * (1 - 0.7 * scalp)
    rough = 0.44 - 0.06 * oil
    return gloss + lip * (0.85 - gloss), rough + lip * (0.40 - rough)


@numba.njit(cache=True, nogil=True, fastmath=True)
def _wrinkles(x: float, y: float, z: float) -> float:
    """Lines of age in [0, 1]: across the forehead, beside the eyes, and from the nose to the mouth."""
    total = 0.0
    if y < -0.045 and z < -0.05:
        across = y * 1.0 + 0.35 * x * x * 10 + 0.0016 * noise(x * 60, y * 20, 0.0)
        wave = np.sin(across * 620.0)
        total += step(0.80, 1.0, wave) * step(0.055, 0.02, abs(x)) * step(-0.045, -0.055, y) * step(-0.105, -0.09, y)
    ex, ey = abs(x) - 0.052, y + 0.022
    if ex > 0.0 and abs(ey) < 0.018:
        fan = np.sin(np.arctan2(ey, ex + 0.004) * 9.0)
        total += 0.7 * step(0.75, 1.0, fan) * step(0.0, 0.004, ex) * step(0.018, 0.008, ex)
    return total


@numba.njit(cache=True, nogil=True, fastmath=True)
def eye_at(x: float, y: float, z: float, eye: Floats, look: Floats, albedo: Floats) -> float:
    """White, iris and pupil; returns how far the cornea bulges the normal away from the axis."""
    ex, ey, ez = x - eye[0], y - eye[1], z - eye[2]
    polar = np.arctan2(np.sqrt(ex * ex + ey * ey), -ez) * 57.2958
    around = np.arctan2(ey, ex)
    iris = 1 - step(26.0, 28.8, polar)
    pupil = 1 - step(9.4, 11.0, polar)
    c, s = np.cos(around), np.sin(around)
    streak = 0.55 + 0.9 * (0.6 * noise(c * 9, s * 9, polar * 0.07) + 0.4 * noise(c * 21, s * 21, polar * 0.12))
    limbus = 1 - 0.80 * step(20.0, 27.5, polar)
    inner = 1.0 + 1.1 * (1 - step(10.5, 18.0, polar))
    # Light that the cornea gathers falls on the side of the iris away from it.
    gathered = 1.0 + 0.75 * step(-0.3, 1.0, (0.6 * c + 0.75 * s)) * step(9.0, 14.0, polar)
    vein = noise(x * 800, y * 800, 0.0) * step(30.0, 55.0, polar)
    for k in range(3):
        white = (0.70, 0.665, 0.64)[k] - (0.03, 0.10, 0.10)[k] * vein - (0.0, 0.07, 0.09)[k] * step(40.0, 60.0, polar)
        colour = look[3, k] * streak * limbus * inner * gathered
        if k == 0:
            colour += 0.035 * (1 - step(10.5, 16.0, polar))
        albedo[k] = white + iris * (colour - white)
        albedo[k] *= 1 - 0.97 * pupil
    return 0.30 * step(32.0, 24.0, polar)


@numba.njit(cache=True, nogil=True, fastmath=True)
def cloth_at(kind: int, x: float, y: float, z: float, edge: float, look: Floats, albedo: Floats, bump: Floats) -> float:
    """Shirting or suiting; returns its sheen."""
    fold = noise(x * 26, y * 13, z * 26) - 0.5
    seam = np.exp(-(((edge - 0.0045) / 0.0007) ** 2))
    rim = step(0.0022, 0.0, edge)
    if kind == SHIRT:
        weave = 0.5 * noise(x * 1500, y * 300, z * 1500) + 0.5 * noise(x * 300, y * 1500, z * 300) - 0.5
        for k in range(3):
            albedo[k] = look[4, k] * (1 + 0.10 * weave + 0.05 * fold) * (1 - 0.22 * seam) * (1 - 0.10 * rim)
        bump[0] += 0.10 * fold
        return 0.10
    twill = 0.5 * noise(x * 1200, y * 1200, z * 1200) + 0.5 * noise((x + y) * 900, (y - x) * 120, z * 120) - 0.5
    for k in range(3):
        albedo[k] = look[5, k] * (1 + 0.42 * twill + 0.20 * fold) * (1 - 0.35 * seam) * (1 + 0.5 * rim)
    bump[0] += 0.14 * fold
    bump[1] += 0.08 * twill
    return 0.28
