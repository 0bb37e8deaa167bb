// The order in which cpu/mlp.h reads weights.
#pragma once

#include <cstdint>
#include <cstring>
#include <vector>

namespace dfanerf::cpu {

constexpr int kOutputs = 4;

// (n_outputs, n_inputs) row-major to [output / kOutputs][input][output % kOutputs].
inline std::vector<float> in_blocks(const float* weights, int n_outputs, int n_inputs) {
  std::vector<float> blocks(static_cast<std::size_t>(n_outputs) * n_inputs);
  for (int o = 0; o < n_outputs; ++o)
    for (int k = 0; k < n_inputs; ++k)
      blocks[(o / kOutputs * n_inputs + k) * kOutputs + o % kOutputs] = weights[o * n_inputs + k];
  return blocks;
}

// Rounded to the nearest bfloat16, ties to even; finite numbers only.
inline uint32_t bf16_bits(float value) {
  uint32_t word;
  std::memcpy(&word, &value, sizeof word);
  return (word + 0x7fffu + (word >> 16 & 1u)) >> 16;
}

// The same with pairs of inputs in one word: [output / kOutputs][input / 2][output % kOutputs].
inline std::vector<uint32_t> in_blocks_bf16(const float* weights, int n_outputs, int n_inputs) {
  const int n_pairs = n_inputs / 2;
  std::vector<uint32_t> blocks(static_cast<std::size_t>(n_outputs) * n_pairs);
  for (int o = 0; o < n_outputs; ++o)
    for (int k = 0; k < n_pairs; ++k) {
      const float* pair = weights + o * n_inputs + 2 * k;
      blocks[(o / kOutputs * n_pairs + k) * kOutputs + o % kOutputs] = bf16_bits(pair[0]) | bf16_bits(pair[1]) << 16;
    }
  return blocks;
}

}  // namespace dfanerf::cpu
