"""Names of the parts of the head, as the bundled model labels its vertices."""

from __future__ import annotations

REGION_NAMES: tuple[str, ...] = (
    "skin",
    "lips",
    "eyelids",
    "brows",
    "sclera",
    "iris",
    "pupil",
    "teeth_upper",
    "teeth_lower",
    "tongue",
    "mouth_inner",
    "ears",
    "scalp",
    "neck",
    "torso",
)
"""A vertex's ``region`` is an index into these names."""

REGION_INDEX: dict[str, int] = {name: index for index, name in enumerate(REGION_NAMES)}
"""Index of each region."""
