// Launchers of hash_encode.
#include "cuda/hash_encode.cuh"

#include "cuda/launch.h"
#include "dfanerf/hash_encode.h"

namespace dfanerf::cuda {
namespace {

template <int N>
__global__ void __launch_bounds__(kEncodeThreads)
    forward_kernel(const __grid_constant__ HashGrid grid, const float* __restrict__ positions, int64_t n,
                   const float* __restrict__ table, float* __restrict__ out) {
  encode_block<N>(grid, positions, n, table, out);
}

template <int N>
__global__ void __launch_bounds__(kEncodeThreads)
    backward_kernel(const __grid_constant__ HashGrid grid, const float* __restrict__ positions, int64_t n,
                    const float* __restrict__ table, const float* __restrict__ grad_out, float* __restrict__ grad_table,
                    float* __restrict__ grad_positions) {
  encode_block_gradient<N>(grid, positions, n, table, grad_out, grad_table, grad_positions);
}

// Entries are read as one.
void check_aligned(const float* table, int n_features) {
  const uintptr_t bytes = n_features < 4 ? 4 * static_cast<uintptr_t>(n_features) : 16;
  if (reinterpret_cast<uintptr_t>(table) % bytes != 0)
    throw std::runtime_error("hash_encode: the table, or its gradient, begins within an entry's " +
                             std::to_string(bytes) + " bytes; clone() the view");
}

}  // namespace

#define DFANERF_FOR_FEATURES(kernel, ...) \
  switch (grid.n_features) {              \
    case 1: kernel<1> __VA_ARGS__; break; \
    case 2: kernel<2> __VA_ARGS__; break; \
    case 4: kernel<4> __VA_ARGS__; break; \
    case 8: kernel<8> __VA_ARGS__; break; \
  }

void hash_encode_forward(const HashGrid& grid, const float* positions, int64_t n, const float* table, float* out,
                         uintptr_t stream) {
  if (n == 0) return;
  check_aligned(table, grid.n_features);
  const unsigned blocks = blocks_for(n, kEncodeSamples);
  const int shared = encode_shared_bytes(grid, false);
  DFANERF_FOR_FEATURES(forward_kernel,
                       <<<blocks, kEncodeThreads, shared, as_stream(stream)>>>(grid, positions, n, table, out))
  check(cudaGetLastError(), "hash_encode_forward");
}

void hash_encode_backward(const HashGrid& grid, const float* positions, int64_t n, const float* table,
                          const float* grad_out, float* grad_table, float* grad_positions, uintptr_t stream) {
  check_aligned(table, grid.n_features);
  if (grad_table != nullptr) {
    check_aligned(grad_table, grid.n_features);
    const size_t bytes = sizeof(float) * grid.n_features * static_cast<size_t>(grid.n_entries);
    check(cudaMemsetAsync(grad_table, 0, bytes, as_stream(stream)), "hash_encode_backward");
  }
  if (n == 0) return;
  const unsigned blocks = blocks_for(n, kEncodeSamples);
  const int shared = encode_shared_bytes(grid, true);
  DFANERF_FOR_FEATURES(backward_kernel, <<<blocks, kEncodeThreads, shared, as_stream(stream)>>>(
                                            grid, positions, n, table, grad_out, grad_table, grad_positions))
  check(cudaGetLastError(), "hash_encode_backward");
}

#undef DFANERF_FOR_FEATURES

}  // namespace dfanerf::cuda
