// Hash encoding of kLanes samples at a time, in the lanes of one SIMD variant; tiny-cuda-nn's convention.
#pragma once

#include "cpu/render_field_job.h"
#include "math/hash_encode.h"

namespace dfanerf::cpu::DFANERF_SIMD_NAMESPACE {

DFANERF_HD void encode_float32(const RenderJob& job, const GridLevel& level, const F* u, F& first, F& second) {
  const GridCell at = locate(level, u);
  U entry[8];
  corner_entries(level, at.corner, entry);
  F weight[8];
  corner_weights(at.fraction, weight);
  const auto* words = reinterpret_cast<const uint32_t*>(job.table);
  first = second = splat(0.0f);
  for (int c = 0; c < 8; ++c) {
    const U word = (entry[c] + level.offset) * 2u;
    first = mul_add(weight[c], as_float(gather(words, word)), first);
    second = mul_add(weight[c], as_float(gather(words, word + 1u)), second);
  }
}

DFANERF_HD void encode_packed(const RenderJob& job, const GridLevel& level, const F* u, F& first, F& second) {
  const GridCell at = locate(level, u);
  U entry[8];
  corner_entries(level, at.corner, entry);
  F weight[8];
  corner_weights(at.fraction, weight);
  first = second = splat(0.0f);
  for (int c = 0; c < 8; ++c) {
    const U word = gather(job.packed + level.offset, entry[c]);
    first = mul_add(weight[c], as_float(word << 16), first);
    second = mul_add(weight[c], as_float(word & 0xffff0000u), second);
  }
}

}  // namespace dfanerf::cpu::DFANERF_SIMD_NAMESPACE
