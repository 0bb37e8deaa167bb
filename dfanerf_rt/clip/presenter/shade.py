"""Light on the synthetic presenter: the colour of every sample of the z-buffer, compiled by numba.

The person's colour is averaged over a pixel in linear light, encoded as sRGB, and laid over the background by its
coverage, as the project's renderer composites.
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from dfanerf_rt.clip.presenter.light import GROUND, LIGHTS, POWER, SKY, key_light
from dfanerf_rt.clip.presenter.surface import (
    EYE,
    INNER,
    SHIRT,
    SKIN,
    TEETH,
    TONGUE,
    cloth_at,
    eye_at,
    lattice_hash,
    skin_at,
    step,
)

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]


@numba.njit(cache=True, nogil=True, fastmath=True)
def _encode(value: float) -> float:
    """Linear light to sRGB in [0, 1], with a soft shoulder above 0.7."""
    if value > 0.7:
        value = 0.7 + 0.3 * (1 - np.exp(-(value - 0.7) / 0.3))
    value = max(value, 0.0)
    return 12.92 * value if value <= 0.0031308 else 1.055 * value ** (1 / 2.4) - 0.055


@numba.njit(cache=True, nogil=True, fastmath=True)
def _specular(cosine_half: float, cosine_light: float, cosine_view: float, rough: float, f0: float, lh: float) -> float:
    """GGX (Walter et al. 2007) with Schlick's terms, times the cosine of the light."""
    a2 = rough**4
    d = cosine_half * cosine_half * (a2 - 1) + 1
    k = rough * rough * 0.5
    g = (cosine_view * (1 - k) + k) * (cosine_light * (1 - k) + k)
    fresnel = f0 + (1 - f0) * (1 - lh) ** 5
    return a2 / (d * d) * fresnel * 0.25 * cosine_light / max(g, 1e-3) / np.pi


@numba.njit(cache=True, nogil=True, fastmath=True)
def _strand(
    t: Floats, v: Floats, n: Floats, colour: Floats, kind: int, lit: float, sky: float, up: float, out: Floats
) -> None:
    """Light from a strand of hair into ``out``: reflection, light through it, and many scatterings between strands
    (in the manner of Marschner et al. 2003, with lobes of one angle and a normal for the mass of hair)."""
    tv = t[0] * v[0] + t[1] * v[1] + t[2] * v[2]
    theta_v = np.arcsin(min(max(tv, -1.0), 1.0))
    for k in range(3):
        out[k] = colour[k] * (GROUND + (SKY - GROUND) * up) * sky * 1.15
    for light in range(3):
        lx, ly, lz = LIGHTS[light]
        tl = t[0] * lx + t[1] * ly + t[2] * lz
        share = (lit if light == 0 else sky) if light < 2 else sky**0.5 * 0.8
        facing = 0.45 + 0.55 * (n[0] * lx + n[1] * ly + n[2] * lz)
        half = 0.5 * (np.arcsin(min(max(tl, -1.0), 1.0)) + theta_v)
        primary = np.exp(-0.5 * ((half + 0.07) / 0.13) ** 2)
        second = np.exp(-0.5 * ((half - 0.12) / 0.24) ** 2)
        # Angle between light and view round the strand.
        sine = np.sqrt(max(1 - tl * tl, 1e-4)) * np.sqrt(max(1 - tv * tv, 1e-4))
        phi = (lx * v[0] + ly * v[1] + lz * v[2] - tl * tv) / sine
        front = np.sqrt(max(0.5 + 0.5 * phi, 0.0))
        through = np.exp(-0.5 * ((1 + phi) / 0.35) ** 2)
        diffuse = np.sqrt(max(1 - tl * tl, 0.0)) * max(facing, 0.0) * 0.85
        for k in range(3):
            glint = 0.035 * primary * front + 0.75 * colour[k] ** 0.95 * second * front
            glint += 1.0 * colour[k] ** 0.8 * second * through
            out[k] += POWER[light, k] * share * (colour[k] * diffuse + glint * (1.0 if kind == 0 else 0.4))


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
    strands: Floats,
    strand_kind: Ints,
    strand_tint: Floats,
    strand_light: Floats,
    skull: Floats,
    shadow: Floats,
    shadow_surface: Floats,
    shadow_hair: Floats,
    look: Floats,
    background: Floats,
    samples: int,
    image: Floats,
    alpha: Floats,
) -> None:
    """Colour a frame.

    Args:
        face_id, weights: the z-buffer (H * s, W * s) with s = ``samples`` a side of a pixel; ids from F on are the
            segments of strands.
        points: (V, 3) as given to the rasteriser; the third column is 1 / depth.
        faces, material: (F, 3) and (F,).
        camera, normals, rest: (V, 3) position and normal in camera coordinates, position at rest.
        masks: (V, 8), see :data:`~dfanerf_rt.clip.presenter.surface.MASKS`.
        eyes: (2, 4) centre of each eyeball at rest and its radius.
        strands: (S, P, 3) in camera coordinates; strand_kind (S,), strand_tint (S, 2), strand_light (S, P).
        skull: (3,) the middle of the skull, camera coordinates.
        shadow, shadow_surface, shadow_hair: of :class:`~dfanerf_rt.clip.presenter.light.ShadowMap`.
        look: (7, 3) from :meth:`~dfanerf_rt.clip.presenter.surface.Look.table`.
        background: (H, W, 3) sRGB in [0, 1].
        image, alpha: (H, W, 3) and (H, W) out, in [0, 1].
    """
    height, width = alpha.shape
    n_faces, per_strand = faces.shape[0], strands.shape[1] - 1
    albedo, value, m = np.empty(3, np.float32), np.empty(3, np.float32), np.empty(masks.shape[1], np.float32)
    scratch = np.zeros((5, 3), np.float32)
    bump, t, v, n, out = scratch[0], scratch[1], scratch[2], scratch[3], scratch[4]
    for row in range(height):
        for column in range(width):
            covered = shaded = 0
            value[:] = 0.0
            # A pixel within one material is smooth: its diagonal samples speak for it.
            first = face_id[row * samples, column * samples]
            smooth = first >= 0 and first < n_faces
            for sub in range(samples * samples):
                f = face_id[row * samples + sub // samples, column * samples + sub % samples]
                covered += f >= 0
                smooth = smooth and f >= 0 and f < n_faces and material[f] == material[first]
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
                turn = 6.2832 * lattice_hash(r, c, 3)
                if f >= n_faces:
                    s, p = (f - n_faces) // per_strand, (f - n_faces) % per_strand
                    u = weights[r, c, 0]
                    for k in range(3):
                        a, b = strands[s, p, k], strands[s, p + 1, k]
                        t[k], v[k] = b - a, a + u * (b - a)
                    x, y, z = v[0], v[1], v[2]
                    sky = strand_light[s, p] + u * (strand_light[s, p + 1] - strand_light[s, p])
                    lit, past_hair = key_light(x, y, z, shadow, shadow_surface, shadow_hair, turn, 0.003)
                    size = np.sqrt(t[0] * t[0] + t[1] * t[1] + t[2] * t[2]) + 1e-12
                    away = np.sqrt(x * x + y * y + z * z)
                    out_size = 1e-12
                    for k in range(3):
                        n[k] = v[k] - skull[k]
                        out_size += n[k] * n[k]
                        t[k] /= size
                        v[k] = -v[k] / away
                    out_size = np.sqrt(out_size)
                    grey, kind = strand_tint[s, 1], strand_kind[s]
                    # Tips are bleached, roots are dark.
                    tip = 0.85 + 0.35 * (p + u) / per_strand
                    for k in range(3):
                        n[k] /= out_size
                        base = look[2, k] * (0.55 if kind > 0 else 1.0)
                        albedo[k] = strand_tint[s, 0] * tip * (base + grey * ((0.26, 0.26, 0.27)[k] - base))
                    hidden = 0.35 + 0.65 * past_hair if kind == 0 else 0.7
                    _strand(t, v, n, albedo, kind, lit * hidden, sky, 0.5 - 0.5 * n[1], out)
                    for k in range(3):
                        value[k] += out[k]
                    continue
                ia, ib, ic = faces[f, 0], faces[f, 1], faces[f, 2]
                wb, wc = weights[r, c, 0], weights[r, c, 1]
                wa = (1 - wb - wc) * points[ia, 2]
                wb, wc = wb * points[ib, 2], wc * points[ic, 2]
                total = wa + wb + wc
                wa, wb, wc = wa / total, wb / total, wc / total
                for k in range(3):
                    n[k] = wa * normals[ia, k] + wb * normals[ib, k] + wc * normals[ic, k]
                    v[k] = -(wa * camera[ia, k] + wb * camera[ib, k] + wc * camera[ic, k])
                px, py, pz = -v[0], -v[1], -v[2]
                x = wa * rest[ia, 0] + wb * rest[ib, 0] + wc * rest[ic, 0]
                y = wa * rest[ia, 1] + wb * rest[ib, 1] + wc * rest[ic, 1]
                z = wa * rest[ia, 2] + wb * rest[ib, 2] + wc * rest[ic, 2]
                for k in range(m.size):
                    m[k] = wa * masks[ia, k] + wb * masks[ib, k] + wc * masks[ic, k]
                length = np.sqrt(v[0] * v[0] + v[1] * v[1] + v[2] * v[2])
                size = np.sqrt(n[0] * n[0] + n[1] * n[1] + n[2] * n[2]) + 1e-12
                for k in range(3):
                    v[k] /= length
                    n[k] /= size
                    bump[k] = 0.0
                occlusion, soft, bulge, sheen = m[0], 1.0, 0.0, 0.0
                gloss, rough, f0 = 1.0, 0.45, 0.028
                kind = material[f]
                if kind == SKIN:
                    gloss, rough = skin_at(x, y, z, m, look, albedo, bump)
                elif kind == EYE:
                    bulge = eye_at(x, y, z, eyes[0 if x > 0 else 1], look, albedo)
                    gloss, rough, soft, f0 = 1.3, 0.16, 0.45, 0.03
                    occlusion = 0.12 + 0.88 * occlusion
                elif kind == TEETH:
                    gap = abs(((abs(x) / 0.0078) + 0.5) % 1.0 - 0.5)
                    dim = np.exp(-max(m[7] - 0.006, 0.0) / 0.022) * (1 - 0.22 * (1 - step(0.0, 0.10, gap)))
                    # Cheeks keep light from the molars.
                    dim *= 1 - 0.93 * step(0.013, 0.024, abs(x))
                    for k in range(3):
                        albedo[k] = (0.76, 0.70, 0.59)[k] * dim
                    gloss, rough, soft = 1.1 * dim, 0.26, 0.5
                    occlusion = 0.75 + 0.25 * occlusion
                elif kind >= SHIRT:
                    sheen = cloth_at(kind, x, y, z, m[1], look, albedo, bump)
                    gloss, rough, soft = 0.35, 0.65, 0.15
                else:
                    dim = 0.12 + 0.88 * np.exp(-max(m[7], 0.0) / (0.030 if kind == TONGUE else 0.012))
                    for k in range(3):
                        albedo[k] = (0.46, 0.17, 0.155)[k] * dim if kind == TONGUE else (0.30, 0.085, 0.08)[k] * dim
                    gloss, rough = 1.3 * dim, 0.30
                    occlusion = 0.35 + 0.65 * occlusion
                facing = n[0] * v[0] + n[1] * v[1] + n[2] * v[2]
                if facing < 0.0:
                    for k in range(3):
                        n[k] = -n[k]
                    facing = -facing
                lit, past_hair = key_light(
                    px + 0.0015 * n[0], py + 0.0015 * n[1], pz + 0.0015 * n[2],
                    shadow, shadow_surface, shadow_hair, turn, 0.0035,
                )  # fmt: skip
                if kind in (TEETH, TONGUE, INNER):
                    lit = 0.6 * occlusion
                if kind == EYE:
                    lit = 0.35 + 0.65 * lit
                lit *= 0.25 + 0.75 * past_hair
                up = 0.5 - 0.5 * n[1]
                # Light bounces between lit parts of skin and warms what is hidden from the sky.
                ambient = (GROUND + (SKY - GROUND) * up) * occlusion
                for k in range(3):
                    warm = (1.0, 0.78, 0.66)[k] if soft > 0.5 else 1.0
                    value[k] += albedo[k] * (ambient + 0.10 * warm * albedo[k] * (1 - occlusion))
                shine = 0.0
                sx, sy, sz = n[0] + bump[0], n[1] + bump[1], n[2]
                if bulge > 0.0:
                    sx += bulge * n[0]
                    sy += bulge * n[1]
                size = np.sqrt(sx * sx + sy * sy + sz * sz)
                sx, sy, sz = sx / size, sy / size, sz / size
                seen = max(sx * v[0] + sy * v[1] + sz * v[2], 0.05)
                for light in range(3):
                    lx, ly, lz = LIGHTS[light]
                    cosine = n[0] * lx + n[1] * ly + n[2] * lz
                    tilted = 0.6 * cosine + 0.4 * (sx * lx + sy * ly + sz * lz)
                    share = lit if light == 0 else occlusion
                    if light == 2:
                        share = occlusion * min(4 * (1 - facing) ** 2, 1.0)
                    for k in range(3):
                        # Light creeps round the terminator under skin, red farthest.
                        wrap = (0.40, 0.20, 0.13)[k] * soft
                        spread = share ** (1.0 - (0.35, 0.05, 0.0)[k] * soft) if light == 0 else share
                        value[k] += albedo[k] * POWER[light, k] * spread * max(tilted + wrap, 0.0) / (1 + wrap) ** 2
                    hx, hy, hz = lx + v[0], ly + v[1], lz + v[2]
                    size = np.sqrt(hx * hx + hy * hy + hz * hz) + 1e-6
                    half = (sx * hx + sy * hy + sz * hz) / size
                    direct = sx * lx + sy * ly + sz * lz
                    if direct > 0.0 and half > 0.0:
                        lh = (lx * hx + ly * hy + lz * hz) / size
                        # A soft box is wide: its highlight is that of a rougher surface.
                        broad = min(rough + 0.05, 1.0)
                        shine += POWER[light, 1] * share * 3.1 * _specular(half, direct, seen, broad, f0, lh)
                fresnel = f0 + (1 - f0) * (1 - seen) ** 5
                shine += 0.5 * fresnel * (GROUND + (SKY - GROUND) * up) * occlusion
                shine = shine * gloss + sheen * (1 - facing) ** 3 * 0.10 * occlusion
                for k in range(3):
                    value[k] += shine
            share = covered / (samples * samples)
            alpha[row, column] = share
            for k in range(3):
                encoded = _encode(value[k] / shaded)
                image[row, column, k] = share * encoded + (1 - share) * background[row, column, k]
