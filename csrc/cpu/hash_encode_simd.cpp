// Hash encoding for a range of samples, 16 samples abreast. Compiled once a SIMD variant; see dfanerf/cpu_features.h.
#include <cstdint>
#include <cstring>

#ifdef __AVX512F__
#include <immintrin.h>
#endif

#include "math/hash_encode.h"

namespace dfanerf::cpu::DFANERF_SIMD_NAMESPACE {
namespace {

constexpr int kLanes = 16;
constexpr int kBlock = 2048;  // samples that go through one level before the next: the level stays in cache

typedef float Vec __attribute__((vector_size(64)));
typedef uint32_t UVec __attribute__((vector_size(64)));
typedef int32_t IVec __attribute__((vector_size(64)));

#define DFANERF_INLINE inline __attribute__((always_inline))

DFANERF_INLINE UVec select(IVec mask, UVec a, UVec b) {
  return mask ? a : b;
}

// One cache line of coordinates a direction; lanes past the end repeat position 0 and are never written.
struct Block {
  alignas(64) float p[3][kBlock];
  int count;
};

void load_block(Block& block, const float* positions, int64_t begin, int64_t end) {
  block.count = static_cast<int>(end - begin);
  const float* source = positions + 3 * begin;
  for (int i = 0; i < block.count; ++i)
    for (int d = 0; d < 3; ++d) block.p[d][i] = clamp_unit(source[3 * i + d]);
  const int padded = (block.count + kLanes - 1) / kLanes * kLanes;
  for (int i = block.count; i < padded; ++i)
    for (int d = 0; d < 3; ++d) block.p[d][i] = 0.0f;
}

struct Corners {
  UVec entry[8];
  Vec fraction[3];
};

DFANERF_INLINE Vec load(const float* source) {
  Vec value;
  std::memcpy(&value, source, sizeof value);
  return value;
}

DFANERF_INLINE Vec multiply_add(Vec a, Vec b, Vec c) {
#ifdef __AVX512F__
  return (Vec)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#else
  return a * b + c;  // contracted to a fused multiply-add where the variant has one
#endif
}

DFANERF_INLINE void find_corners(const Block& block, int first, const GridLevel& level, Corners& corners) {
  UVec cell[3];
  for (int d = 0; d < 3; ++d) {
    const Vec scaled = multiply_add(load(block.p[d] + first), Vec{} + level.scale, Vec{} + 0.5f);
    const IVec whole = __builtin_convertvector(scaled, IVec);  // not negative: truncation is floor
    corners.fraction[d] = scaled - __builtin_convertvector(whole, Vec);
    cell[d] = (UVec)whole;
  }
  if (level.hashed) {
    const UVec mask = UVec{} + (level.n_entries - 1u);
    const UVec y[2] = {cell[1] * kHashPrimeY, cell[1] * kHashPrimeY + kHashPrimeY};
    const UVec z[2] = {cell[2] * kHashPrimeZ, cell[2] * kHashPrimeZ + kHashPrimeZ};
    const UVec x[2] = {cell[0], cell[0] + 1u};
    for (int c = 0; c < 8; ++c) corners.entry[c] = (x[c & 1] ^ y[c >> 1 & 1] ^ z[c >> 2]) & mask;
  } else {
    const uint32_t row = level.resolution, slab = level.resolution * level.resolution;
    const UVec base = cell[0] + cell[1] * row + cell[2] * slab;
    const UVec n_entries = UVec{} + level.n_entries;
    for (int c = 0; c < 8; ++c) {
      const UVec index = base + ((c & 1) + (c >> 1 & 1) * row + (c >> 2) * slab);
      corners.entry[c] = select(index >= n_entries, index - n_entries, index);
    }
  }
}

// Products of (1 - fraction) or fraction in x, y, z for the eight corners; bit d of the corner picks along axis d.
DFANERF_INLINE void corner_weights(const Vec fraction[3], Vec weight[8]) {
  const Vec one = Vec{} + 1.0f;
  const Vec x[2] = {one - fraction[0], fraction[0]};
  const Vec y[2] = {one - fraction[1], fraction[1]};
  const Vec z[2] = {one - fraction[2], fraction[2]};
  for (int c = 0; c < 4; ++c) {
    const Vec xy = x[c & 1] * y[c >> 1];
    weight[c] = xy * z[0];
    weight[c + 4] = xy * z[1];
  }
}

// Two neighbouring features of 16 entries: one 8-byte load each, then split into two vectors.
template <int F>
DFANERF_INLINE void gather_pair(const float* table, UVec entry, int pair, Vec& a, Vec& b) {
#ifdef __AVX512F__
  const __m512i index = (__m512i)(entry * static_cast<uint32_t>(F / 2) + static_cast<uint32_t>(pair));
  const __m512d low = _mm512_i32gather_pd(_mm512_castsi512_si256(index), table, 8);
  const __m512d high = _mm512_i32gather_pd(_mm512_extracti64x4_epi64(index, 1), table, 8);
  const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
  const __m512i odd = _mm512_setr_epi32(1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
  a = (Vec)_mm512_permutex2var_ps(_mm512_castpd_ps(low), even, _mm512_castpd_ps(high));
  b = (Vec)_mm512_permutex2var_ps(_mm512_castpd_ps(low), odd, _mm512_castpd_ps(high));
#else
  for (int i = 0; i < kLanes; ++i) {
    const float* source = table + static_cast<size_t>(entry[i]) * F + 2 * pair;
    a[i] = source[0];
    b[i] = source[1];
  }
#endif
}

// All features of 16 entries.
template <int F>
DFANERF_INLINE void gather(const float* table, UVec entry, Vec value[F]) {
  if constexpr (F == 1) {
#ifdef __AVX512F__
    value[0] = (Vec)_mm512_i32gather_ps((__m512i)entry, table, 4);
#else
    for (int i = 0; i < kLanes; ++i) value[0][i] = table[entry[i]];
#endif
  } else {
    for (int pair = 0; pair < F / 2; ++pair) gather_pair<F>(table, entry, pair, value[2 * pair], value[2 * pair + 1]);
  }
}

// Rows of F floats, from F vectors over samples.
template <int F>
DFANERF_INLINE void store_rows(float* out, int64_t stride, int count, const Vec value[F]) {
  alignas(64) float lane[F][kLanes];
  for (int f = 0; f < F; ++f) std::memcpy(lane[f], &value[f], sizeof(Vec));
  for (int i = 0; i < count; ++i)
    for (int f = 0; f < F; ++f) out[i * stride + f] = lane[f][i];
}

template <int F>
DFANERF_INLINE void load_rows(const float* source, int64_t stride, int count, Vec value[F]) {
  alignas(64) float lane[F][kLanes] = {};
  for (int i = 0; i < count; ++i)
    for (int f = 0; f < F; ++f) lane[f][i] = source[i * stride + f];
  for (int f = 0; f < F; ++f) std::memcpy(&value[f], lane[f], sizeof(Vec));
}

DFANERF_INLINE int lanes_from(const Block& block, int first) {
  return block.count - first < kLanes ? block.count - first : kLanes;
}

template <int F>
void forward(const HashGrid& grid, const float* positions, int64_t begin, int64_t end, const float* table, float* out) {
  const int64_t stride = grid.n_output();
  Block block;
  for (; begin < end; begin += kBlock) {
    load_block(block, positions, begin, end - begin < kBlock ? end : begin + kBlock);
    for (int l = 0; l < grid.n_levels; ++l) {
      const GridLevel level = grid.levels[l];
      const float* entries = table + static_cast<int64_t>(level.offset) * F;
      for (int first = 0; first < block.count; first += kLanes) {
        Corners corners;
        find_corners(block, first, level, corners);
        Vec weight[8];
        corner_weights(corners.fraction, weight);
        Vec sum[F] = {};
        for (int c = 0; c < 8; ++c) {
          Vec value[F];
          gather<F>(entries, corners.entry[c], value);
          for (int f = 0; f < F; ++f) sum[f] = multiply_add(weight[c], value[f], sum[f]);
        }
        store_rows<F>(out + (begin + first) * stride + l * F, stride, lanes_from(block, first), sum);
      }
    }
  }
}

// The features of one entry, moved as one.
template <int F>
struct Features {
  typedef float Type __attribute__((vector_size(4 * F)));
};

template <int F>
void backward_table(const HashGrid& grid, const float* positions, int64_t n, const float* grad_out, float* grad_table,
                    int first_level, int level_step) {
  using Entry = typename Features<F>::Type;
  const int64_t stride = grid.n_output();
  for (int l = first_level; l < grid.n_levels; l += level_step)
    std::memset(grad_table + static_cast<int64_t>(grid.levels[l].offset) * F, 0,
                sizeof(float) * F * grid.levels[l].n_entries);
  Block block;
  for (int64_t begin = 0; begin < n; begin += kBlock) {
    load_block(block, positions, begin, n - begin < kBlock ? n : begin + kBlock);
    for (int l = first_level; l < grid.n_levels; l += level_step) {
      const GridLevel level = grid.levels[l];
      float* entries = grad_table + static_cast<int64_t>(level.offset) * F;
      const float* grad = grad_out + begin * stride + l * F;
      for (int first = 0; first < block.count; first += kLanes) {
        const int lanes = lanes_from(block, first);
        Corners corners;
        find_corners(block, first, level, corners);
        Vec weight[8];
        corner_weights(corners.fraction, weight);
        alignas(64) uint32_t entry[8][kLanes];
        alignas(64) float w[8][kLanes];
        for (int c = 0; c < 8; ++c) {
          std::memcpy(entry[c], &corners.entry[c], sizeof(Vec));
          std::memcpy(w[c], &weight[c], sizeof(Vec));
        }
        for (int i = 0; i < lanes; ++i, grad += stride) {
          Entry g;
          std::memcpy(&g, grad, sizeof g);
          for (int c = 0; c < 8; ++c) {
            float* target = entries + static_cast<size_t>(entry[c][i]) * F;
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

template <int F>
void backward_positions(const HashGrid& grid, const float* positions, int64_t begin, int64_t end, const float* table,
                        const float* grad_out, float* grad_positions) {
  const int64_t stride = grid.n_output();
  Block block;
  alignas(64) float total[3][kBlock];
  const Vec one = Vec{} + 1.0f;
  for (; begin < end; begin += kBlock) {
    load_block(block, positions, begin, end - begin < kBlock ? end : begin + kBlock);
    std::memset(total, 0, sizeof total);
    for (int l = 0; l < grid.n_levels; ++l) {
      const GridLevel level = grid.levels[l];
      const float* entries = table + static_cast<int64_t>(level.offset) * F;
      for (int first = 0; first < block.count; first += kLanes) {
        Corners corners;
        find_corners(block, first, level, corners);
        Vec grad[F];
        load_rows<F>(grad_out + (begin + first) * stride + l * F, stride, lanes_from(block, first), grad);
        // s[c]: what the output's gradient says about the weight of corner c.
        Vec s[8];
        for (int c = 0; c < 8; ++c) {
          Vec value[F];
          gather<F>(entries, corners.entry[c], value);
          s[c] = grad[0] * value[0];
          for (int f = 1; f < F; ++f) s[c] = multiply_add(grad[f], value[f], s[c]);
        }
        const Vec x = corners.fraction[0], y = corners.fraction[1], z = corners.fraction[2];
        const Vec x0 = one - x, y0 = one - y, z0 = one - z;
        const Vec dx = ((s[1] - s[0]) * y0 + (s[3] - s[2]) * y) * z0 + ((s[5] - s[4]) * y0 + (s[7] - s[6]) * y) * z;
        const Vec dy = ((s[2] - s[0]) * x0 + (s[3] - s[1]) * x) * z0 + ((s[6] - s[4]) * x0 + (s[7] - s[5]) * x) * z;
        const Vec dz = ((s[4] - s[0]) * x0 + (s[5] - s[1]) * x) * y0 + ((s[6] - s[2]) * x0 + (s[7] - s[3]) * x) * y;
        const Vec gradient[3] = {dx, dy, dz};
        for (int d = 0; d < 3; ++d) {
          const Vec sum = multiply_add(gradient[d], Vec{} + level.scale, load(total[d] + first));
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
