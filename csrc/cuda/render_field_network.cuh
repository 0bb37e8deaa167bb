// Encoding and network of the 32 samples of a warp: gathers from the table, then tensor cores. Activations stay in
// registers: the sums of one layer, packed to float16, are already spread over the warp as the next layer's input.
#pragma once

#include "cuda/render_field_job.cuh"
#include "math/activation.h"

namespace DFANERF_CUDA_NAMESPACE {

// Where a word of a lane's sample lies in the warp's part of shared memory. Lanes that write one word of their own
// samples, and lanes that read four words of eight samples, then all meet different banks.
DFANERF_DEVICE int swizzled(int word, int lane) {
  return word * kLanes + (lane ^ (word & 3) << 3);
}

// The features of levels [begin, end), which are all hashed or all dense, at u in [0, 1]^3. Without a branch between
// them, the lookups of two levels are under way at a time.
template <bool kHashed>
DFANERF_DEVICE void encode_levels(const RenderJob& job, int begin, int end, const float* u, uint32_t* input, int lane) {
#pragma unroll 2
  for (int l = begin; l < end; ++l) {
    GridLevel level = job.levels[l];
    level.hashed = kHashed;
    const math::GridCell cell = math::locate(level, u);
    uint32_t entry[8], word[8];
    math::corner_entries(level, cell.corner, entry);
    const uint32_t* table = job.table + level.offset;
#pragma unroll
    for (int c = 0; c < 8; ++c) word[c] = load_constant(table + entry[c]);
    float weight[8], first = 0.0f, second = 0.0f;
    math::corner_weights(cell.fraction, weight);
#pragma unroll
    for (int c = 0; c < 8; ++c) {
      first = fmaf(weight[c], low_half(word[c]), first);
      second = fmaf(weight[c], high_half(word[c]), second);
    }
    input[swizzled(l, lane)] = pack_half(first, second);
  }
}

// Writes the features at u as this lane's sample.
DFANERF_DEVICE void encode(const RenderJob& job, int n_words, const float* u, uint32_t* input) {
  const int lane = lane_index();
  encode_levels<false>(job, 0, job.n_dense, u, input, lane);
  encode_levels<true>(job, job.n_dense, job.n_levels, u, input, lane);
  for (int l = job.n_levels; l < n_words; ++l) input[swizzled(l, lane)] = 0u;
}

// 16 outputs of a layer for the warp's two tiles of 16 samples: out = relu(W in + bias), packed as an input tile.
template <int kTiles>
DFANERF_DEVICE void dense_relu(const uint32_t* weights, const float* bias, const uint32_t (&in)[2][kTiles][4], int lane,
                               uint32_t (&out)[2][4]) {
  float sum[2][2][4];
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const float left = bias[8 * half + lane % 4 * 2], right = bias[8 * half + lane % 4 * 2 + 1];
#pragma unroll
    for (int tile = 0; tile < 2; ++tile) {
      sum[tile][half][0] = sum[tile][half][2] = left;
      sum[tile][half][1] = sum[tile][half][3] = right;
    }
  }
#pragma unroll
  for (int k = 0; k < kTiles; ++k) {
    const Words4 w = reinterpret_cast<const Words4*>(weights)[k * kLanes + lane];
#pragma unroll
    for (int tile = 0; tile < 2; ++tile) {
      multiply_add(sum[tile][0], in[tile][k], w.x, w.y);
      multiply_add(sum[tile][1], in[tile][k], w.z, w.w);
    }
  }
#pragma unroll
  for (int tile = 0; tile < 2; ++tile)
#pragma unroll
    for (int part = 0; part < 4; ++part) {
      const float* pair = &sum[tile][part >> 1][(part & 1) * 2];
      out[tile][part] = pack_half_relu(pair[0], pair[1]);
    }
}

// The first layer for the warp's two tiles.
template <typename Net>
DFANERF_DEVICE void first_layer(const uint32_t* weights, const float* biases, const uint32_t* input, int lane,
                                uint32_t (&hidden)[2][Net::kHiddenTiles][4]) {
  uint32_t sample[2][Net::kInputTiles][4];
#pragma unroll
  for (int rows = 0; rows < 4; ++rows) {  // eight samples each
    const uint32_t* words = input + swizzled(lane % 4, 8 * rows + lane / 4);
#pragma unroll
    for (int k = 0; k < Net::kInputTiles; ++k) {
      sample[rows >> 1][k][rows & 1] = words[8 * k * kLanes];
      sample[rows >> 1][k][2 + (rows & 1)] = words[(8 * k + 4) * kLanes];
    }
  }
#pragma unroll
  for (int j = 0; j < Net::kHiddenTiles; ++j) {
    uint32_t out[2][4];
    dense_relu(weights + Net::kFirst + j * Net::kInputTiles * 4 * kLanes, biases + 16 * j, sample, lane, out);
#pragma unroll
    for (int tile = 0; tile < 2; ++tile)
#pragma unroll
      for (int part = 0; part < 4; ++part) hidden[tile][j][part] = out[tile][part];
  }
}

// raw: the four outputs for this lane's sample. `input` is overwritten.
template <typename Net>
DFANERF_DEVICE void network(const uint32_t* weights, const float* biases, uint32_t* input, float (&raw)[4]) {
  const int lane = lane_index();
  sync_warp();  // the samples are written
  uint32_t hidden[2][Net::kHiddenTiles][4];
  first_layer<Net>(weights, biases, input, lane, hidden);

  // Sixteen units of the second layer at a time, each handed on to the outputs at once.
  float sum[2][4] = {};
#pragma unroll 1
  for (int j = 0; j < Net::kHiddenTiles; ++j) {
    uint32_t out[2][4];
    dense_relu(weights + Net::kSecond + j * Net::kHiddenTiles * 4 * kLanes, biases + Net::kHidden + 16 * j, hidden,
               lane, out);
    const Words2 w = reinterpret_cast<const Words2*>(weights + Net::kLast)[j * kLanes + lane];
#pragma unroll
    for (int tile = 0; tile < 2; ++tile) multiply_add(sum[tile], out[tile], w.x, w.y);
  }

  // To the lanes that the samples belong to. All lanes have read their inputs: multiply_add waits for them.
  float* outputs = reinterpret_cast<float*>(input);
  sync_warp();
  if (lane % 4 < 2) {
#pragma unroll
    for (int tile = 0; tile < 2; ++tile)
#pragma unroll
      for (int part = 0; part < 4; ++part)
        outputs[(16 * tile + (part >> 1) * 8 + lane / 4) * 4 + lane % 4 * 2 + (part & 1)] = sum[tile][part];
  }
  sync_warp();
#pragma unroll
  for (int o = 0; o < 4; ++o) raw[o] = outputs[4 * lane + o] + biases[2 * Net::kHidden + o];
  sync_warp();  // before the next samples are written
}

}  // namespace DFANERF_CUDA_NAMESPACE
