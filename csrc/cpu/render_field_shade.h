// From packed samples to colours and densities: hash encoding and network, a batch at a time.
#pragma once

#include "cpu/mlp.h"
#include "cpu/render_field_encode.h"
#include "cpu/render_field_tile.h"

namespace dfanerf::cpu::DFANERF_SIMD_NAMESPACE {

// Density and colour from the network's outputs.
DFANERF_HD void activate(const RenderJob& job, Tile& tile, const F (&raw)[kOutputs][kVectors]) {
  for (int v = 0; v < kVectors; ++v) {
    store(tile.passing + v * kLanes, exponential(density(raw[0][v]) * -job.rays.step_m));
    store(tile.r + v * kLanes, logistic(raw[1][v]));
    store(tile.g + v * kLanes, logistic(raw[2][v]));
    store(tile.b + v * kLanes, logistic(raw[3][v]));
  }
}

// Encodes the batch from `first` on in float32; what lies behind the last sample is computed in vain.
[[gnu::noinline]] static void encode(const RenderJob& job, Tile& tile, int first) {
  for (int l = 0; l < job.n_levels; ++l)
    for (int v = 0; v < kVectors; ++v) {
      const int at = first + v * kLanes;
      const F u[3] = {load<F>(tile.u[0] + at), load<F>(tile.u[1] + at), load<F>(tile.u[2] + at)};
      F a, b;
      if (job.packed)
        encode_packed(job, job.levels[l], u, a, b);
      else
        encode_float32(job, job.levels[l], u, a, b);
      store(tile.input + 2 * l * kBatch + v * kLanes, a);
      store(tile.input + (2 * l + 1) * kBatch + v * kLanes, b);
    }
}

[[gnu::noinline]] static void network(const RenderJob& job, Tile& tile) {
  const int inputs = 2 * job.n_levels;
  F raw[kOutputs][kVectors];
  dense_relu<kVectors>(job.weights[0], job.biases[0], tile.input, tile.hidden[0], inputs, job.hidden, kBatch);
  dense_relu<kVectors>(job.weights[1], job.biases[1], tile.hidden[0], tile.hidden[1], job.hidden, job.hidden, kBatch);
  dense_block<kVectors>(job.weights[2], job.biases[2], tile.hidden[1], job.hidden, kBatch, raw);
  activate(job, tile, raw);
}

#if defined(__AVX512BF16__)

// Looks up the table a little at a time while the network of the batch before computes: loads and stores meanwhile cost
// the multipliers nothing. Word by word, since gather instructions are microcode that lets nothing run beside it.
struct Lookups {
  const uint32_t* packed;
  uint32_t *next, *end;  // entries, each replaced by its word

  __attribute__((always_inline)) inline void operator()() {
    if (next == end) return;
#pragma GCC unroll 16
    for (int lane = 0; lane < kLanes; ++lane) next[lane] = packed[next[lane]];
    next += kLanes;
  }
};

// The entries that the batch from `first` on needs: level by level, vector by vector, corner by corner.
[[gnu::noinline]] static Lookups prepare_lookups(const RenderJob& job, Tile& tile, int first) {
  uint32_t* next = tile.words;
  for (int l = 0; l < job.n_levels; ++l)
    for (int v = 0; v < kVectors; ++v) {
      const int at = first + v * kLanes;
      const F u[3] = {load<F>(tile.u[0] + at), load<F>(tile.u[1] + at), load<F>(tile.u[2] + at)};
      const GridCell cells = locate(job.levels[l], u);
      U entry[8];
      corner_entries(job.levels[l], cells.corner, entry);
      for (int c = 0; c < 8; ++c, next += kLanes) store(next, entry[c] + job.levels[l].offset);
    }
  return {job.packed, tile.words, next};
}

// What is left to look up, and the interpolation.
[[gnu::noinline]] static void finish_lookups(const RenderJob& job, Tile& tile, int first, Lookups& lookups) {
  while (lookups.next != lookups.end) lookups();
  const uint32_t* word = tile.words;
  for (int l = 0; l < job.n_levels; ++l)
    for (int v = 0; v < kVectors; ++v) {
      const int at = first + v * kLanes;
      const F u[3] = {load<F>(tile.u[0] + at), load<F>(tile.u[1] + at), load<F>(tile.u[2] + at)};
      const GridCell cells = locate(job.levels[l], u);
      F weight[8];
      corner_weights(cells.fraction, weight);
      F a = splat(0.0f), b = splat(0.0f);
      for (int c = 0; c < 8; ++c, word += kLanes) {
        const U w = load<U>(word);
        a = mul_add(weight[c], as_float(w << 16), a);
        b = mul_add(weight[c], as_float(w & 0xffff0000u), b);
      }
      store(reinterpret_cast<uint32_t*>(tile.input) + l * kBatch + v * kLanes, pack_bf16(a, b));
    }
}

[[gnu::noinline]] static Lookups network(const RenderJob& job, Tile& tile, Lookups ahead) {
  auto* input = reinterpret_cast<uint32_t*>(tile.input);
  uint32_t* hidden[2] = {reinterpret_cast<uint32_t*>(tile.hidden[0]), reinterpret_cast<uint32_t*>(tile.hidden[1])};
  const int pairs = job.hidden / 2;
  F raw[kOutputs][kVectors];
  dense_relu<kVectors>(job.weights_bf16[0], job.biases[0], input, hidden[0], job.n_levels, job.hidden, kBatch, ahead);
  dense_relu<kVectors>(job.weights_bf16[1], job.biases[1], hidden[0], hidden[1], pairs, job.hidden, kBatch, ahead);
  dense_block<kVectors>(job.weights_bf16[2], job.biases[2], hidden[1], pairs, kBatch, raw, ahead);
  activate(job, tile, raw);
  return ahead;
}

#endif

// Evaluates all samples of a round; consume(first) takes each batch's results from the tile.
template <typename Consume>
DFANERF_HD void shade(const RenderJob& job, Tile& tile, int n_samples, Consume&& consume) {
#if defined(__AVX512BF16__)
  if (job.bf16_dot) {
    Lookups lookups = prepare_lookups(job, tile, 0);
    for (int first = 0; first < n_samples; first += kBatch) {
      finish_lookups(job, tile, first, lookups);
      lookups = first + kBatch < n_samples ? prepare_lookups(job, tile, first + kBatch) : Lookups{};
      lookups = network(job, tile, lookups);
      consume(first);
    }
    return;
  }
#endif
  for (int first = 0; first < n_samples; first += kBatch) {
    encode(job, tile, first);
    network(job, tile);
    consume(first);
  }
}

}  // namespace dfanerf::cpu::DFANERF_SIMD_NAMESPACE
