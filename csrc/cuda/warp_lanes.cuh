// A warp as a group of lanes (see math/lane_group.h), and what the operators' kernels share.
#pragma once

#include "cuda/warp.cuh"
#include "math/lane_group.h"

namespace DFANERF_CUDA_NAMESPACE {

struct WarpLanes {
  static constexpr int kSize = 32;
  int rank;
};

DFANERF_DEVICE float from_lane(WarpLanes, float x, int lane) {
  return math::as_float(static_cast<int32_t>(from_lane(static_cast<uint32_t>(math::as_int(x)), lane)));
}
DFANERF_DEVICE uint32_t vote(WarpLanes, bool yes) {
  return vote(yes);
}

// One warp a ray: this thread's ray, and its lane.
DFANERF_DEVICE int64_t ray_of_warp() {
  return global_thread() / WarpLanes::kSize;
}
DFANERF_DEVICE WarpLanes lanes_of_warp() {
  return {thread_index() % WarpLanes::kSize};
}

// Adds to a sum that others add to at the same time.
DFANERF_DEVICE void add(float* sum, float value) {
#if defined(DFANERF_EMULATE_CUDA)
  *sum += value;
#else
  atomicAdd(sum, value);
#endif
}
// The same for two neighbours, the first at a multiple of eight bytes.
DFANERF_DEVICE void add_pair(float* sum, float first, float second) {
#if !defined(DFANERF_EMULATE_CUDA) && __CUDA_ARCH__ >= 900
  atomicAdd(reinterpret_cast<float2*>(sum), make_float2(first, second));
#else
  add(sum, first);
  add(sum + 1, second);
#endif
}

}  // namespace DFANERF_CUDA_NAMESPACE
