// Launchers of composite_rays.
#include "cuda/composite_rays.cuh"

#include "cuda/launch.h"
#include "dfanerf/composite_rays.h"

namespace dfanerf::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kRaysPerBlock = kThreads / WarpLanes::kSize;

__global__ void __launch_bounds__(kThreads) forward_kernel(PackedRays rays, CompositedRays out) {
  composite_rays(rays, out);
}

__global__ void __launch_bounds__(kThreads) backward_kernel(PackedRays rays, CompositeGradients gradients) {
  composite_rays_gradient(rays, gradients);
}

}  // namespace

void composite_rays_forward(const PackedRays& rays, const CompositedRays& out, uintptr_t stream) {
  if (rays.n_rays == 0) return;
  forward_kernel<<<blocks_for(rays.n_rays, kRaysPerBlock), kThreads, 0, as_stream(stream)>>>(rays, out);
  check(cudaGetLastError(), "composite_rays_forward");
}

void composite_rays_backward(const PackedRays& rays, const CompositeGradients& gradients, uintptr_t stream) {
  if (rays.n_rays == 0) return;
  backward_kernel<<<blocks_for(rays.n_rays, kRaysPerBlock), kThreads, 0, as_stream(stream)>>>(rays, gradients);
  check(cudaGetLastError(), "composite_rays_backward");
}

}  // namespace dfanerf::cuda
