// Vectors of floats and integers, one definition for each SIMD variant: W lanes of the widest registers it has.
//
// Included by math/numbers.h. Arithmetic, comparisons (giving integer masks) and conversions are GCC's vector
// extensions; here stands only what those lack. Everything is always_inline inside the variant's namespace, so that no
// symbol crosses variants.
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif
#if defined(__GNUC__) && !defined(__clang__)
// GCC 12 warns of its own AVX-512 intrinsics.
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif

namespace dfanerf::cpu::DFANERF_SIMD_NAMESPACE {

#if defined(__AVX512F__)
constexpr int kLanes = 16;
#elif defined(__AVX2__)
constexpr int kLanes = 8;
#else
constexpr int kLanes = 4;
#endif

typedef float F __attribute__((vector_size(4 * kLanes)));
typedef int32_t I __attribute__((vector_size(4 * kLanes)));
typedef uint32_t U __attribute__((vector_size(4 * kLanes)));

DFANERF_HD F splat(float value) {
  return F{} + value;
}
DFANERF_HD U splat(uint32_t value) {
  return U{} + value;
}
DFANERF_HD I splat(int32_t value) {
  return I{} + value;
}

template <typename V, typename T>
DFANERF_HD V load(const T* source) {
  static_assert(sizeof(T) == 4, "lanes are 32 bits wide");
  V value;
  std::memcpy(&value, source, sizeof(V));
  return value;
}
template <typename V, typename T>
DFANERF_HD void store(T* target, V value) {
  static_assert(sizeof(T) == 4, "lanes are 32 bits wide");
  std::memcpy(target, &value, sizeof(V));
}

DFANERF_HD I mask(I condition) {
  return condition;
}
DFANERF_HD I truncate(F value) {
  return __builtin_convertvector(value, I);
}
DFANERF_HD F to_float(I value) {
  return __builtin_convertvector(value, F);
}
DFANERF_HD U to_unsigned(I value) {
  return (U)value;
}
DFANERF_HD I as_int(F value) {
  return (I)value;
}
DFANERF_HD F as_float(I value) {
  return (F)value;
}
DFANERF_HD F as_float(U value) {
  return (F)value;
}
DFANERF_HD F select(I mask, F yes, F no) {
  return mask ? yes : no;
}
DFANERF_HD I select(I mask, I yes, I no) {
  return mask ? yes : no;
}

// A bit a lane, set where the mask is.
DFANERF_HD uint32_t bits(I mask) {
#if defined(__AVX512F__)
  return _mm512_movepi32_mask((__m512i)mask);
#elif defined(__AVX2__)
  return static_cast<uint32_t>(_mm256_movemask_ps((__m256)mask));
#elif defined(__SSE2__)
  return static_cast<uint32_t>(_mm_movemask_ps((__m128)mask));
#else
  uint32_t found = 0;
  for (int lane = 0; lane < kLanes; ++lane) found |= mask[lane] ? 1u << lane : 0u;
  return found;
#endif
}

// The mask whose lanes are set where the bits are.
DFANERF_HD I lanes_of(uint32_t set) {
#if defined(__AVX512F__)
  return (I)_mm512_movm_epi32(static_cast<__mmask16>(set));
#else
  I found;
  for (int lane = 0; lane < kLanes; ++lane) found[lane] = -static_cast<int32_t>(set >> lane & 1u);
  return found;
#endif
}

DFANERF_HD F mul_add(F a, F b, F c) {
#if defined(__AVX512F__)
  return (F)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif defined(__AVX2__)
  return (F)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#else
  return a * b + c;
#endif
}

DFANERF_HD F minimum(F a, F b) {
  return a < b ? a : b;
}
DFANERF_HD U minimum(U a, U b) {
  return a < b ? a : b;
}
DFANERF_HD F maximum(F a, F b) {
  return a > b ? a : b;
}

DFANERF_HD F square_root(F value) {
#if defined(__AVX512F__)
  return (F)_mm512_sqrt_ps((__m512)value);
#elif defined(__AVX2__)
  return (F)_mm256_sqrt_ps((__m256)value);
#elif defined(__SSE2__)
  return (F)_mm_sqrt_ps((__m128)value);
#elif defined(__aarch64__)
  return (F)vsqrtq_f32((float32x4_t)value);
#else
  for (int lane = 0; lane < kLanes; ++lane) value[lane] = __builtin_sqrtf(value[lane]);
  return value;
#endif
}

// table[index] of 32-bit words.
DFANERF_HD U gather(const uint32_t* table, U index) {
#if defined(__AVX512F__)
  return (U)_mm512_i32gather_epi32((__m512i)index, table, 4);
#elif defined(__AVX2__)
  return (U)_mm256_i32gather_epi32(reinterpret_cast<const int*>(table), (__m256i)index, 4);
#else
  U found;
  for (int lane = 0; lane < kLanes; ++lane) found[lane] = table[index[lane]];
  return found;
#endif
}

// table[index] of 16-bit words; two bytes past the end of the table must be readable.
DFANERF_HD I gather_halves(const uint16_t* table, I index) {
#if defined(__AVX512F__)
  return (I)_mm512_i32gather_epi32((__m512i)index, table, 2) & 0xffff;
#elif defined(__AVX2__)
  return (I)_mm256_i32gather_epi32(reinterpret_cast<const int*>(table), (__m256i)index, 2) & 0xffff;
#else
  I found;
  for (int lane = 0; lane < kLanes; ++lane) found[lane] = table[index[lane]];
  return found;
#endif
}

// The same for a table of whole words: its size is a multiple of four bytes, and nothing past it is read.
DFANERF_HD I gather_whole_bytes(const uint8_t* table, I index) {
#if defined(__AVX2__)
  const U word = gather(reinterpret_cast<const uint32_t*>(table), (U)(index >> 2));
  return (I)(word >> (U)((index & 3) << 3)) & 255;
#else
  I found;
  for (int lane = 0; lane < kLanes; ++lane) found[lane] = table[index[lane]];
  return found;
#endif
}

// Writes the lanes whose bit is set one after another; up to kLanes words behind the target are overwritten.
template <typename V, typename T>
DFANERF_HD void compress_store(T* target, uint32_t mask, V value) {
#if defined(__AVX512F__)
  // To a register first: compressing into memory is slow microcode on some processors.
  _mm512_storeu_si512(target, _mm512_maskz_compress_epi32(static_cast<__mmask16>(mask), (__m512i)value));
#else
  T lanes[kLanes];
  store(lanes, value);
  for (int n = 0; mask; mask &= mask - 1) target[n++] = lanes[__builtin_ctz(mask)];
#endif
}

}  // namespace dfanerf::cpu::DFANERF_SIMD_NAMESPACE
