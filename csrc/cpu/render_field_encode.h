// Hash encoding of kLanes samples at a time, in the lanes of one SIMD variant; tiny-cuda-nn's convention.
#pragma once

#include "cpu/render_field_job.h"
#include "math/numbers.h"

namespace dfanerf::cpu::DFANERF_SIMD_NAMESPACE {

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
    const N xs[2] = {x, x + 1u}, ys[2] = {y * kPrimeY, y * kPrimeY + kPrimeY},
            zs[2] = {z * kPrimeZ, z * kPrimeZ + kPrimeZ};
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

DFANERF_HD void encode_packed(const RenderJob& job, const HashLevel& level, const F* u, F& first, F& second) {
  const Cells at = locate(level, u);
  U entry[8];
  corner_entries(level, at.cell[0], at.cell[1], at.cell[2], entry);
  F weight[8];
  corner_weights(at.fraction, weight);
  first = second = splat(0.0f);
  for (int c = 0; c < 8; ++c) {
    const U word = gather(job.packed, entry[c]);
    first = mul_add(weight[c], as_float(word << 16), first);
    second = mul_add(weight[c], as_float(word & 0xffff0000u), second);
  }
}

}  // namespace dfanerf::cpu::DFANERF_SIMD_NAMESPACE
