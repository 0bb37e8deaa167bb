// What every launcher needs: checked calls, the stream that an integer names, and how many blocks there are.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <stdexcept>
#include <string>

namespace dfanerf::cuda {

inline void check(cudaError_t status, const char* what) {
  if (status != cudaSuccess) throw std::runtime_error(std::string(what) + ": " + cudaGetErrorString(status));
}

inline cudaStream_t as_stream(uintptr_t stream) {
  return reinterpret_cast<cudaStream_t>(stream);
}

// Blocks along x, of which there may be 2^31 - 1, for n things.
inline unsigned blocks_for(int64_t n, int per_block) {
  const int64_t blocks = (n + per_block - 1) / per_block;
  if (blocks > INT32_MAX) throw std::runtime_error(std::to_string(n) + " are too many for one launch");
  return static_cast<unsigned>(blocks);
}

}  // namespace dfanerf::cuda
