// Lanes that walk one ray together, neighbouring samples side by side: a single one on the CPU, a warp on the GPU. What
// is added up along the ray is written once, for any group.
//
// A group has kSize and rank, and, where it is more than one lane, from_lane(group, x, lane), the x of another lane,
// and vote(group, yes), a bit a lane; all lanes take part in each.
#pragma once

#include <cstdint>

#include "math/numbers.h"

namespace dfanerf {

struct OneLane {
  static constexpr int kSize = 1;
  static constexpr int rank = 0;
};

}  // namespace dfanerf

namespace DFANERF_MATH_NAMESPACE {

// `total` with the x of lower lanes added. Afterwards `total`, the same for all lanes, has the x of all lanes in it.
DFANERF_HD float running_sum(OneLane, float& total, float x) {
  const float before = total;
  total += x;
  return before;
}
template <typename Lanes>
DFANERF_HD float running_sum(Lanes lanes, float& total, float x) {
  for (int step = 1; step < Lanes::kSize; step *= 2) {
    const float below = from_lane(lanes, x, (lanes.rank - step) & (Lanes::kSize - 1));
    if (lanes.rank >= step) x += below;
  }
  const float below = from_lane(lanes, x, (lanes.rank - 1) & (Lanes::kSize - 1));
  const float before = lanes.rank ? total + below : total;
  total += from_lane(lanes, x, Lanes::kSize - 1);
  return before;
}

// The same for products.
DFANERF_HD float running_product(OneLane, float& total, float x) {
  const float before = total;
  total *= x;
  return before;
}
template <typename Lanes>
DFANERF_HD float running_product(Lanes lanes, float& total, float x) {
  for (int step = 1; step < Lanes::kSize; step *= 2) {
    const float below = from_lane(lanes, x, (lanes.rank - step) & (Lanes::kSize - 1));
    if (lanes.rank >= step) x *= below;
  }
  const float below = from_lane(lanes, x, (lanes.rank - 1) & (Lanes::kSize - 1));
  const float before = lanes.rank ? total * below : total;
  total *= from_lane(lanes, x, Lanes::kSize - 1);
  return before;
}

// The x of all lanes together.
DFANERF_HD float sum_of(OneLane, float x) {
  return x;
}
template <typename Lanes>
DFANERF_HD float sum_of(Lanes lanes, float x) {
  for (int step = 1; step < Lanes::kSize; step *= 2) x += from_lane(lanes, x, lanes.rank ^ step);
  return x;
}

}  // namespace DFANERF_MATH_NAMESPACE
