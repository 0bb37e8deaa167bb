// Hash encoding on the GPU: one thread a sample and level, so that a level's entries stay in cache together.
#include "dfanerf/hash_encode.h"

#include <cuda_runtime.h>

#include <stdexcept>
#include <string>

namespace dfanerf::cuda {
namespace {

constexpr int kThreads = 256;

void check(cudaError_t status, const char* what) {
  if (status != cudaSuccess) throw std::runtime_error(std::string(what) + ": " + cudaGetErrorString(status));
}

struct Corners {
  uint32_t entry[8];
  float fraction[3];
};

__device__ Corners find_corners(const GridLevel& level, const float* __restrict__ position) {
  Corners corners;
  const float u[3] = {math::clamp_unit(position[0]), math::clamp_unit(position[1]), math::clamp_unit(position[2])};
  const math::GridCell cell = math::locate(level, u);
  for (int d = 0; d < 3; ++d) corners.fraction[d] = cell.fraction[d];
  math::corner_entries(level, cell.corner, corners.entry);
  return corners;
}

template <int N>
__global__ void forward_kernel(HashGrid grid, const float* __restrict__ positions, int64_t n,
                               const float* __restrict__ table, float* __restrict__ out) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= n) return;
  const int l = blockIdx.y;
  const GridLevel level = grid.levels[l];
  const float* entries = table + static_cast<int64_t>(level.offset) * N;
  const Corners corners = find_corners(level, positions + 3 * i);
  float weight[8];
  math::corner_weights(corners.fraction, weight);
  float sum[N] = {};
#pragma unroll
  for (int c = 0; c < 8; ++c) {
    const float* value = entries + static_cast<int64_t>(corners.entry[c]) * N;
#pragma unroll
    for (int f = 0; f < N; ++f) sum[f] = fmaf(weight[c], __ldg(value + f), sum[f]);
  }
  float* row = out + i * grid.n_levels * N + l * N;
#pragma unroll
  for (int f = 0; f < N; ++f) row[f] = sum[f];
}

template <int N>
__global__ void backward_kernel(HashGrid grid, const float* __restrict__ positions, int64_t n,
                                const float* __restrict__ table, const float* __restrict__ grad_out,
                                float* __restrict__ grad_table, float* __restrict__ grad_positions) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= n) return;
  const int l = blockIdx.y;
  const GridLevel level = grid.levels[l];
  const int64_t base = static_cast<int64_t>(level.offset) * N;
  const Corners corners = find_corners(level, positions + 3 * i);
  float weight[8];
  math::corner_weights(corners.fraction, weight);
  float g[N];
#pragma unroll
  for (int f = 0; f < N; ++f) g[f] = grad_out[i * grid.n_levels * N + l * N + f];
  float s[8];  // what the output's gradient says about the weight of each corner
#pragma unroll
  for (int c = 0; c < 8; ++c) {
    const int64_t at = base + static_cast<int64_t>(corners.entry[c]) * N;
    s[c] = 0.0f;
#pragma unroll
    for (int f = 0; f < N; ++f) {
      if (grad_table != nullptr) atomicAdd(grad_table + at + f, weight[c] * g[f]);
      if (grad_positions != nullptr) s[c] = fmaf(g[f], table[at + f], s[c]);
    }
  }
  if (grad_positions == nullptr) return;
  float gradient[3];
  math::corner_slopes(corners.fraction, s, gradient);
#pragma unroll
  for (int d = 0; d < 3; ++d) {
    const float p = positions[3 * i + d];
    if (p >= 0.0f && p <= 1.0f) atomicAdd(grad_positions + 3 * i + d, level.scale * gradient[d]);
  }
}

dim3 blocks(const HashGrid& grid, int64_t n) {
  return dim3(static_cast<unsigned>((n + kThreads - 1) / kThreads), static_cast<unsigned>(grid.n_levels));
}

}  // namespace

void hash_encode_forward(const HashGrid& grid, const float* positions, int64_t n, const float* table, float* out,
                         uintptr_t stream) {
  if (n == 0) return;
  const auto queue = reinterpret_cast<cudaStream_t>(stream);
  switch (grid.n_features) {
    case 1: forward_kernel<1><<<blocks(grid, n), kThreads, 0, queue>>>(grid, positions, n, table, out); break;
    case 2: forward_kernel<2><<<blocks(grid, n), kThreads, 0, queue>>>(grid, positions, n, table, out); break;
    case 4: forward_kernel<4><<<blocks(grid, n), kThreads, 0, queue>>>(grid, positions, n, table, out); break;
    case 8: forward_kernel<8><<<blocks(grid, n), kThreads, 0, queue>>>(grid, positions, n, table, out); break;
  }
  check(cudaGetLastError(), "hash_encode_forward");
}

void hash_encode_backward(const HashGrid& grid, const float* positions, int64_t n, const float* table,
                          const float* grad_out, float* grad_table, float* grad_positions, uintptr_t stream) {
  const auto queue = reinterpret_cast<cudaStream_t>(stream);
  if (grad_table != nullptr) {
    const size_t bytes = sizeof(float) * grid.n_features * static_cast<size_t>(grid.n_entries);
    check(cudaMemsetAsync(grad_table, 0, bytes, queue), "hash_encode_backward");
  }
  if (n == 0) return;
  if (grad_positions != nullptr)
    check(cudaMemsetAsync(grad_positions, 0, sizeof(float) * 3 * static_cast<size_t>(n), queue),
          "hash_encode_backward");
#define DFANERF_LAUNCH(N) \
  backward_kernel<N>      \
      <<<blocks(grid, n), kThreads, 0, queue>>>(grid, positions, n, table, grad_out, grad_table, grad_positions)
  switch (grid.n_features) {
    case 1: DFANERF_LAUNCH(1); break;
    case 2: DFANERF_LAUNCH(2); break;
    case 4: DFANERF_LAUNCH(4); break;
    case 8: DFANERF_LAUNCH(8); break;
  }
#undef DFANERF_LAUNCH
  check(cudaGetLastError(), "hash_encode_backward");
}

}  // namespace dfanerf::cuda
