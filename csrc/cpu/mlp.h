// The field's network, 2L -> hidden -> hidden -> 4 with ReLU, on a batch of samples: lanes are samples, weights are
// broadcast. Weights lie in blocks of kOutputs outputs (cpu/mlp_layout.h).
//
// In bfloat16 two neighbouring inputs share a 32-bit word (the first in the low half), as the dot product takes them,
// and as a hash table entry with two features holds them.
#pragma once

#include "cpu/mlp_layout.h"
#include "math/numbers.h"

namespace dfanerf::cpu::DFANERF_SIMD_NAMESPACE {

// Sums of kOutputs outputs for V vectors of samples; input rows lie `stride` numbers apart.
template <int V>
DFANERF_HD void dense_block(const float* weights, const float* bias, const float* input, int n_inputs, int stride,
                            F (&sum)[kOutputs][V]) {
  for (int o = 0; o < kOutputs; ++o)
    for (int v = 0; v < V; ++v) sum[o][v] = splat(bias[o]);
  for (int k = 0; k < n_inputs; ++k) {
    F x[V];
    for (int v = 0; v < V; ++v) x[v] = load<F>(input + k * stride + v * kLanes);
    for (int o = 0; o < kOutputs; ++o) {
      const F w = splat(weights[k * kOutputs + o]);
      for (int v = 0; v < V; ++v) sum[o][v] = mul_add(w, x[v], sum[o][v]);
    }
  }
}

// One hidden layer: output[o][sample] = max(0, bias + weights . input).
template <int V>
DFANERF_HD void dense_relu(const float* weights, const float* bias, const float* input, float* output, int n_inputs,
                           int n_outputs, int stride) {
  for (int o = 0; o < n_outputs; o += kOutputs) {
    F sum[kOutputs][V];
    dense_block<V>(weights + o * n_inputs, bias + o, input, n_inputs, stride, sum);
    for (int i = 0; i < kOutputs; ++i)
      for (int v = 0; v < V; ++v) store(output + (o + i) * stride + v * kLanes, maximum(sum[i][v], splat(0.0f)));
  }
}

#if defined(__AVX512BF16__)

// Rounds two vectors to bfloat16 and interleaves them: the first in the low halves.
DFANERF_HD U pack_bf16(F low, F high) {
  const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6, 21,
                                         5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
  const __m512bh both = _mm512_cvtne2ps_pbh((__m512)high, (__m512)low);
  return (U)_mm512_permutexvar_epi16(order, (__m512i)both);
}

template <int V, typename Meanwhile>
DFANERF_HD void dense_block(const uint32_t* weights, const float* bias, const uint32_t* input, int n_pairs, int stride,
                            F (&sum)[kOutputs][V], Meanwhile& meanwhile) {
  for (int o = 0; o < kOutputs; ++o)
    for (int v = 0; v < V; ++v) sum[o][v] = splat(bias[o]);
  for (int k = 0; k < n_pairs; ++k) {
    meanwhile();
    U x[V];
    for (int v = 0; v < V; ++v) x[v] = load<U>(input + k * stride + v * kLanes);
    for (int o = 0; o < kOutputs; ++o) {
      const __m512i w = _mm512_set1_epi32(static_cast<int>(weights[k * kOutputs + o]));
      for (int v = 0; v < V; ++v) sum[o][v] = (F)_mm512_dpbf16_ps((__m512)sum[o][v], (__m512bh)w, (__m512bh)x[v]);
    }
  }
}

template <int V, typename Meanwhile>
DFANERF_HD void dense_relu(const uint32_t* weights, const float* bias, const uint32_t* input, uint32_t* output,
                           int n_pairs, int n_outputs, int stride, Meanwhile& meanwhile) {
  for (int o = 0; o < n_outputs; o += kOutputs) {
    F sum[kOutputs][V];
    dense_block<V>(weights + o * n_pairs, bias + o, input, n_pairs, stride, sum, meanwhile);
    for (int i = 0; i < kOutputs; i += 2)
      for (int v = 0; v < V; ++v) {
        // Negative numbers in bfloat16 are negative 16-bit integers: ReLU after packing takes one instruction a pair.
        const __m512i pair = (__m512i)pack_bf16(sum[i][v], sum[i + 1][v]);
        store(output + (o + i) / 2 * stride + v * kLanes, (U)_mm512_max_epi16(pair, _mm512_setzero_si512()));
      }
  }
}

#endif

}  // namespace dfanerf::cpu::DFANERF_SIMD_NAMESPACE
