// Launchers of march_rays. The first pass keeps a bit a sample; the second writes each where its ray begins, so that
// samples are packed in the order of their rays.
#include "cuda/march_rays.cuh"

#include "cuda/launch.h"
#include "dfanerf/march_rays.h"

namespace dfanerf::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kRaysPerBlock = kThreads / WarpLanes::kSize;

__global__ void __launch_bounds__(kThreads) count_kernel(RayMarch march, uint32_t* hits, int64_t* counts) {
  count_ray(march, hits, counts);
}

__global__ void __launch_bounds__(kThreads) write_kernel(RayMarch march, MarchedRays out) {
  write_ray(march, out);
}

}  // namespace

void march_rays_count(const RayMarch& march, uint32_t* hits, int64_t* counts, uintptr_t stream) {
  if (march.n == 0) return;
  count_kernel<<<blocks_for(march.n, kRaysPerBlock), kThreads, 0, as_stream(stream)>>>(march, hits, counts);
  check(cudaGetLastError(), "march_rays_count");
}

void march_rays_write(const RayMarch& march, const MarchedRays& out, uintptr_t stream) {
  if (march.n == 0 || out.n_samples == 0) return;
  write_kernel<<<blocks_for(march.n, kRaysPerBlock), kThreads, 0, as_stream(stream)>>>(march, out);
  check(cudaGetLastError(), "march_rays_write");
}

}  // namespace dfanerf::cuda
