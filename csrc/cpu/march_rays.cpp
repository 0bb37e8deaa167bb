// Samples of rays in occupied space, on the CPU: choice of the SIMD variant, and the split among threads.
#include "dfanerf/march_rays.h"

#include <vector>

#include "dfanerf/cpu_features.h"
#include "dfanerf/thread_pool.h"

namespace dfanerf::cpu {

#define DFANERF_DECLARE(variant)                                                                             \
  namespace variant {                                                                                        \
  void march_rays_count_range(const RayMarch&, int64_t begin, int64_t end, uint32_t* hits, int64_t* counts); \
  }
DFANERF_DECLARE(portable)
DFANERF_DECLARE(avx2)
DFANERF_DECLARE(avx512)
#undef DFANERF_DECLARE

constexpr int64_t kRaysPerChunk = 64;

void march_rays_count(const RayMarch& march, uint32_t* hits, int64_t* counts, int n_threads) {
  RayMarch padded = march;
  std::vector<uint8_t> copy;
  const size_t n_cells = static_cast<size_t>(march.resolution) * march.resolution * march.resolution;
  if (n_cells % 4) {  // lanes read whole words
    copy.assign(march.cells, march.cells + n_cells);
    copy.resize((n_cells + 3) / 4 * 4);
    padded.cells = copy.data();
  }
  auto* run = DFANERF_SIMD_SELECT(march_rays_count_range);
  parallel_for(march.n, kRaysPerChunk, n_threads,
               [&](int64_t begin, int64_t end) { run(padded, begin, end, hits, counts); });
}

void march_rays_write(const RayMarch& march, const MarchedRays& out, int n_threads) {
  parallel_for(march.n, kRaysPerChunk, n_threads, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      int64_t at = out.offsets[r];
      for (int w = 0; w < march.words; ++w)
        for (uint32_t left = out.hits[r * march.words + w]; left != 0; left &= left - 1)
          math::march_store(march, out, r, w * kStepsPerWord + __builtin_ctz(left), at++);
    }
  });
}

}  // namespace dfanerf::cpu
