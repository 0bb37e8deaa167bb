// Which cells of the box hold something, and from empty space how far the next that does is at least.
//
// Eight cells share one 16-bit word: the high byte has a bit a cell, the low byte the distance from any point of the
// eight to the nearest occupied cell outside them, in steps of `quantum` metres, rounded down; 0 where one of the eight
// is occupied. A sample in empty space may hop by that distance along its ray without missing anything.
#pragma once

#include <cstdint>

#include "math/numbers.h"

namespace dfanerf {

struct SkipField {
  const uint16_t* words;  // (ceil(R / 2),) * 3 by x, y, z, with at least two bytes behind the last
  int resolution;         // R: cells along an axis
  float quantum;          // metres
};

}  // namespace dfanerf

namespace DFANERF_MATH_NAMESPACE {

// Looks u up. Returns the mask of lanes inside the box and in an occupied cell; `distance` is a lower bound, in metres,
// of the way to the nearest occupied cell. Outside the box, it is the way to the box and from there on combined.
DFANERF_HD I occupancy_lookup(const SkipField& field, const float* extent, const F* u, F& distance) {
  const float size = static_cast<float>(field.resolution);
  const int words = (field.resolution + 1) / 2;
  I index{}, bit{};
  F outside = splat(0.0f);
  I inside = splat(int32_t{-1});
  for (int axis = 0; axis < 3; ++axis) {
    const F clamped = minimum(maximum(u[axis], splat(0.0f)), splat(1.0f));
    const F away = (u[axis] - clamped) * extent[axis];
    outside = mul_add(away, away, outside);
    inside = inside & mask(u[axis] >= 0.0f) & mask(u[axis] < 1.0f);
    const I cell = truncate(minimum(clamped * size, splat(size - 0.5f)));
    index = index * words + (cell >> 1);
    bit = bit + bit + (cell & 1);
  }
  const I word = gather_halves(field.words, index);
  const I full = mask(((word >> (bit + 8)) & 1) != 0);
  const F within = to_float(word & 255) * field.quantum;
  distance = square_root(mul_add(within, within, outside));
  return inside & full;
}

}  // namespace DFANERF_MATH_NAMESPACE
