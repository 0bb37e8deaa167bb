// Samples of rays in occupied space: a warp a ray, a lane a step.
#pragma once

#include "cuda/warp_lanes.cuh"
#include "math/march.h"

namespace DFANERF_CUDA_NAMESPACE {

static_assert(kStepsPerWord == WarpLanes::kSize, "a warp's vote is a word");

DFANERF_DEVICE void count_ray(const RayMarch& march, uint32_t* hits, int64_t* counts) {
  const int64_t r = ray_of_warp();
  if (r < march.n) math::march_count_ray(march, r, hits, counts, lanes_of_warp());
}

DFANERF_DEVICE void write_ray(const RayMarch& march, const MarchedRays& out) {
  const int64_t r = ray_of_warp();
  if (r < march.n) math::march_write_ray(march, r, out, lanes_of_warp());
}

}  // namespace DFANERF_CUDA_NAMESPACE
