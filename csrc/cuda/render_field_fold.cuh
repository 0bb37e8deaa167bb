// What is computed once a frame, or once a field: packing of tables and weights, mixing of tables, and the fold.
#pragma once

#include "cuda/render_field_job.cuh"
#include "math/fold.h"

namespace DFANERF_CUDA_NAMESPACE {

struct MixJob {
  const float* base;      // (n_words, 2)
  const uint32_t* blend;  // (n_blend, n_words): two float16 a word
  const float* weights;   // (n_blend,)
  int n_blend;
  int64_t n_words;  // a multiple of 4
  uint32_t* packed;
};

constexpr int kMixedWords = 4;  // that one thread mixes

// packed = base + sum_k weights[k] blend[k], in float16; n_blend = 0 only packs.
DFANERF_DEVICE void mix_words(const MixJob& job) {
  const int64_t first = global_thread() * kMixedWords;
  if (first >= job.n_words) return;
  const auto* base = reinterpret_cast<const Words4*>(job.base + 2 * first);
  const Words4 left = base[0], right = base[1];
  float sum[2 * kMixedWords];
  const uint32_t bits[2 * kMixedWords] = {left.x, left.y, left.z, left.w, right.x, right.y, right.z, right.w};
#pragma unroll
  for (int i = 0; i < 2 * kMixedWords; ++i) sum[i] = math::as_float(static_cast<int32_t>(bits[i]));
#pragma unroll 4
  for (int k = 0; k < job.n_blend; ++k) {
    const Words4 words = *reinterpret_cast<const Words4*>(job.blend + k * job.n_words + first);
    const uint32_t word[kMixedWords] = {words.x, words.y, words.z, words.w};
    const float weight = job.weights[k];
#pragma unroll
    for (int i = 0; i < kMixedWords; ++i) {
      sum[2 * i] = fmaf(weight, low_half(word[i]), sum[2 * i]);
      sum[2 * i + 1] = fmaf(weight, high_half(word[i]), sum[2 * i + 1]);
    }
  }
#pragma unroll
  for (int i = 0; i < kMixedWords; ++i) job.packed[first + i] = pack_half(sum[2 * i], sum[2 * i + 1]);
}

struct PackJob {
  const float* weights[3];  // row-major float32, (outputs, inputs) of each layer
  int n_inputs;             // of the first
  uint32_t* packed;
};

template <typename Net>
DFANERF_DEVICE void pack_weights(const PackJob& job) {
  const auto word = static_cast<int>(global_thread());
  if (word < Net::kWords)
    job.packed[word] =
        pack_half(Net::weight(job.weights, job.n_inputs, word, 0), Net::weight(job.weights, job.n_inputs, word, 1));
}

struct FoldJob {
  FoldConstants constants;
  const float* condition;  // (48,)
  const float* head_pose;  // (6,)
  float* bias;             // (hidden,)
  float* mix;              // (n_blend,)
  FrameState* frame;
};

// One block; every thread takes a few rows, and the last one the geometry.
DFANERF_DEVICE void fold_frame(const FoldJob& job) {
  const FoldConstants& constants = job.constants;
  float* condition = reinterpret_cast<float*>(shared_memory());
  float* pose = condition + kConditionDim;
  for (int i = thread_index(); i < kConditionDim; i += block_threads())
    condition[i] = normalised(job.condition, constants.condition_mean, constants.condition_std, i);
  for (int i = thread_index(); i < kHeadPoseDim; i += block_threads())
    pose[i] = normalised(job.head_pose, constants.pose_mean, constants.pose_std, i);
  sync_block();
  for (int row = thread_index(); row < constants.hidden; row += block_threads())
    job.bias[row] = folded_bias(constants, condition, pose, row);
  for (int k = thread_index(); k < constants.n_blend; k += block_threads())
    job.mix[k] = folded_mix(constants, condition, k);
  if (thread_index() == block_threads() - 1) {
    const RayFrame rays = folded_view(constants, job.head_pose);
    *job.frame = FrameState{rays, ray_steps(rays)};
  }
}

constexpr int kFoldSharedBytes = (kConditionDim + kHeadPoseDim) * 4;

}  // namespace DFANERF_CUDA_NAMESPACE
