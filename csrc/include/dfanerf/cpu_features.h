// Choice, at run time, among the variants in which csrc/cpu/*_simd.cpp is compiled.
//
// A *_simd.cpp file wraps everything it defines in `namespace dfanerf::cpu::DFANERF_SIMD_NAMESPACE` and instantiates no
// standard library templates that other files share: the linker keeps one copy of an inline function, and it must not
// be the one compiled with AVX-512. The dispatcher (an ordinary .cpp) declares the same function in each namespace:
//
//   namespace portable { void f(...); }   namespace avx2 { void f(...); }   namespace avx512 { void f(...); }
//   auto* chosen = DFANERF_SIMD_SELECT(f);
#pragma once

#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <string>

#include "dfanerf/build_info.h"

namespace dfanerf {

enum class SimdLevel { portable = 0, avx2 = 1, avx512 = 2 };

struct CpuFeatures {
  SimdLevel level = SimdLevel::portable;
  bool avx512_bf16 = false;
};

inline const char* name(SimdLevel level) {
  return level == SimdLevel::avx512 ? "avx512" : level == SimdLevel::avx2 ? "avx2" : "portable";
}

inline CpuFeatures detect_cpu_features() {
  CpuFeatures found;
#ifdef DFANERF_X86
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2"))
    found.level = SimdLevel::avx2;
  if (found.level == SimdLevel::avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")) {
    found.level = SimdLevel::avx512;
    found.avx512_bf16 = __builtin_cpu_supports("avx512bf16");
  }
#endif
  // DFANERF_SIMD lowers the level, so that every variant can be tested on one machine; it cannot raise it.
  if (const char* wanted = std::getenv("DFANERF_SIMD")) {
    SimdLevel level;
    if (!std::strcmp(wanted, "portable"))
      level = SimdLevel::portable;
    else if (!std::strcmp(wanted, "avx2"))
      level = SimdLevel::avx2;
    else if (!std::strcmp(wanted, "avx512"))
      level = SimdLevel::avx512;
    else
      throw std::runtime_error(std::string("DFANERF_SIMD=") + wanted + " is not one of portable, avx2, avx512");
    if (level > found.level)
      throw std::runtime_error(std::string("DFANERF_SIMD=") + wanted + ", but this processor reaches only " +
                               name(found.level));
    found.level = level;
    found.avx512_bf16 = found.avx512_bf16 && level == SimdLevel::avx512;
  }
  return found;
}

// What this processor can run, read once a process.
inline const CpuFeatures& cpu_features() {
  static const CpuFeatures features = detect_cpu_features();
  return features;
}

}  // namespace dfanerf

#ifdef DFANERF_X86
#define DFANERF_SIMD_SELECT(function)                                                  \
  (::dfanerf::cpu_features().level == ::dfanerf::SimdLevel::avx512 ? &avx512::function \
   : ::dfanerf::cpu_features().level == ::dfanerf::SimdLevel::avx2 ? &avx2::function   \
                                                                   : &portable::function)
#else
#define DFANERF_SIMD_SELECT(function) (&portable::function)
#endif
