// How cpu/mlp_simd.cpp lays out the network in training: samples are rows, widths are padded with zeros.
#pragma once

#include <cstdint>

#include "dfanerf/mlp.h"

namespace dfanerf::cpu {

constexpr int kWidthStep = 16;  // the lanes of the widest variant
constexpr int kBlockRows = 48;  // samples that go through all layers before the next: their numbers stay in cache

inline int padded(int width) {
  return (width + kWidthStep - 1) / kWidthStep * kWidthStep;
}

// Weights as the products read them: *_in has a row an input (forward), *_out a row an output (backward).
struct PaddedLayers {
  int n_in, hidden, n_out;  // padded
  const float *w1_in, *w2_in, *w3_in, *b1, *b2, *b3;
  const float *w1_out, *w2_out, *w3_out;
};

// Sums over samples, shaped (outputs, inputs) with padded widths; added to.
struct PaddedGradients {
  float *w1, *b1, *w2, *b2, *w3, *b3;
};

// What a thread needs to work in: numbers of floats.
inline int64_t forward_scratch(const PaddedLayers& p) {
  return int64_t{kBlockRows} * (p.n_in + 2 * p.hidden + p.n_out);
}
inline int64_t backward_scratch(const PaddedLayers& p) {
  return int64_t{kBlockRows} * (2 * p.n_in + 4 * p.hidden + p.n_out);
}

}  // namespace dfanerf::cpu
