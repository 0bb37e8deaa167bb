// Samples of rays in occupied space, kLanes of a ray's steps abreast. Compiled once a SIMD variant; see
// dfanerf/cpu_features.h.
#include "math/march.h"

namespace dfanerf::cpu::DFANERF_SIMD_NAMESPACE {

void march_rays_count_range(const RayMarch& march, int64_t begin, int64_t end, uint32_t* hits, int64_t* counts) {
  const RayFrame frame = march_frame(march);
  const int words = march.words;
  I lane;
  for (int i = 0; i < kLanes; ++i) lane[i] = i;
  for (int64_t r = begin; r < end; ++r) {
    const Ray ray = march_ray(march, r);
    int64_t found = 0;
    for (int w = 0; w < words; ++w) {
      uint32_t word = 0;
      for (int first = 0; first < kStepsPerWord; first += kLanes) {
        const I step = lane + (w * kStepsPerWord + first);
        word |= bits(march_hits(march, frame, ray, march.jitter[r], step)) << first;
      }
      hits[r * words + w] = word;
      found += __builtin_popcount(word);
    }
    counts[r] = found;
  }
}

}  // namespace dfanerf::cpu::DFANERF_SIMD_NAMESPACE
