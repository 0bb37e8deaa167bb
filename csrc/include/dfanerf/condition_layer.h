// The network's first layer with the condition as one bias a frame: see dfanerf_rt/ops/condition_layer.py for the
// definition. On the CPU it is left to a library's matrix product.
#pragma once

#include <cstdint>

namespace dfanerf {

struct ConditionLayer {
  const float* features = nullptr;  // (n, n_features)
  const float* rows = nullptr;      // (n_frames, n_outputs): bias + condition_weight condition
  const int32_t* frame = nullptr;   // (n,); out of range it is taken as the nearest
  const float* weight = nullptr;    // (n_outputs, n_features)
  int64_t n = 0;
  int n_features = 0, n_frames = 0, n_outputs = 0;
};

struct ConditionLayerGradients {
  const float* out = nullptr;       // (n, n_outputs), as the forward pass wrote it
  const float* grad_out = nullptr;  // (n, n_outputs)
  float* features = nullptr;        // (n, n_features), or null where nobody asks for it
  float* rows = nullptr;            // (n_frames, n_outputs)
  float* weight = nullptr;          // (n_outputs, n_features)
};

#ifdef DFANERF_WITH_CUDA
namespace cuda {

// out (n, n_outputs) = relu(features weight^T + rows[frame]). Asynchronously on `stream` (a cudaStream_t as an
// integer). Throws std::runtime_error.
void condition_layer_forward(const ConditionLayer& layer, float* out, uintptr_t stream);

// Overwrites the gradients.
void condition_layer_backward(const ConditionLayer& layer, const ConditionLayerGradients& gradients, uintptr_t stream);

}  // namespace cuda
#endif

}  // namespace dfanerf
