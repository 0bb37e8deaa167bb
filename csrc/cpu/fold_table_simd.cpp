// Mixing the hash tables of one frame, compiled once a SIMD variant; bound by memory, so the tables are float16.
#include "cpu/render_field_job.h"
#include "math/numbers.h"

namespace dfanerf::cpu::DFANERF_SIMD_NAMESPACE {

typedef uint16_t Halves __attribute__((vector_size(2 * kLanes)));

DFANERF_HD F load_half(const uint16_t* source) {
#if defined(__AVX512F__)
  return (F)_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(source)));
#elif defined(__AVX2__)
  return (F)_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(source)));
#else
  Halves half;
  std::memcpy(&half, source, sizeof half);
  const U word = __builtin_convertvector(half, U);
  // Exponent and mantissa in place, then a power of two makes up for the other exponent bias; right for subnormals too.
  const F magnitude = as_float((word & 0x7fffu) << 13) * 0x1p112f;
  return as_float((U)magnitude | (word & 0x8000u) << 16);
#endif
}

// Rounds to the nearest bfloat16, ties to even; finite numbers only.
DFANERF_HD void store_bf16(uint16_t* target, F value) {
#if defined(__AVX512F__)
  const U word = (U)value;
  const U rounded = (word + 0x7fffu + (word >> 16 & 1u)) >> 16;
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(target), _mm512_cvtepi32_epi16((__m512i)rounded));
#else
  const U word = (U)value;
  const Halves rounded = __builtin_convertvector((word + 0x7fffu + (word >> 16 & 1u)) >> 16, Halves);
  std::memcpy(target, &rounded, sizeof rounded);
#endif
}

void fold_table(const FoldJob& job, int64_t begin, int64_t end) {
  auto* packed = reinterpret_cast<uint16_t*>(job.packed);
  for (int64_t i = begin; i < end; i += kLanes) {
    F sum = load<F>(job.base + i);
    for (int k = 0; k < job.n_blend; ++k)
      sum = mul_add(splat(job.weights[k]), load_half(job.blend + k * job.n_floats + i), sum);
    if (packed)
      store_bf16(packed + i, sum);
    else
      store(job.table + i, sum);
  }
}

}  // namespace dfanerf::cpu::DFANERF_SIMD_NAMESPACE
