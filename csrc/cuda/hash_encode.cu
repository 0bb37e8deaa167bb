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

struct Cell {
  uint32_t corner[3];
  float fraction[3];
};

__device__ Cell find_cell(const float* __restrict__ position, float scale) {
  Cell cell;
#pragma unroll
  for (int d = 0; d < 3; ++d) {
    const float scaled = fmaf(clamp_unit(position[d]), scale, 0.5f);
    const float whole = floorf(scaled);
    cell.corner[d] = static_cast<uint32_t>(whole);
    cell.fraction[d] = scaled - whole;
  }
  return cell;
}

__device__ uint32_t corner_entry(const GridLevel& level, const Cell& cell, int c) {
  return grid_entry(level, cell.corner[0] + (c & 1), cell.corner[1] + (c >> 1 & 1), cell.corner[2] + (c >> 2));
}

__device__ float corner_weight(const Cell& cell, int c) {
  const float x = c & 1 ? cell.fraction[0] : 1.0f - cell.fraction[0];
  const float y = c & 2 ? cell.fraction[1] : 1.0f - cell.fraction[1];
  const float z = c & 4 ? cell.fraction[2] : 1.0f - cell.fraction[2];
  return x * y * z;
}

template <int F>
__global__ void forward_kernel(HashGrid grid, const float* __restrict__ positions, int64_t n,
                               const float* __restrict__ table, float* __restrict__ out) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= n) return;
  const int l = blockIdx.y;
  const GridLevel level = grid.levels[l];
  const float* entries = table + static_cast<int64_t>(level.offset) * F;
  const Cell cell = find_cell(positions + 3 * i, level.scale);
  float sum[F] = {};
#pragma unroll
  for (int c = 0; c < 8; ++c) {
    const float weight = corner_weight(cell, c);
    const float* value = entries + static_cast<int64_t>(corner_entry(level, cell, c)) * F;
#pragma unroll
    for (int f = 0; f < F; ++f) sum[f] = fmaf(weight, __ldg(value + f), sum[f]);
  }
  float* row = out + i * grid.n_levels * F + l * F;
#pragma unroll
  for (int f = 0; f < F; ++f) row[f] = sum[f];
}

template <int F>
__global__ void backward_kernel(HashGrid grid, const float* __restrict__ positions, int64_t n,
                                const float* __restrict__ table, const float* __restrict__ grad_out,
                                float* __restrict__ grad_table, float* __restrict__ grad_positions) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= n) return;
  const int l = blockIdx.y;
  const GridLevel level = grid.levels[l];
  const int64_t base = static_cast<int64_t>(level.offset) * F;
  const Cell cell = find_cell(positions + 3 * i, level.scale);
  float g[F];
#pragma unroll
  for (int f = 0; f < F; ++f) g[f] = grad_out[i * grid.n_levels * F + l * F + f];
  float s[8];  // what the output's gradient says about the weight of each corner
#pragma unroll
  for (int c = 0; c < 8; ++c) {
    const int64_t at = base + static_cast<int64_t>(corner_entry(level, cell, c)) * F;
    const float weight = corner_weight(cell, c);
    s[c] = 0.0f;
#pragma unroll
    for (int f = 0; f < F; ++f) {
      if (grad_table != nullptr) atomicAdd(grad_table + at + f, weight * g[f]);
      if (grad_positions != nullptr) s[c] = fmaf(g[f], table[at + f], s[c]);
    }
  }
  if (grad_positions == nullptr) return;
  const float x = cell.fraction[0], y = cell.fraction[1], z = cell.fraction[2];
  const float x0 = 1.0f - x, y0 = 1.0f - y, z0 = 1.0f - z;
  const float gradient[3] = {
      ((s[1] - s[0]) * y0 + (s[3] - s[2]) * y) * z0 + ((s[5] - s[4]) * y0 + (s[7] - s[6]) * y) * z,
      ((s[2] - s[0]) * x0 + (s[3] - s[1]) * x) * z0 + ((s[6] - s[4]) * x0 + (s[7] - s[5]) * x) * z,
      ((s[4] - s[0]) * x0 + (s[5] - s[1]) * x) * y0 + ((s[6] - s[2]) * x0 + (s[7] - s[3]) * x) * y,
  };
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
#define DFANERF_LAUNCH(F) \
  backward_kernel<F>      \
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
