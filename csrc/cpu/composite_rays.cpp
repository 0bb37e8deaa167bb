// Volume rendering of packed samples on the CPU: rays split among threads.
#include "dfanerf/composite_rays.h"

#include "dfanerf/thread_pool.h"

namespace dfanerf::cpu {
namespace {

constexpr int64_t kRaysPerChunk = 128;

}  // namespace

void composite_rays_forward(const PackedRays& rays, const CompositedRays& out, int n_threads) {
  parallel_for(rays.n_rays, kRaysPerChunk, n_threads, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) math::composite_ray(rays, r, out, OneLane{});
  });
}

void composite_rays_backward(const PackedRays& rays, const CompositeGradients& grad, int n_threads) {
  parallel_for(rays.n_rays, kRaysPerChunk, n_threads, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) math::composite_ray_backward(rays, r, grad, OneLane{});
  });
}

}  // namespace dfanerf::cpu
