// The hash grid in tiny-cuda-nn's convention (Mueller et al. 2022): where a position falls in a level, which entries
// its cell's corners have, and what each corner weighs.
#pragma once

#include <cstdint>

#include "math/numbers.h"

namespace dfanerf {

constexpr int kMaxGridLevels = 32;
constexpr uint32_t kHashPrimeY = 2654435761u;
constexpr uint32_t kHashPrimeZ = 805459861u;

struct GridLevel {
  float scale = 0.0f;       // cells along an axis: position * scale + 0.5 is the position in cells
  uint32_t resolution = 0;  // grid points along an axis
  uint32_t n_entries = 0;   // a power of two where hashed
  uint32_t offset = 0;      // first entry in the table
  uint32_t hashed = 0;      // 0 or 1
};

struct HashGrid {
  int n_levels = 0;
  int n_features = 0;
  int64_t n_entries = 0;
  GridLevel levels[kMaxGridLevels] = {};

  int n_output() const { return n_levels * n_features; }
};

}  // namespace dfanerf

namespace DFANERF_MATH_NAMESPACE {

// Positions outside [0, 1] are pulled to it; NaN becomes 0, so that no index leaves the table.
DFANERF_HD F clamp_unit(F x) {
  return select(mask(x > 0.0f), minimum(x, splat(1.0f)), splat(0.0f));
}

// Where a position falls in one level.
struct GridCell {
  U corner[3];    // of the lowest corner, in grid points
  F fraction[3];  // within the cell
};

// u: three coordinates in [0, 1].
DFANERF_HD GridCell locate(const GridLevel& level, const F* u) {
  GridCell cell;
  for (int axis = 0; axis < 3; ++axis) {
    const F position = mul_add(u[axis], splat(level.scale), splat(0.5f));
    const I whole = truncate(position);  // positions are positive: truncation is floor
    cell.fraction[axis] = position - to_float(whole);
    cell.corner[axis] = to_unsigned(whole);
  }
  return cell;
}

// The entries, within the level, of a cell's eight corners; bit 0 of a corner's number steps in x, bit 1 in y, bit 2
// in z.
DFANERF_HD void corner_entries(const GridLevel& level, const U* corner, U* entry) {
  if (level.hashed) {
    const uint32_t low = level.n_entries - 1u;  // a power of two
    const U x[2] = {corner[0], corner[0] + 1u};
    const U y[2] = {corner[1] * kHashPrimeY, corner[1] * kHashPrimeY + kHashPrimeY};
    const U z[2] = {corner[2] * kHashPrimeZ, corner[2] * kHashPrimeZ + kHashPrimeZ};
    for (int c = 0; c < 8; ++c) entry[c] = (x[c & 1] ^ y[c >> 1 & 1] ^ z[c >> 2]) & low;
  } else {
    const uint32_t row = level.resolution, plane = level.resolution * level.resolution;
    const U first = corner[0] + corner[1] * row + corner[2] * plane;
    for (int c = 0; c < 8; ++c) {
      const U at = first + ((c & 1) + (c >> 1 & 1) * row + (c >> 2) * plane);
      const U wrapped = at - level.n_entries;  // at the far faces of the box; huge where there is nothing to wrap
      entry[c] = minimum(wrapped, at);
    }
  }
}

// Products of (1 - fraction) or fraction in x, y and z for the eight corners.
DFANERF_HD void corner_weights(const F* fraction, F* weight) {
  const F x[2] = {1.0f - fraction[0], fraction[0]};
  F yz[4];
  yz[0] = (1.0f - fraction[1]) * (1.0f - fraction[2]);
  yz[1] = fraction[1] * (1.0f - fraction[2]);
  yz[2] = (1.0f - fraction[1]) * fraction[2];
  yz[3] = fraction[1] * fraction[2];
  for (int c = 0; c < 8; ++c) weight[c] = x[c & 1] * yz[c >> 1];
}

// Derivatives along the three axes, in cells, of sum_c weight[c] value[c]: value holds one number a corner.
DFANERF_HD void corner_slopes(const F* fraction, const F* value, F* slope) {
  const F x = fraction[0], y = fraction[1], z = fraction[2];
  const F x0 = 1.0f - x, y0 = 1.0f - y, z0 = 1.0f - z;
  slope[0] = ((value[1] - value[0]) * y0 + (value[3] - value[2]) * y) * z0 +
             ((value[5] - value[4]) * y0 + (value[7] - value[6]) * y) * z;
  slope[1] = ((value[2] - value[0]) * x0 + (value[3] - value[1]) * x) * z0 +
             ((value[6] - value[4]) * x0 + (value[7] - value[5]) * x) * z;
  slope[2] = ((value[4] - value[0]) * x0 + (value[5] - value[1]) * x) * y0 +
             ((value[6] - value[2]) * x0 + (value[7] - value[3]) * x) * y;
}

}  // namespace DFANERF_MATH_NAMESPACE
