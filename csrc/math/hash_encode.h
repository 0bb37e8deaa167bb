// The hash grid in tiny-cuda-nn's convention (Mueller et al. 2022): where a level's grid points lie in the table.
#pragma once

#include <cstdint>

#include "math/portable.h"

namespace dfanerf {

constexpr int kMaxGridLevels = 32;
constexpr uint32_t kHashPrimeY = 2654435761u;
constexpr uint32_t kHashPrimeZ = 805459861u;

struct GridLevel {
  float scale;          // position * scale + 0.5 is the position in cells
  uint32_t resolution;  // grid points along an axis
  uint32_t n_entries;   // a power of two where hashed
  uint32_t offset;      // first entry in the table
  uint32_t hashed;
};

struct HashGrid {
  int n_levels = 0;
  int n_features = 0;
  int64_t n_entries = 0;
  GridLevel levels[kMaxGridLevels] = {};

  int n_output() const { return n_levels * n_features; }
};

// Entry, within its level, of grid point (x, y, z), each at most the resolution.
DFANERF_HD uint32_t grid_entry(const GridLevel& level, uint32_t x, uint32_t y, uint32_t z) {
  if (level.hashed) return (x ^ (y * kHashPrimeY) ^ (z * kHashPrimeZ)) & (level.n_entries - 1u);
  const uint32_t index = x + (y + z * level.resolution) * level.resolution;
  return index >= level.n_entries ? index - level.n_entries : index;  // below 2 n_entries: a modulo
}

// Positions outside [0, 1] are pulled to it; NaN becomes 0, so that no index leaves the table.
DFANERF_HD float clamp_unit(float x) {
  return x > 0.0f ? (x < 1.0f ? x : 1.0f) : 0.0f;
}

}  // namespace dfanerf
