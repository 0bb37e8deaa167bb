// Volume rendering of packed samples: a warp a ray, a lane a sample, so that what neighbouring lanes read lies side by
// side. Sums along the ray are scans over the warp (math/lane_group.h), carried on every 32 samples.
#pragma once

#include "cuda/warp_lanes.cuh"
#include "math/composite.h"

namespace DFANERF_CUDA_NAMESPACE {

DFANERF_DEVICE void composite_rays(const PackedRays& rays, const CompositedRays& out) {
  const int64_t r = ray_of_warp();
  if (r < rays.n_rays) math::composite_ray(rays, r, out, lanes_of_warp());
}

DFANERF_DEVICE void composite_rays_gradient(const PackedRays& rays, const CompositeGradients& gradients) {
  const int64_t r = ray_of_warp();
  if (r < rays.n_rays) math::composite_ray_backward(rays, r, gradients, lanes_of_warp());
}

}  // namespace DFANERF_CUDA_NAMESPACE
