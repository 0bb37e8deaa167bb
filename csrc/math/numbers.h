// The numbers that csrc/math computes with: F, I and U are plain scalars on the GPU and in ordinary host code, and
// vectors of lanes where a csrc/cpu/*_simd.cpp is compiled. The same lines of the other headers then serve both.
//
// Everything is forced inline and lies in the variant's namespace, so that no copy compiled for one instruction set is
// ever linked into another.
#pragma once

#include <cstdint>

#if defined(__CUDACC__)
#define DFANERF_HD __host__ __device__ __forceinline__
#else
#define DFANERF_HD static inline __attribute__((always_inline))
#endif

#if defined(DFANERF_SIMD_NAMESPACE)
#define DFANERF_MATH_NAMESPACE dfanerf::cpu::DFANERF_SIMD_NAMESPACE
#include "cpu/lanes.h"
#else
#define DFANERF_MATH_NAMESPACE dfanerf::math
#include <cmath>
#include <cstring>

namespace DFANERF_MATH_NAMESPACE {

typedef float F;
typedef int32_t I;  // also masks: 0, or all bits set
typedef uint32_t U;

DFANERF_HD F splat(float value) {
  return value;
}
DFANERF_HD U splat(uint32_t value) {
  return value;
}
DFANERF_HD I splat(int32_t value) {
  return value;
}
DFANERF_HD I mask(bool condition) {
  return condition ? -1 : 0;
}
DFANERF_HD I truncate(F value) {
  return static_cast<I>(value);
}
DFANERF_HD F to_float(I value) {
  return static_cast<F>(value);
}
DFANERF_HD U to_unsigned(I value) {
  return static_cast<U>(value);
}
DFANERF_HD I as_int(F value) {
  I bits;
  memcpy(&bits, &value, sizeof bits);
  return bits;
}
DFANERF_HD F as_float(I bits) {
  F value;
  memcpy(&value, &bits, sizeof value);
  return value;
}
DFANERF_HD F as_float(U bits) {
  F value;
  memcpy(&value, &bits, sizeof value);
  return value;
}
DFANERF_HD F select(I chosen, F yes, F no) {
  return chosen ? yes : no;
}
DFANERF_HD F mul_add(F a, F b, F c) {
  return fmaf(a, b, c);
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
  return sqrtf(value);
}
DFANERF_HD U gather(const uint32_t* table, U index) {
  return table[index];
}
DFANERF_HD I gather_halves(const uint16_t* table, I index) {
  return table[index];
}
DFANERF_HD I gather_whole_bytes(const uint8_t* table, I index) {
  return table[index];
}
// How many bits are set.
DFANERF_HD int population(uint32_t word) {
#if defined(__CUDA_ARCH__)
  return __popc(word);
#else
  return __builtin_popcount(word);
#endif
}

}  // namespace DFANERF_MATH_NAMESPACE
#endif
