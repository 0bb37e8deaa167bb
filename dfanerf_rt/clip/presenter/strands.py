"""Hair of the synthetic presenter as strands: where their points are, and how they get into the z-buffer."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numba
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]

HAIR, BROW, LASH = range(3)


@dataclass(frozen=True)
class Strands:
    """S strands of P points each, from root to tip."""

    points: Floats
    """(S, P, 3) metres."""
    width_m: Floats
    """(S,) at the root; they taper."""
    kind: Ints
    """(S,) HAIR, BROW or LASH."""
    tint: Floats
    """(S, 2): how much lighter than its neighbours a strand is (1 is as usual), and its share of grey."""
    root: Ints
    """(S,) the vertex that it grows from."""
    light: Floats
    """(S, P) share of the sky that a point sees through its neighbours, in [0, 1]."""

    def __len__(self) -> int:
        return len(self.points)

    @classmethod
    def unlit(cls, points: NDArray, width_m: NDArray | float, kind: int, tint: NDArray, root: NDArray) -> Strands:
        """Strands of one kind that see all of the sky; ``width_m`` of each, or of all."""
        n = len(points)
        return cls(
            points.astype(np.float32),
            np.broadcast_to(width_m, n).astype(np.float32),
            np.full(n, kind, np.int32),
            tint.astype(np.float32),
            root.astype(np.int32),
            np.ones(points.shape[:2], np.float32),
        )

    def lit(self, light: Floats) -> Strands:
        """The same strands, with what they see of the sky."""
        return replace(self, light=np.ascontiguousarray(light, np.float32))


def join(parts: list[Strands], n_points: int) -> Strands:
    """All strands together, resampled to ``n_points`` each."""
    return Strands(
        points=np.concatenate([_resample(part.points, n_points) for part in parts]),
        width_m=np.concatenate([part.width_m for part in parts]),
        kind=np.concatenate([part.kind for part in parts]),
        tint=np.concatenate([part.tint for part in parts]),
        root=np.concatenate([part.root for part in parts]),
        light=np.ones((sum(map(len, parts)), n_points), np.float32),
    )


def _resample(points: Floats, n_points: int) -> Floats:
    """(S, n_points, 3) at equal steps of the index."""
    at = np.linspace(0, points.shape[1] - 1, n_points)
    low = np.minimum(at.astype(int), points.shape[1] - 2)
    share = (at - low)[None, :, None]
    return (points[:, low] * (1 - share) + points[:, low + 1] * share).astype(np.float32)


@numba.njit(cache=True, nogil=True)
def draw_strands(
    points: Floats, width: Floats, first_id: int, face_id: Ints, weights: Floats, inverse_depth: Floats
) -> None:
    """Draw strands over what is in the z-buffer, nearest first.

    A strand narrower than a sample covers a share of the samples that it crosses, always the same parts of it, so
    that hair does not glitter as it moves.

    Args:
        points: (S, P, 3) column, row, and a value that grows towards the viewer and is positive before it.
        width: (S,) of the root in samples times the depth there; 0 draws every sample that the strand crosses.
        first_id: segment p of strand s is drawn as ``first_id + s * (P - 1) + p``.
        face_id, inverse_depth: (H, W) in and out. weights: (H, W, 2), set to the share of the segment and 0.
    """
    height, columns = face_id.shape
    n_points = points.shape[1]
    for s in range(points.shape[0]):
        for p in range(n_points - 1):
            ax, ay, az = points[s, p, 0], points[s, p, 1], points[s, p, 2]
            bx, by, bz = points[s, p + 1, 0], points[s, p + 1, 1], points[s, p + 1, 2]
            if az <= 0.0 or bz <= 0.0:
                continue
            if max(ax, bx) < 0 or min(ax, bx) >= columns or max(ay, by) < 0 or min(ay, by) >= height:
                continue
            n = max(int(np.ceil(max(abs(bx - ax), abs(by - ay)))), 1)
            across_x = abs(by - ay) > abs(bx - ax)
            taper = 1.0 - 0.75 * p / (n_points - 1)
            for i in range(n):
                u = (i + 0.5) / n
                x, y, near = ax + u * (bx - ax), ay + u * (by - ay), az + u * (bz - az)
                wide = width[s] * near * taper if width[s] > 0.0 else 1.0
                whole = int(wide)
                h = np.uint32(s * 2654435761 + p * 40503 + int(u * 6) * 9973 + 12345)
                h = (h ^ (h >> np.uint32(15))) * np.uint32(2246822519)
                h = h ^ (h >> np.uint32(13))
                if float(h & np.uint32(0xFFFF)) / 65536.0 < wide - whole:
                    whole += 1
                for k in range(whole):
                    shift = k - (whole - 1) // 2
                    column, row = int(np.floor(x)), int(np.floor(y))
                    if across_x:
                        column += shift
                    else:
                        row += shift
                    if row < 0 or column < 0 or row >= height or column >= columns:
                        continue
                    if near > inverse_depth[row, column]:
                        inverse_depth[row, column] = near
                        face_id[row, column] = first_id + s * (n_points - 1) + p
                        weights[row, column, 0] = u
                        weights[row, column, 1] = 0.0
