// Whether the CUDA kernels can run here. Safe to ask on a machine without a driver.
#pragma once

#include <string>

namespace dfanerf {

#ifdef DFANERF_WITH_CUDA
std::string cuda_unavailable_reason();  // empty if they can
#else
inline std::string cuda_unavailable_reason() {
  return "the native module was built without CUDA";
}
#endif

}  // namespace dfanerf
