"""Light and surface of the synthetic presenter: the colour of every sample of the z-buffer, compiled by numba.

The person's colour is averaged over a pixel in linear light, encoded as sRGB, and laid over the background by its
coverage, as the project's renderer composites. Everything is procedural, in coordinates of the head at rest, so that
pores, strands and fabric stick to the surface.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass

import numba
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]
Colour = tuple[float, float, float]

SKIN, EYE, TEETH, TONGUE, INNER = range(5)
"""Materials of faces. Lips, brows, lashes, hair and shirt are skin with a mask."""

MASKS = ("occlusion", "lip", "blush", "brow", "lash", "hair", "shirt", "depth")
"""Per-vertex values: share of the sky seen; signed distances into lips, brows, lash line, hair and shirt (metres,
positive inside); redness of cheeks and nose; metres behind the lips."""


@dataclass(frozen=True)
class Look:
    """Colours (linear RGB reflectance) of the presenter."""

    skin: Colour = (0.60, 0.365, 0.262)
    lips: Colour = (0.47, 0.185, 0.165)
    hair: Colour = (0.060, 0.034, 0.021)
    iris: Colour = (0.085, 0.050, 0.026)
    shirt: Colour = (0.055, 0.120, 0.175)

    def table(self) -> Floats:
        """(5, 3), in the order of the fields."""
        return np.array(astuple(self), np.float32)


@numba.njit(cache=True, nogil=True, fastmath=True)
def _hash(x: int, y: int, z: int) -> float:
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
                total += wx * wy * (fz if dz else 1 - fz) * _hash(ix + dx, iy + dy, iz + dz)
    return total


@numba.njit(cache=True, nogil=True, fastmath=True)
def _step(low: float, high: float, value: float) -> float:
    """Smoothstep from 0 at ``low`` to 1 at ``high``."""
    t = min(max((value - low) / (high - low), 0.0), 1.0)
    return t * t * (3 - 2 * t)


@numba.njit(cache=True, nogil=True, fastmath=True)
def _encode(value: float) -> float:
    """Linear light to sRGB in [0, 1], with a soft shoulder above 0.7."""
    if value > 0.7:
        value = 0.7 + 0.3 * (1 - np.exp(-(value - 0.7) / 0.3))
    value = max(value, 0.0)
    return 12.92 * value if value <= 0.0031308 else 1.055 * value ** (1 / 2.4) - 0.055


@numba.njit(cache=True, nogil=True, fastmath=True)
def shade(
    face_id: Ints,
    weights: Floats,
    points: Floats,
    faces: Ints,
    material: Ints,
    camera: Floats,
    normals: Floats,
    rest: Floats,
    masks: Floats,
    eyes: Floats,
    look: Floats,
    background: Floats,
    samples: int,
    image: Floats,
    alpha: Floats,
) -> None:
    """Colour a frame.

    Args:
        face_id, weights: the z-buffer (H * s, W * s) with s = ``samples`` a side of a pixel.
        points: (V, 3) as given to the rasteriser; the third column is 1 / depth.
        faces, material: (F, 3) and (F,).
        camera, normals, rest: (V, 3) position and normal in camera coordinates, position at rest.
        masks: (V, 8), see :data:`MASKS`.
        eyes: (2, 4) centre of each eyeball at rest and its radius.
        look: (5, 3) from :meth:`Look.table`.
        background: (H, W, 3) sRGB in [0, 1].
        image, alpha: (H, W, 3) and (H, W) out, in [0, 1].
    """
    # Directions towards the lights, in camera coordinates: key from the upper left, fill, and a rim from behind.
    lights = np.array([[-0.46, -0.58, -0.67], [0.78, -0.12, -0.61], [0.55, -0.55, 0.63]], np.float32)
    power = np.array([[1.02, 0.97, 0.88], [0.20, 0.22, 0.26], [0.32, 0.32, 0.36]], np.float32)
    sky, ground = 0.34, 0.13
    height, width = alpha.shape
    albedo, value, m = np.empty(3, np.float32), np.empty(3, np.float32), np.empty(masks.shape[1], np.float32)
    for row in range(height):
        for column in range(width):
            covered = shaded = 0
            value[:] = 0.0
            # A pixel within one material is smooth: its diagonal samples speak for it.
            first = face_id[row * samples, column * samples]
            smooth = first >= 0
            for sub in range(samples * samples):
                f = face_id[row * samples + sub // samples, column * samples + sub % samples]
                covered += f >= 0
                smooth = smooth and f >= 0 and material[f] == material[first]
            if covered == 0:
                alpha[row, column] = 0.0
                image[row, column] = background[row, column]
                continue
            for sub in range(0, samples * samples, samples + 1 if smooth else 1):
                r, c = row * samples + sub // samples, column * samples + sub % samples
                f = face_id[r, c]
                if f < 0:
                    continue
                shaded += 1
                ia, ib, ic = faces[f, 0], faces[f, 1], faces[f, 2]
                wb, wc = weights[r, c, 0], weights[r, c, 1]
                wa = (1 - wb - wc) * points[ia, 2]
                wb, wc = wb * points[ib, 2], wc * points[ic, 2]
                total = wa + wb + wc
                wa, wb, wc = wa / total, wb / total, wc / total
                nx = wa * normals[ia, 0] + wb * normals[ib, 0] + wc * normals[ic, 0]
                ny = wa * normals[ia, 1] + wb * normals[ib, 1] + wc * normals[ic, 1]
                nz = wa * normals[ia, 2] + wb * normals[ib, 2] + wc * normals[ic, 2]
                vx = -(wa * camera[ia, 0] + wb * camera[ib, 0] + wc * camera[ic, 0])
                vy = -(wa * camera[ia, 1] + wb * camera[ib, 1] + wc * camera[ic, 1])
                vz = -(wa * camera[ia, 2] + wb * camera[ib, 2] + wc * camera[ic, 2])
                x = wa * rest[ia, 0] + wb * rest[ib, 0] + wc * rest[ic, 0]
                y = wa * rest[ia, 1] + wb * rest[ib, 1] + wc * rest[ic, 1]
                z = wa * rest[ia, 2] + wb * rest[ib, 2] + wc * rest[ic, 2]
                for k in range(m.size):
                    m[k] = wa * masks[ia, k] + wb * masks[ib, k] + wc * masks[ic, k]
                length = np.sqrt(vx * vx + vy * vy + vz * vz)
                vx, vy, vz = vx / length, vy / length, vz / length

                occlusion = m[0]
                gloss, sharpness, soft = 0.045, 22.0, 1.0
                kind = material[f]
                if kind == SKIN:
                    grain = noise(x * 900, y * 900, z * 900) - 0.5
                    patch = noise(x * 110, y * 110, z * 110) - 0.5
                    lip = _step(-0.0012, 0.0010, m[1] + 0.0006 * patch)
                    red = m[2] + 0.25 * patch
                    crease = 1 - 0.22 * (noise(x * 1500, y * 180, 0.0) - 0.3) if lip > 0 else 1.0
                    for k in range(3):
                        skin = look[0, k] * (1 + 0.05 * grain + 0.07 * patch) * (1 - (0.02, 0.17, 0.17)[k] * red)
                        albedo[k] = skin + lip * (look[1, k] * crease - skin)
                    gloss += 0.05 * lip
                    # Brows: short strokes that lean outwards, thinner at the edge.
                    stroke = 0.5
                    if m[3] > -0.004:
                        stroke = noise((abs(x) * 0.8 + y * 0.6) * 1400, (y * 0.8 - abs(x) * 0.6) * 300, 0.0)
                    brow = 0.9 * _step(-0.0016, 0.0016, m[3] + 0.0020 * (stroke - 0.5))
                    lash = 0.92 * _step(-0.0004, 0.0007, m[4])
                    dark = max(brow, lash)
                    for k in range(3):
                        albedo[k] += dark * (0.75 * look[2, k] - albedo[k])
                    gloss *= 1 - dark
                    # Hair: strands along meridians from the crown.
                    hair = 0.0
                    if m[5] > -0.010:
                        turn = np.arctan2(x, z - 0.02)
                        ring = np.sqrt(x * x + (z - 0.02) ** 2)
                        strand = 0.6 * noise(turn * 90, y * 40, ring * 60) + 0.4 * noise(turn * 260, y * 90, ring * 120)
                        hair = _step(-0.004, 0.004, m[5] + 0.010 * (strand - 0.5))
                    if hair > 0:
                        for k in range(3):
                            albedo[k] += hair * (look[2, k] * (0.35 + 1.3 * strand) - albedo[k])
                        nx += hair * 0.9 * (strand - 0.5) * np.cos(turn)
                        nz -= hair * 0.9 * (strand - 0.5) * np.sin(turn)
                        gloss += hair * (0.035 * strand - gloss)
                        sharpness += hair * (14.0 - sharpness)
                        soft -= hair * 0.7
                    shirt = _step(-0.0006, 0.0006, m[6])
                    if shirt > 0:
                        weave = noise(x * 700, y * 700, z * 700)
                        fold = noise(x * 28, y * 14, z * 28)
                        band = 1 - _step(0.0135, 0.0145, m[6])
                        rib = 0.5 + 0.5 * np.sin(np.arctan2(x, z - 0.02) * 260)
                        seam = np.exp(-(((m[6] - 0.0145) / 0.0011) ** 2)) + 0.5 * np.exp(-((m[6] / 0.0012) ** 2))
                        cloth = (0.82 + 0.25 * weave + 0.22 * fold) * (1 - band * 0.28 * rib) * (1 - 0.5 * seam)
                        for k in range(3):
                            albedo[k] += shirt * (look[4, k] * cloth - albedo[k])
                        gloss *= 1 - 0.85 * shirt
                        soft -= shirt * 0.8
                elif kind == EYE:
                    side = 0 if x > 0 else 1
                    ex, ey, ez = (x - eyes[side, 0]), (y - eyes[side, 1]), (z - eyes[side, 2])
                    polar = np.arctan2(np.sqrt(ex * ex + ey * ey), -ez) * 57.2958
                    around = np.arctan2(ey, ex)
                    iris = 1 - _step(26.2, 28.4, polar)
                    pupil = 1 - _step(9.6, 11.2, polar)
                    streak = 0.62 + 0.76 * noise(np.cos(around) * 7, np.sin(around) * 7, polar * 0.09)
                    limbus = 1 - 0.72 * _step(20.5, 27.5, polar)
                    inner = 1.0 + 0.9 * (1 - _step(11.0, 20.0, polar))
                    vein = noise(x * 800, y * 800, 0.0)
                    white = (0.66 - 0.02 * vein, 0.615 - 0.05 * vein, 0.59 - 0.05 * vein)
                    for k in range(3):
                        albedo[k] = white[k] + iris * (look[3, k] * streak * limbus * inner - white[k])
                        albedo[k] *= 1 - 0.96 * pupil
                    gloss, sharpness, soft = 0.55, 260.0, 0.6
                    occlusion = 0.25 + 0.75 * occlusion
                elif kind == TEETH:
                    gap = abs(((abs(x) / 0.0078) + 0.5) % 1.0 - 0.5)
                    shadow = np.exp(-max(m[7] - 0.006, 0.0) / 0.022) * (1 - 0.2 * (1 - _step(0.0, 0.10, gap)))
                    # Cheeks keep light from the molars.
                    shadow *= 1 - 0.93 * _step(0.013, 0.024, abs(x))
                    for k in range(3):
                        albedo[k] = (0.78, 0.73, 0.63)[k] * shadow
                    gloss, sharpness, soft = 0.10 * shadow, 60.0, 0.5
                    occlusion = 0.8 + 0.2 * occlusion
                else:
                    shadow = 0.15 + 0.85 * np.exp(-max(m[7], 0.0) / (0.030 if kind == TONGUE else 0.012))
                    for k in range(3):
                        albedo[k] = (
                            (0.46, 0.17, 0.155)[k] * shadow if kind == TONGUE else (0.30, 0.085, 0.08)[k] * shadow
                        )
                    gloss *= shadow
                    occlusion = 0.35 + 0.65 * occlusion

                length = np.sqrt(nx * nx + ny * ny + nz * nz) + 1e-12
                nx, ny, nz = nx / length, ny / length, nz / length
                facing = nx * vx + ny * vy + nz * vz
                if facing < 0.0:
                    nx, ny, nz, facing = -nx, -ny, -nz, -facing
                up = 0.5 - 0.5 * ny
                ambient = (ground + (sky - ground) * up) * occlusion * (0.4 + 0.6 * occlusion)
                # Light creeps round the terminator under skin, red farthest.
                lit = 0.15 + 0.85 * occlusion
                red_light = green_light = blue_light = ambient
                shine = 0.0
                for light in range(3):
                    lx, ly, lz = lights[light, 0], lights[light, 1], lights[light, 2]
                    cosine = nx * lx + ny * ly + nz * lz
                    share = lit if light < 2 else lit * (1 - facing) ** 2
                    wrap = 0.42 * soft
                    red_light += power[light, 0] * share * max(cosine + wrap, 0.0) / (1 + wrap) ** 2
                    wrap = 0.24 * soft
                    green_light += power[light, 1] * share * max(cosine + wrap, 0.0) / (1 + wrap) ** 2
                    wrap = 0.18 * soft
                    blue_light += power[light, 2] * share * max(cosine + wrap, 0.0) / (1 + wrap) ** 2
                    hx, hy, hz = lx + vx, ly + vy, lz + vz
                    half = (nx * hx + ny * hy + nz * hz) / (np.sqrt(hx * hx + hy * hy + hz * hz) + 1e-6)
                    if cosine > 0.0 and half > 0.0:
                        shine += power[light, 1] * half**sharpness * (1 if light < 2 else 0.1)
                grazing = (1 - facing) ** 4
                shine = shine * gloss * (1 + 3 * grazing) * lit * (0.12 * sharpness + 1.0) * 0.35
                value[0] += albedo[0] * red_light + shine
                value[1] += albedo[1] * green_light + shine
                value[2] += albedo[2] * blue_light + shine
            share = covered / (samples * samples)
            alpha[row, column] = share
            for k in range(3):
                encoded = _encode(value[k] / shaded)
                image[row, column, k] = share * encoded + (1 - share) * background[row, column, k]
