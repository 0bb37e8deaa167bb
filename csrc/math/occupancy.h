// Which cells of the box hold something, and from an empty cell how far the next that does is at least.
//
// One byte a cell: kOccupied, or the distance to the nearest occupied cell in steps of `quantum` metres, rounded down.
// A sample in empty space may therefore hop by that distance along its ray without missing anything.
#pragma once

#include <cstdint>

#include "math/numbers.h"

namespace dfanerf {

constexpr int kOccupied = 255;

struct SkipField {
  const uint8_t* cells;  // (R, R, R) by ix, iy, iz, with at least three bytes behind the last
  int resolution;
  float quantum;  // metres
};

}  // namespace dfanerf

namespace DFANERF_MATH_NAMESPACE {

// Looks u up. Returns the mask of lanes inside the box and in an occupied cell; `distance` is a lower bound, in metres,
// of the way to the nearest occupied cell. Outside the box, it is the way to the box and from there on combined.
DFANERF_HD I occupancy_lookup(const SkipField& field, const float* extent, const F* u, F& distance) {
  const float size = static_cast<float>(field.resolution);
  I index{};
  F outside = splat(0.0f);
  I inside = splat(int32_t{-1});
  for (int axis = 0; axis < 3; ++axis) {
    const F clamped = minimum(maximum(u[axis], splat(0.0f)), splat(1.0f));
    const F away = (u[axis] - clamped) * extent[axis];
    outside = mul_add(away, away, outside);
    inside = inside & mask(u[axis] >= 0.0f) & mask(u[axis] < 1.0f);
    index = index * field.resolution + truncate(minimum(clamped * size, splat(size - 0.5f)));
  }
  const I code = gather_bytes(field.cells, index);
  const I full = mask(code == kOccupied);
  const F within = select(full, splat(0.0f), to_float(code) * field.quantum);
  distance = square_root(mul_add(within, within, outside));
  return inside & full;
}

}  // namespace DFANERF_MATH_NAMESPACE
