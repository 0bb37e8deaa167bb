// Hash encoding on the CPU: choice of the SIMD variant, and the split among threads.
#include "dfanerf/hash_encode.h"

#include <algorithm>

#include "dfanerf/cpu_features.h"
#include "dfanerf/thread_pool.h"

namespace dfanerf::cpu {

#define DFANERF_DECLARE(variant)                                                                                   \
  namespace variant {                                                                                              \
  void hash_encode_forward_range(const HashGrid&, const float*, int64_t, int64_t, const float*, float*);           \
  void hash_encode_backward_table(const HashGrid&, const float*, int64_t, const float*, float*, int, int);         \
  void hash_encode_backward_positions(const HashGrid&, const float*, int64_t, int64_t, const float*, const float*, \
                                      float*);                                                                     \
  }
DFANERF_DECLARE(portable)
DFANERF_DECLARE(avx2)
DFANERF_DECLARE(avx512)
#undef DFANERF_DECLARE

constexpr int64_t kSamplesPerChunk = 4096;

void hash_encode_forward(const HashGrid& grid, const float* positions, int64_t n, const float* table, float* out,
                         int n_threads) {
  auto* run = DFANERF_SIMD_SELECT(hash_encode_forward_range);
  parallel_for(n, kSamplesPerChunk, n_threads,
               [&](int64_t begin, int64_t end) { run(grid, positions, begin, end, table, out); });
}

void hash_encode_backward(const HashGrid& grid, const float* positions, int64_t n, const float* table,
                          const float* grad_out, float* grad_table, float* grad_positions, int n_threads) {
  if (grad_table != nullptr) {
    auto* run = DFANERF_SIMD_SELECT(hash_encode_backward_table);
    // Every thread owns whole levels, so that no entry is written by two. Interleaved: fine levels cost more.
    const int step = std::clamp(n_threads, 1, grid.n_levels);
    parallel_for(step, 1, n_threads, [&](int64_t begin, int64_t end) {
      for (int64_t first = begin; first < end; ++first)
        run(grid, positions, n, grad_out, grad_table, static_cast<int>(first), step);
    });
  }
  if (grad_positions != nullptr) {
    auto* run = DFANERF_SIMD_SELECT(hash_encode_backward_positions);
    parallel_for(n, kSamplesPerChunk, n_threads, [&](int64_t begin, int64_t end) {
      run(grid, positions, begin, end, table, grad_out, grad_positions);
    });
  }
}

}  // namespace dfanerf::cpu
