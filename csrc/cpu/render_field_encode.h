// Hash encoding of kLanes samples at a time, in the lanes of one SIMD variant; tiny-cuda-nn's convention.
#pragma once

#include "cpu/render_field_job.h"
#include "math/numbers.h"

namespace dfanerf::cpu::DFANERF_SIMD_NAMESPACE {

constexpr uint32_t kPrimeY = 2654435761u, kPrimeZ = 805459861u;

// Where samples fall in one level: the entries of the eight corners (bit 0 of the corner's number steps in x, bit 1 in
// y, bit 2 in z) and the position within the cell.
struct Corners {
  U entry[8];
  F fraction[3];
};

DFANERF_HD Corners locate(const HashLevel& level, const F* u) {
  Corners corners;
  U cell[3];
  for (int axis = 0; axis < 3; ++axis) {
    const F position = mul_add(u[axis], splat(level.scale), splat(0.5f));
    const I whole = truncate(position);  // positions are positive: truncation is floor
    corners.fraction[axis] = position - to_float(whole);
    cell[axis] = (U)whole;
  }
  if (level.hashed) {
    const uint32_t low = level.n_entries - 1;  // a power of two
    const U y[2] = {cell[1] * kPrimeY, cell[1] * kPrimeY + kPrimeY};
    const U z[2] = {cell[2] * kPrimeZ, cell[2] * kPrimeZ + kPrimeZ};
    for (int c = 0; c < 8; ++c) {
      const U x = c & 1 ? cell[0] + 1u : cell[0];
      corners.entry[c] = ((x ^ y[c >> 1 & 1] ^ z[c >> 2]) & low) + level.offset;
    }
  } else {
    const uint32_t row = level.resolution, plane = level.resolution * level.resolution;
    const U first = cell[0] + cell[1] * row + cell[2] * plane;
    for (int c = 0; c < 8; ++c) {
      const U entry = first + ((c & 1) + (c >> 1 & 1) * row + (c >> 2) * plane);
      const U wrapped = entry - level.n_entries;  // at the far faces of the box; huge where there is nothing to wrap
      corners.entry[c] = (wrapped < entry ? wrapped : entry) + level.offset;
    }
  }
  return corners;
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
  const Corners corners = locate(level, u);
  F weight[8];
  corner_weights(corners.fraction, weight);
  const auto* words = reinterpret_cast<const uint32_t*>(job.table);
  first = second = splat(0.0f);
  for (int c = 0; c < 8; ++c) {
    const U at = corners.entry[c] * 2u;
    first = mul_add(weight[c], as_float(gather(words, at)), first);
    second = mul_add(weight[c], as_float(gather(words, at + 1u)), second);
  }
}

DFANERF_HD void encode_packed(const RenderJob& job, const HashLevel& level, const F* u, F& first, F& second) {
  const Corners corners = locate(level, u);
  F weight[8];
  corner_weights(corners.fraction, weight);
  first = second = splat(0.0f);
  for (int c = 0; c < 8; ++c) {
    const U word = gather(job.packed, corners.entry[c]);
    first = mul_add(weight[c], as_float(word << 16), first);
    second = mul_add(weight[c], as_float(word & 0xffff0000u), second);
  }
}

}  // namespace dfanerf::cpu::DFANERF_SIMD_NAMESPACE
