// Hash encoding for a range of samples, kLanes of them abreast. Compiled once a SIMD variant; see
// dfanerf/cpu_features.h.
#include <cstdint>
#include <cstring>

#include "math/hash_encode.h"

namespace dfanerf::cpu::DFANERF_SIMD_NAMESPACE {
namespace {

constexpr int kBlock = 2048;  // samples that go through one level before the next: the level stays in cache

// One cache line of coordinates a direction; lanes past the end repeat position 0 and are never written.
struct Block {
  alignas(64) float p[3][kBlock];
  int count;
};

void load_block(Block& block, const float* positions, int64_t begin, int64_t end) {
  block.count = static_cast<int>(end - begin);
  const float* source = positions + 3 * begin;
  const int padded = (block.count + kLanes - 1) / kLanes * kLanes;
  for (int d = 0; d < 3; ++d) {
    for (int i = 0; i < block.count; ++i) block.p[d][i] = source[3 * i + d];
    for (int i = block.count; i < padded; ++i) block.p[d][i] = 0.0f;
    for (int i = 0; i < padded; i += kLanes) store(block.p[d] + i, clamp_unit(load<F>(block.p[d] + i)));
  }
}

struct Corners {
  U entry[8];
  F fraction[3];
};

DFANERF_HD void find_corners(const Block& block, int first, const GridLevel& level, Corners& corners) {
  const F u[3] = {load<F>(block.p[0] + first), load<F>(block.p[1] + first), load<F>(block.p[2] + first)};
  const GridCell cell = locate(level, u);
  for (int d = 0; d < 3; ++d) corners.fraction[d] = cell.fraction[d];
  corner_entries(level, cell.corner, corners.entry);
}

// Two neighbouring features of kLanes entries: one 8-byte load each, then split into two vectors.
template <int N>
DFANERF_HD void gather_pair(const float* table, U entry, int pair, F& a, F& b) {
#ifdef __AVX512F__
  const __m512i index = (__m512i)(entry * static_cast<uint32_t>(N / 2) + static_cast<uint32_t>(pair));
  const __m512d low = _mm512_i32gather_pd(_mm512_castsi512_si256(index), table, 8);
  const __m512d high = _mm512_i32gather_pd(_mm512_extracti64x4_epi64(index, 1), table, 8);
  const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
  const __m512i odd = _mm512_setr_epi32(1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
  a = (F)_mm512_permutex2var_ps(_mm512_castpd_ps(low), even, _mm512_castpd_ps(high));
  b = (F)_mm512_permutex2var_ps(_mm512_castpd_ps(low), odd, _mm512_castpd_ps(high));
#else
  for (int i = 0; i < kLanes; ++i) {
    const float* source = table + static_cast<size_t>(entry[i]) * N + 2 * pair;
    a[i] = source[0];
    b[i] = source[1];
  }
#endif
}

// All features of kLanes entries.
template <int N>
DFANERF_HD void gather_entries(const float* table, U entry, F value[N]) {
  if constexpr (N == 1) {
#ifdef __AVX512F__
    value[0] = (F)_mm512_i32gather_ps((__m512i)entry, table, 4);
#else
    for (int i = 0; i < kLanes; ++i) value[0][i] = table[entry[i]];
#endif
  } else {
    for (int pair = 0; pair < N / 2; ++pair) gather_pair<N>(table, entry, pair, value[2 * pair], value[2 * pair + 1]);
  }
}

// Rows of N floats, from N vectors over samples.
template <int N>
DFANERF_HD void store_rows(float* out, int64_t stride, int count, const F value[N]) {
  alignas(64) float lane[N][kLanes];
  for (int f = 0; f < N; ++f) std::memcpy(lane[f], &value[f], sizeof(F));
  for (int i = 0; i < count; ++i)
    for (int f = 0; f < N; ++f) out[i * stride + f] = lane[f][i];
}

template <int N>
DFANERF_HD void load_rows(const float* source, int64_t stride, int count, F value[N]) {
  alignas(64) float lane[N][kLanes] = {};
  for (int i = 0; i < count; ++i)
    for (int f = 0; f < N; ++f) lane[f][i] = source[i * stride + f];
  for (int f = 0; f < N; ++f) std::memcpy(&value[f], lane[f], sizeof(F));
}

DFANERF_HD int lanes_from(const Block& block, int first) {
  return block.count - first < kLanes ? block.count - first : kLanes;
}

template <int N>
void forward(const HashGrid& grid, const float* positions, int64_t begin, int64_t end, const float* table, float* out) {
  const int64_t stride = grid.n_output();
  Block block;
  for (; begin < end; begin += kBlock) {
    load_block(block, positions, begin, end - begin < kBlock ? end : begin + kBlock);
    for (int l = 0; l < grid.n_levels; ++l) {
      const GridLevel level = grid.levels[l];
      const float* entries = table + static_cast<int64_t>(level.offset) * N;
      for (int first = 0; first < block.count; first += kLanes) {
        Corners corners;
        find_corners(block, first, level, corners);
        F weight[8];
        corner_weights(corners.fraction, weight);
        F sum[N] = {};
        for (int c = 0; c < 8; ++c) {
          F value[N];
          gather_entries<N>(entries, corners.entry[c], value);
          for (int f = 0; f < N; ++f) sum[f] = mul_add(weight[c], value[f], sum[f]);
        }
        store_rows<N>(out + (begin + first) * stride + l * N, stride, lanes_from(block, first), sum);
      }
    }
  }
}

// The features of one entry, moved as one.
template <int N>
struct Features {
  typedef float Type __attribute__((vector_size(4 * N)));
};

template <int N>
void backward_table(const HashGrid& grid, const float* positions, int64_t n, const float* grad_out, float* grad_table,
                    int first_level, int level_step) {
  using Entry = typename Features<N>::Type;
  const int64_t stride = grid.n_output();
  for (int l = first_level; l < grid.n_levels; l += level_step)
    std::memset(grad_table + static_cast<int64_t>(grid.levels[l].offset) * N, 0,
                sizeof(float) * N * grid.levels[l].n_entries);
  Block block;
  for (int64_t begin = 0; begin < n; begin += kBlock) {
    load_block(block, positions, begin, n - begin < kBlock ? n : begin + kBlock);
    for (int l = first_level; l < grid.n_levels; l += level_step) {
      const GridLevel level = grid.levels[l];
      float* entries = grad_table + static_cast<int64_t>(level.offset) * N;
      const float* grad = grad_out + begin * stride + l * N;
      for (int first = 0; first < block.count; first += kLanes) {
        const int lanes = lanes_from(block, first);
        Corners corners;
        find_corners(block, first, level, corners);
        F weight[8];
        corner_weights(corners.fraction, weight);
        alignas(64) uint32_t entry[8][kLanes];
        alignas(64) float w[8][kLanes];
        for (int c = 0; c < 8; ++c) {
          std::memcpy(entry[c], &corners.entry[c], sizeof(F));
          std::memcpy(w[c], &weight[c], sizeof(F));
        }
        for (int i = 0; i < lanes; ++i, grad += stride) {
          Entry g;
          std::memcpy(&g, grad, sizeof g);
          for (int c = 0; c < 8; ++c) {
            float* target = entries + static_cast<size_t>(entry[c][i]) * N;
            Entry sum;
            std::memcpy(&sum, target, sizeof sum);
            sum += g * w[c][i];
            std::memcpy(target, &sum, sizeof sum);
          }
        }
      }
    }
  }
}

template <int N>
void backward_positions(const HashGrid& grid, const float* positions, int64_t begin, int64_t end, const float* table,
                        const float* grad_out, float* grad_positions) {
  const int64_t stride = grid.n_output();
  Block block;
  alignas(64) float total[3][kBlock];
  for (; begin < end; begin += kBlock) {
    load_block(block, positions, begin, end - begin < kBlock ? end : begin + kBlock);
    std::memset(total, 0, sizeof total);
    for (int l = 0; l < grid.n_levels; ++l) {
      const GridLevel level = grid.levels[l];
      const float* entries = table + static_cast<int64_t>(level.offset) * N;
      for (int first = 0; first < block.count; first += kLanes) {
        Corners corners;
        find_corners(block, first, level, corners);
        F grad[N];
        load_rows<N>(grad_out + (begin + first) * stride + l * N, stride, lanes_from(block, first), grad);
        // s[c]: what the output's gradient says about the weight of corner c.
        F s[8];
        for (int c = 0; c < 8; ++c) {
          F value[N];
          gather_entries<N>(entries, corners.entry[c], value);
          s[c] = grad[0] * value[0];
          for (int f = 1; f < N; ++f) s[c] = mul_add(grad[f], value[f], s[c]);
        }
        F gradient[3];
        corner_slopes(corners.fraction, s, gradient);
        for (int d = 0; d < 3; ++d) {
          const F sum = mul_add(gradient[d], splat(level.scale), load<F>(total[d] + first));
          std::memcpy(total[d] + first, &sum, sizeof sum);
        }
      }
    }
    for (int i = 0; i < block.count; ++i)
      for (int d = 0; d < 3; ++d) {
        const float p = positions[3 * (begin + i) + d];
        grad_positions[3 * (begin + i) + d] = p >= 0.0f && p <= 1.0f ? total[d][i] : 0.0f;
      }
  }
}

}  // namespace

void hash_encode_forward_range(const HashGrid& grid, const float* positions, int64_t begin, int64_t end,
                               const float* table, float* out) {
  switch (grid.n_features) {
    case 1: return forward<1>(grid, positions, begin, end, table, out);
    case 2: return forward<2>(grid, positions, begin, end, table, out);
    case 4: return forward<4>(grid, positions, begin, end, table, out);
    case 8: return forward<8>(grid, positions, begin, end, table, out);
  }
}

// Levels first_level, first_level + level_step, ...: their part of grad_table is this thread's own.
void hash_encode_backward_table(const HashGrid& grid, const float* positions, int64_t n, const float* grad_out,
                                float* grad_table, int first_level, int level_step) {
  switch (grid.n_features) {
    case 1: return backward_table<1>(grid, positions, n, grad_out, grad_table, first_level, level_step);
    case 2: return backward_table<2>(grid, positions, n, grad_out, grad_table, first_level, level_step);
    case 4: return backward_table<4>(grid, positions, n, grad_out, grad_table, first_level, level_step);
    case 8: return backward_table<8>(grid, positions, n, grad_out, grad_table, first_level, level_step);
  }
}

void hash_encode_backward_positions(const HashGrid& grid, const float* positions, int64_t begin, int64_t end,
                                    const float* table, const float* grad_out, float* grad_positions) {
  switch (grid.n_features) {
    case 1: return backward_positions<1>(grid, positions, begin, end, table, grad_out, grad_positions);
    case 2: return backward_positions<2>(grid, positions, begin, end, table, grad_out, grad_positions);
    case 4: return backward_positions<4>(grid, positions, begin, end, table, grad_out, grad_positions);
    case 8: return backward_positions<8>(grid, positions, begin, end, table, grad_out, grad_positions);
  }
}

}  // namespace dfanerf::cpu::DFANERF_SIMD_NAMESPACE
