"""Plain colours for the head, so that pictures of it can be looked at and tracked."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dfanerf_rt.face.regions import REGION_NAMES
from head.makehuman import FloatArray

COLOURS = {
    "skin": (0.80, 0.62, 0.52),
    "lips": (0.66, 0.34, 0.32),
    "eyelids": (0.72, 0.53, 0.45),
    "brows": (0.22, 0.15, 0.11),
    "sclera": (0.93, 0.92, 0.90),
    "iris": (0.28, 0.20, 0.14),
    "pupil": (0.03, 0.03, 0.03),
    "teeth_upper": (0.93, 0.91, 0.86),
    "teeth_lower": (0.88, 0.86, 0.80),
    "tongue": (0.70, 0.35, 0.35),
    "mouth_inner": (0.35, 0.12, 0.12),
    "ears": (0.78, 0.58, 0.49),
    "scalp": (0.17, 0.12, 0.09),
    "neck": (0.78, 0.60, 0.50),
    "torso": (0.25, 0.32, 0.45),
}


def vertex_colours(region: NDArray[np.uint8]) -> FloatArray:
    """Colours (V, 3) in [0, 1] of region labels (V,)."""
    return np.array([COLOURS[name] for name in REGION_NAMES])[region]
