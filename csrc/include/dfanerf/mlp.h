// The field's network in training: two hidden layers with ReLU, forward and backward; see dfanerf_rt/ops/mlp.py.
#pragma once

#include <cstdint>

namespace dfanerf {

// Weights (hidden, n_in), (hidden, hidden), (n_out, hidden), row-major, and a bias each; float32.
struct MlpLayers {
  int n_in = 0, hidden = 0, n_out = 0;
  const float *w1 = nullptr, *b1 = nullptr, *w2 = nullptr, *b2 = nullptr, *w3 = nullptr, *b3 = nullptr;
};

// Shaped as what they are gradients of; all are overwritten. `features` may be null.
struct MlpGradients {
  float* features = nullptr;
  float *w1 = nullptr, *b1 = nullptr, *w2 = nullptr, *b2 = nullptr, *w3 = nullptr, *b3 = nullptr;
};

namespace cpu {

// features (n, n_in) to out (n, n_out).
void mlp_forward(const MlpLayers& layers, const float* features, int64_t n, float* out, int n_threads);

// The hidden layers are computed again: keeping them would cost more memory traffic. For one number of threads the
// sums are taken in one order.
void mlp_backward(const MlpLayers& layers, const float* features, int64_t n, const float* grad_out,
                  const MlpGradients& gradients, int n_threads);

}  // namespace cpu
}  // namespace dfanerf
