// Volume rendering along one ray, front to back (the compositing behind paper eq. 10).
#pragma once

#include "math/numbers.h"

namespace dfanerf {

constexpr float kStopTransmittance = 1e-3f;  // a ray stops after the sample that brought it below this

struct RaySum {
  float transmittance = 1.0f;
  float r = 0.0f, g = 0.0f, b = 0.0f;
  float depth = 0.0f;  // sum of weight * distance
};

}  // namespace dfanerf

namespace DFANERF_MATH_NAMESPACE {

// Adds a sample; passing = exp(-sigma * step). Returns whether the ray is now opaque.
DFANERF_HD bool add_sample(RaySum& sum, float passing, float r, float g, float b, float distance) {
  const float weight = sum.transmittance * (1.0f - passing);
  sum.r += weight * r;
  sum.g += weight * g;
  sum.b += weight * b;
  sum.depth += weight * distance;
  sum.transmittance *= passing;
  return sum.transmittance < kStopTransmittance;
}

}  // namespace DFANERF_MATH_NAMESPACE
