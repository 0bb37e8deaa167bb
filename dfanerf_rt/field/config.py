"""Sizes of the conditional radiance field; kept in the avatar's metadata."""

from __future__ import annotations

from dataclasses import dataclass

from dfanerf_rt.ops.hash_encode import HashGridConfig

MOUTH_CODE_DIM = 32
EYE_CODE_DIM = 16
CONDITION_DIM = MOUTH_CODE_DIM + EYE_CODE_DIM
HEAD_POSE_DIM = 6


@dataclass(frozen=True)
class FieldConfig:
    """The conditional field F_theta (paper eq. 10): a hash grid and an MLP 32 -> 64 -> 64 -> (sigma, r, g, b)."""

    n_levels: int = 16
    n_features: int = 2
    log2_table_size: int = 15
    base_resolution: int = 16
    max_resolution: int = 256
    hidden: int = 64
    n_blend: int = 8
    """Hash tables that the condition mixes once a frame; 0 with ``concat`` is the paper's concatenation alone."""
    concat: bool = False
    """Concatenate the condition to the MLP's input, as the paper does; folds into the first layer's bias."""
    occupancy_resolution: int = 256
    """Cells of the occupancy grid along each side; stored as one bit a cell."""
    n_steps: int = 128
    """Samples along a ray that crosses the whole box."""

    @property
    def grid(self) -> HashGridConfig:
        """The hash grid in tiny-cuda-nn's convention."""
        return HashGridConfig(
            n_levels=self.n_levels,
            n_features=self.n_features,
            log2_table_size=self.log2_table_size,
            base_resolution=self.base_resolution,
            max_resolution=self.max_resolution,
        )
