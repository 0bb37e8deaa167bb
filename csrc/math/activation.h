// exp and the sigmoid by polynomial, for lanes that have no libm: relative error under 2e-7 in [-87, 87].
#pragma once

#include "math/numbers.h"

namespace DFANERF_MATH_NAMESPACE {

// exp(x), x clamped to [-87, 87].
DFANERF_HD F exponential(F x) {
  const float kMagic = 12582912.0f;  // 1.5 * 2^23: adding it rounds to the nearest integer, left in the low bits
  x = minimum(maximum(x, splat(-87.0f)), splat(87.0f));
  const F shifted = mul_add(x, splat(1.44269504088896341f), splat(kMagic));
  const F n = shifted - kMagic;
  F r = mul_add(n, splat(-0.693359375f), x);
  r = mul_add(n, splat(2.12194440e-4f), r);
  F p = splat(1.9875691500e-4f);
  p = mul_add(p, r, splat(1.3981999507e-3f));
  p = mul_add(p, r, splat(8.3334519073e-3f));
  p = mul_add(p, r, splat(4.1665795894e-2f));
  p = mul_add(p, r, splat(1.6666665459e-1f));
  p = mul_add(p, r, splat(5.0000001201e-1f));
  p = mul_add(p, r * r, r + 1.0f);
  return as_float(to_unsigned(as_int(p)) + (to_unsigned(as_int(shifted)) << 23));
}

DFANERF_HD F logistic(F x) {
  return 1.0f / (1.0f + exponential(-x));
}

// Density in 1/m from the network's first output.
DFANERF_HD F density(F raw) {
  return exponential(minimum(raw, splat(15.0f)));
}

}  // namespace DFANERF_MATH_NAMESPACE
