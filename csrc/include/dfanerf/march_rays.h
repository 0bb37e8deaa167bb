// Samples of rays in occupied space, in two passes: see dfanerf_rt/ops/march_rays.py for the definition.
//
// march_rays_count fills `hits` (n, march.words), a bit a sample, and `counts` (n,). The caller adds the counts up
// into `offsets` (n + 1,), the first of them 0, and makes room for offsets[n] samples; march_rays_write then writes
// them one ray after another: `ray` the number of the ray, `t` the distance.
#pragma once

#include <cstdint>

#include "math/march.h"

namespace dfanerf {

namespace cpu {

void march_rays_count(const RayMarch& march, uint32_t* hits, int64_t* counts, int n_threads);
void march_rays_write(const RayMarch& march, const MarchedRays& out, int n_threads);

}  // namespace cpu

#ifdef DFANERF_WITH_CUDA
namespace cuda {

// The same on the device, asynchronously on `stream` (a cudaStream_t as an integer). Throws std::runtime_error.
void march_rays_count(const RayMarch& march, uint32_t* hits, int64_t* counts, uintptr_t stream);
void march_rays_write(const RayMarch& march, const MarchedRays& out, uintptr_t stream);

}  // namespace cuda
#endif

}  // namespace dfanerf
