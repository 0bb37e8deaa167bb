// Hash encoding of kLanes samples at a time, in the lanes of one SIMD variant; tiny-cuda-nn's convention.
#pragma once

#include "cpu/render_field_job.h"
#include "math/numbers.h"

namespace dfanerf::cpu::DFANERF_SIMD_NAMESPACE {

// In coarse levels neighbouring samples share cells; measured: beyond these limits gathering is faster.
constexpr uint32_t kSharedResolution = 50;  // below 1024, so that a cell's three coordinates fit one word
constexpr int kSharedCells = 4;

constexpr uint32_t kPrimeY = 2654435761u, kPrimeZ = 805459861u;

// Where samples fall in one level.
struct Cells {
  U cell[3];
  F fraction[3];
};

DFANERF_HD Cells locate(const HashLevel& level, const F* u) {
  Cells cells;
  for (int axis = 0; axis < 3; ++axis) {
    const F position = mul_add(u[axis], splat(level.scale), splat(0.5f));
    const I whole = truncate(position);  // positions are positive: truncation is floor
    cells.fraction[axis] = position - to_float(whole);
    cells.cell[axis] = (U)whole;
  }
  return cells;
}

// The entries of a cell's eight corners; bit 0 of a corner's number steps in x, bit 1 in y, bit 2 in z. N is U, or
// uint32_t for a single cell.
template <typename N>
DFANERF_HD void corner_entries(const HashLevel& level, N x, N y, N z, N* entry) {
  if (level.hashed) {
    const uint32_t low = level.n_entries - 1;  // a power of two
    const N xs[2] = {x, x + 1u}, ys[2] = {y * kPrimeY, y * kPrimeY + kPrimeY}, zs[2] = {z * kPrimeZ, z * kPrimeZ + kPrimeZ};
    for (int c = 0; c < 8; ++c) entry[c] = ((xs[c & 1] ^ ys[c >> 1 & 1] ^ zs[c >> 2]) & low) + level.offset;
  } else {
    const uint32_t row = level.resolution, plane = level.resolution * level.resolution;
    const N first = x + y * row + z * plane;
    for (int c = 0; c < 8; ++c) {
      const N at = first + ((c & 1) + (c >> 1 & 1) * row + (c >> 2) * plane);
      const N wrapped = at - level.n_entries;  // at the far faces of the box; huge where there is nothing to wrap
      entry[c] = (wrapped < at ? wrapped : at) + level.offset;
    }
  }
}

DFANERF_HD void corner_weights(const F* fraction, F* weight) {
  const F x[2] = {1.0f - fraction[0], fraction[0]};
  F yz[4];
  yz[0] = (1.0f - fraction[1]) * (1.0f - fraction[2]);
  yz[1] = fraction[1] * (1.0f - fraction[2]);
  yz[2] = (1.0f - fraction[1]) * fraction[2];
  yz[3] = fraction[1] * fraction[2];
  for (int c = 0; c < 8; ++c) weight[c] = x[c & 1] * yz[c >> 1];
}

DFANERF_HD void encode_float32(const RenderJob& job, const HashLevel& level, const F* u, F& first, F& second) {
  const Cells at = locate(level, u);
  U entry[8];
  corner_entries(level, at.cell[0], at.cell[1], at.cell[2], entry);
  F weight[8];
  corner_weights(at.fraction, weight);
  const auto* words = reinterpret_cast<const uint32_t*>(job.table);
  first = second = splat(0.0f);
  for (int c = 0; c < 8; ++c) {
    const U word = entry[c] * 2u;
    first = mul_add(weight[c], as_float(gather(words, word)), first);
    second = mul_add(weight[c], as_float(gather(words, word + 1u)), second);
  }
}

#if defined(__AVX512F__)
// The words at the corners of each lane's cell. Neighbouring samples often share a cell, and eight broadcasts serve all
// lanes of a cell, where a gather loads lane by lane: cells are taken one by one, and what is left after a few of them
// is gathered.
DFANERF_HD void corner_words(const RenderJob& job, const HashLevel& level, const U* cell, U* word) {
  const __m512i key = (__m512i)(cell[0] | cell[1] << 10 | cell[2] << 20);
  alignas(64) uint32_t keys[kLanes];
  _mm512_store_si512(keys, key);
  __m512i found[8];
  for (__m512i& lanes : found) lanes = _mm512_setzero_si512();
  uint32_t left = 0xffff;
  for (int n = 0; n < kSharedCells; ++n) {
    const uint32_t one = keys[__builtin_ctz(left)];
    const __mmask16 same = _mm512_cmpeq_epi32_mask(key, _mm512_set1_epi32(static_cast<int>(one)));
    uint32_t entry[8];
    corner_entries<uint32_t>(level, one & 1023u, one >> 10 & 1023u, one >> 20, entry);
    for (int c = 0; c < 8; ++c)
      found[c] = _mm512_mask_broadcastd_epi32(found[c], same, _mm_loadu_si32(job.packed + entry[c]));
    left &= ~static_cast<uint32_t>(same);
    if (!left) break;
  }
  if (left) {
    U entry[8];
    corner_entries(level, cell[0], cell[1], cell[2], entry);
    for (int c = 0; c < 8; ++c)
      found[c] = _mm512_mask_i32gather_epi32(found[c], static_cast<__mmask16>(left), (__m512i)entry[c], job.packed, 4);
  }
  for (int c = 0; c < 8; ++c) word[c] = (U)found[c];
}
#endif

DFANERF_HD void encode_packed(const RenderJob& job, const HashLevel& level, const F* u, F& first, F& second) {
  const Cells at = locate(level, u);
  U word[8];
#if defined(__AVX512F__)
  if (level.resolution <= kSharedResolution) {
    corner_words(job, level, at.cell, word);
  } else
#endif
  {
    U entry[8];
    corner_entries(level, at.cell[0], at.cell[1], at.cell[2], entry);
    for (int c = 0; c < 8; ++c) word[c] = gather(job.packed, entry[c]);
  }
  F weight[8];
  corner_weights(at.fraction, weight);
  first = second = splat(0.0f);
  for (int c = 0; c < 8; ++c) {
    first = mul_add(weight[c], as_float(word[c] << 16), first);
    second = mul_add(weight[c], as_float(word[c] & 0xffff0000u), second);
  }
}

}  // namespace dfanerf::cpu::DFANERF_SIMD_NAMESPACE
