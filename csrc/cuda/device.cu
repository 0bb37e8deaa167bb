// Whether there is a device to run on.
#include "dfanerf/cuda_device.h"

#include <cuda_runtime.h>

namespace dfanerf {

std::string cuda_unavailable_reason() {
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (status != cudaSuccess) {
    cudaGetLastError();  // clear it: asking is no fault of later calls
    return std::string("no usable CUDA device: ") + cudaGetErrorString(status);
  }
  return count > 0 ? "" : "no CUDA device";
}

}  // namespace dfanerf
