// Launchers of condition_layer.
#include "cuda/condition_layer.cuh"

#include "cuda/launch.h"

namespace dfanerf::cuda {
namespace {

constexpr int64_t kSamplesPerPart = 512;  // of the weight's gradient, at least
constexpr int64_t kMaxParts = 1024;       // that add up into one

__global__ void __launch_bounds__(kLayerThreads) forward_kernel(ConditionLayer layer, float* out) {
  layer_block(layer, static_cast<int>(blockIdx.y) * kTileColumns, out);
}

__global__ void __launch_bounds__(kLayerThreads)
    features_kernel(ConditionLayer layer, ConditionLayerGradients gradients) {
  layer_features_gradient(layer, gradients, static_cast<int>(blockIdx.y) * kTileColumns);
}

__global__ void __launch_bounds__(kLayerThreads)
    weight_kernel(ConditionLayer layer, ConditionLayerGradients gradients, int64_t n_samples) {
  layer_weight_gradient(layer, gradients, n_samples, static_cast<int>(blockIdx.y) * kTileRows,
                        static_cast<int>(blockIdx.z) * kTileColumns);
}

}  // namespace

void condition_layer_forward(const ConditionLayer& layer, float* out, uintptr_t stream) {
  if (layer.n == 0 || layer.n_outputs == 0) return;
  const dim3 blocks(blocks_for(layer.n, kTileRows), blocks_for(layer.n_outputs, kTileColumns));
  forward_kernel<<<blocks, kLayerThreads, kLayerSharedBytes, as_stream(stream)>>>(layer, out);
  check(cudaGetLastError(), "condition_layer_forward");
}

void condition_layer_backward(const ConditionLayer& layer, const ConditionLayerGradients& gradients, uintptr_t stream) {
  const size_t row = sizeof(float) * layer.n_outputs;
  check(cudaMemsetAsync(gradients.rows, 0, row * layer.n_frames, as_stream(stream)), "condition_layer_backward");
  check(cudaMemsetAsync(gradients.weight, 0, row * layer.n_features, as_stream(stream)), "condition_layer_backward");
  if (layer.n == 0) return;
  if (gradients.features != nullptr && layer.n_features > 0) {
    const dim3 blocks(blocks_for(layer.n, kTileRows), blocks_for(layer.n_features, kTileColumns));
    features_kernel<<<blocks, kLayerThreads, kLayerSharedBytes, as_stream(stream)>>>(layer, gradients);
    check(cudaGetLastError(), "condition_layer_backward");
  }
  if (layer.n_outputs == 0) return;
  int64_t n_samples = (layer.n + kMaxParts - 1) / kMaxParts;
  n_samples = n_samples < kSamplesPerPart ? kSamplesPerPart : n_samples;
  const unsigned feature_tiles = layer.n_features > kTileColumns ? blocks_for(layer.n_features, kTileColumns) : 1;
  const dim3 blocks(static_cast<unsigned>((layer.n + n_samples - 1) / n_samples),
                    blocks_for(layer.n_outputs, kTileRows), feature_tiles);
  weight_kernel<<<blocks, kLayerThreads, kLayerSharedBytes, as_stream(stream)>>>(layer, gradients, n_samples);
  check(cudaGetLastError(), "condition_layer_backward");
}

}  // namespace dfanerf::cuda
