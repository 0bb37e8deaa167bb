// The soft plane between head and torso: how much of a sample follows the head.
#pragma once

#include "math/activation.h"
#include "math/numbers.h"

namespace DFANERF_MATH_NAMESPACE {

// w_head for a signed distance to the plane, in units of its softness.
DFANERF_HD F head_weight(F signed_distance) {
  return logistic(signed_distance);
}

}  // namespace DFANERF_MATH_NAMESPACE
