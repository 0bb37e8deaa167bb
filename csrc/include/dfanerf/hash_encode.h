// Hash encoding: see dfanerf_rt/ops/hash_encode.py for the definition.
#pragma once

#include <cstdint>

#include "math/hash_encode.h"

namespace dfanerf {

namespace cpu {

// positions (n, 3), table (n_entries, F), out (n, L * F); all contiguous float32.
void hash_encode_forward(const HashGrid& grid, const float* positions, int64_t n, const float* table, float* out,
                         int n_threads);

// Either gradient may be null. grad_out (n, L * F), grad_table as table, grad_positions as positions; both overwritten.
void hash_encode_backward(const HashGrid& grid, const float* positions, int64_t n, const float* table,
                          const float* grad_out, float* grad_table, float* grad_positions, int n_threads);

}  // namespace cpu

#ifdef DFANERF_WITH_CUDA
namespace cuda {

// The same on the device, asynchronously on `stream` (a cudaStream_t as an integer). Throws std::runtime_error.
void hash_encode_forward(const HashGrid& grid, const float* positions, int64_t n, const float* table, float* out,
                         uintptr_t stream);
void hash_encode_backward(const HashGrid& grid, const float* positions, int64_t n, const float* table,
                          const float* grad_out, float* grad_table, float* grad_positions, uintptr_t stream);

}  // namespace cuda
#endif

}  // namespace dfanerf
