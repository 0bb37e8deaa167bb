// Hash encoding, forward and backward: a block takes 32 samples, a lane each, its warps share the levels among them.
//
// Samples come one ray after another, so that neighbouring lanes read neighbouring entries. Encodings and their
// gradients pass through shared memory, since a level is a column there and a row's piece in device memory.
#pragma once

#include "cuda/warp_lanes.cuh"
#include "math/hash_encode.h"

namespace DFANERF_CUDA_NAMESPACE {

constexpr int kEncodeSamples = WarpLanes::kSize;
constexpr int kEncodeThreads = 256;
constexpr int kEncodeWarps = kEncodeThreads / WarpLanes::kSize;
constexpr int kMaxRuns = 8;  // runs of lanes in one cell, up to which they add up before they write

// The features of one entry, read as one.
template <int N>
struct alignas(N < 4 ? 4 * N : 16) Features {
  float value[N];
};

// Floats from one sample's row of the tile to the next: an odd number of entries, so that the lanes' rows fall into
// different banks.
DFANERF_DEVICE int tile_stride(const HashGrid& grid) {
  return (grid.n_levels | 1) * grid.n_features;
}
// Bytes of shared memory.
inline int encode_shared_bytes(const HashGrid& grid, bool backward) {
  const int floats = kEncodeSamples * (grid.n_levels | 1) * grid.n_features;
  return 4 * (floats + (backward ? 3 * kEncodeWarps * kEncodeSamples : 0));
}

template <int N>
struct LevelCorners {
  uint32_t corner[3], entry[8];
  float fraction[3], weight[8];

  DFANERF_DEVICE LevelCorners(const GridLevel& level, const float* u) {
    const math::GridCell cell = math::locate(level, u);
    for (int d = 0; d < 3; ++d) {
      corner[d] = cell.corner[d];
      fraction[d] = cell.fraction[d];
    }
    math::corner_entries(level, corner, entry);
    math::corner_weights(fraction, weight);
    for (uint32_t& at : entry)
      at *= N;  // floats from the level's first; under 2^32, as a level has at most 2^28 entries
  }
};

// The block's first sample, and this lane's position; lanes past the last sample repeat it.
DFANERF_DEVICE int64_t load_position(const float* positions, int64_t n, float* u) {
  const int64_t first = static_cast<int64_t>(block_index()) * kEncodeSamples;
  const int64_t mine = first + thread_index() % WarpLanes::kSize;
  const int64_t i = mine < n ? mine : n - 1;
  for (int d = 0; d < 3; ++d) u[d] = math::clamp_unit(positions[3 * i + d]);
  return first;
}

template <int N>
DFANERF_DEVICE void encode_block(const HashGrid& grid, const float* positions, int64_t n, const float* table,
                                 float* out) {
  float* tile = reinterpret_cast<float*>(shared_memory());
  const int lane = thread_index() % WarpLanes::kSize, width = grid.n_levels * N, stride = tile_stride(grid);
  float u[3];
  const int64_t first = load_position(positions, n, u);
  for (int l = thread_index() / WarpLanes::kSize; l < grid.n_levels; l += kEncodeWarps) {
    const LevelCorners<N> at(grid.levels[l], u);
    const float* entries = table + static_cast<int64_t>(grid.levels[l].offset) * N;
    Features<N> sum = {};
    for (int c = 0; c < 8; ++c) {
      const Features<N> entry = *reinterpret_cast<const Features<N>*>(entries + at.entry[c]);
      for (int f = 0; f < N; ++f) sum.value[f] = fmaf(at.weight[c], entry.value[f], sum.value[f]);
    }
    for (int f = 0; f < N; ++f) tile[lane * stride + l * N + f] = sum.value[f];
  }
  sync_block();
  const int count = static_cast<int>(n - first < kEncodeSamples ? n - first : kEncodeSamples) * width;
  for (int i = thread_index(); i < count; i += kEncodeThreads)
    out[first * width + i] = tile[i / width * stride + i % width];
}

// Adds weight[c] g to the eight entries. Where few cells hold all lanes, neighbours in one cell add up first, and the
// first of them writes for all: on coarse levels a whole warp would otherwise wait at one address.
template <int N>
DFANERF_DEVICE void add_to_entries(const LevelCorners<N>& at, const float* g, float* grad_entries) {
  const WarpLanes lanes = lanes_of_warp();
  bool starts = lanes.rank == 0;
  for (int d = 0; d < 3; ++d) starts |= from_lane(at.corner[d], (lanes.rank - 1) & 31) != at.corner[d];
  const uint32_t heads = vote(starts);
  const bool together = count_bits(heads) <= kMaxRuns;
  const uint32_t above = heads & ~((2u << lanes.rank) - 1u);
  const int last = above ? count_bits((above & (0u - above)) - 1u) - 1 : 31;  // lane of this run
#pragma unroll
  for (int c = 0; c < 8; ++c) {
    float value[N];
    for (int f = 0; f < N; ++f) value[f] = at.weight[c] * g[f];
    if (together)
      for (int step = 1; step < WarpLanes::kSize; step *= 2)
        for (int f = 0; f < N; ++f) {
          const float other = from_lane(lanes, value[f], (lanes.rank + step) & 31);
          if (lanes.rank + step <= last) value[f] += other;
        }
    if (together && !starts) continue;
    if (N == 1)
      add(grad_entries + at.entry[c], value[0]);
    else
      for (int f = 0; f + 1 < N; f += 2) add_pair(grad_entries + at.entry[c] + f, value[f], value[f + 1]);
  }
}

// Either gradient may be null; that of the table is added to, that of the positions overwritten.
template <int N>
DFANERF_DEVICE void encode_block_gradient(const HashGrid& grid, const float* positions, int64_t n, const float* table,
                                          const float* grad_out, float* grad_table, float* grad_positions) {
  const int lane = thread_index() % WarpLanes::kSize, warp = thread_index() / WarpLanes::kSize;
  const int width = grid.n_levels * N, stride = tile_stride(grid);
  float* tile = reinterpret_cast<float*>(shared_memory());
  float* slopes = tile + kEncodeSamples * stride;  // (warps, samples, 3)
  float u[3];
  const int64_t first = load_position(positions, n, u);
  const int here = static_cast<int>(n - first < kEncodeSamples ? n - first : kEncodeSamples);
  for (int i = thread_index(); i < kEncodeSamples * width; i += kEncodeThreads)
    tile[i / width * stride + i % width] = i < here * width ? grad_out[first * width + i] : 0.0f;
  sync_block();
  float slope[3] = {};
  for (int l = warp; l < grid.n_levels; l += kEncodeWarps) {
    const LevelCorners<N> at(grid.levels[l], u);
    float g[N];
    for (int f = 0; f < N; ++f) g[f] = tile[lane * stride + l * N + f];
    const int64_t base = static_cast<int64_t>(grid.levels[l].offset) * N;
    if (grad_table != nullptr) add_to_entries(at, g, grad_table + base);
    if (grad_positions == nullptr) continue;
    const float* entries = table + base;
    float s[8];  // what the output's gradient says about the weight of each corner
    for (int c = 0; c < 8; ++c) {
      const Features<N> entry = *reinterpret_cast<const Features<N>*>(entries + at.entry[c]);
      s[c] = 0.0f;
      for (int f = 0; f < N; ++f) s[c] = fmaf(g[f], entry.value[f], s[c]);
    }
    float along[3];
    math::corner_slopes(at.fraction, s, along);
    for (int d = 0; d < 3; ++d) slope[d] = fmaf(grid.levels[l].scale, along[d], slope[d]);
  }
  if (grad_positions == nullptr) return;
  for (int d = 0; d < 3; ++d) slopes[(warp * kEncodeSamples + lane) * 3 + d] = slope[d];
  sync_block();
  const int i = thread_index();
  if (i >= 3 * here) return;
  float sum = 0.0f;
  for (int w = 0; w < kEncodeWarps; ++w) sum += slopes[w * kEncodeSamples * 3 + i];
  const float p = positions[3 * first + i];
  grad_positions[3 * first + i] = p >= 0.0f && p <= 1.0f ? sum : 0.0f;
}

}  // namespace DFANERF_CUDA_NAMESPACE
