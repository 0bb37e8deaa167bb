// What the kernels of the fused renderer are handed, and how weights and shared memory are laid out.
#pragma once

#include "cuda/warp.cuh"
#include "dfanerf/render_field.h"
#include "math/composite.h"
#include "math/fold.h"
#include "math/hash_encode.h"
#include "math/occupancy.h"
#include "math/ray.h"

namespace DFANERF_CUDA_NAMESPACE {

constexpr int kLanes = 32;
constexpr int kRenderThreads = 256;
constexpr int kRenderWarps = kRenderThreads / kLanes;

struct alignas(16) Words4 {  // loaded at once
  uint32_t x, y, z, w;
};
struct alignas(8) Words2 {
  uint32_t x, y;
};

// What changes from frame to frame, in device memory: a launch that was captured in a graph reads the newest.
struct FrameState {
  RayFrame rays;
  int32_t n_steps;
};

// Zeroed before every frame.
struct RayQueue {
  uint32_t next;  // the first ray that no warp has taken
  uint32_t unused;
  unsigned long long samples, lookups;
};

struct RenderJob {
  const FrameState* frame;
  RayQueue* queue;
  const uint32_t* table;    // (n_entries,): two float16 an entry, the first feature in the low half
  const uint32_t* weights;  // of all layers, in the order of Network
  const float* biases;      // (hidden,), (hidden,), (4,)
  SkipField skip;
  PictureView view;
  FrameBuffers buffers;
  int n_dense, n_levels;  // the dense levels come first
  GridLevel levels[kMaxGridLevels];
};

// The network 2 levels -> hidden -> hidden -> 4, and how its weights lie as multiply_add wants them: pairs of float16
// along the inputs, in runs of a warp's 32 lanes. The first two layers go by 16 outputs, then by 16 inputs, four words
// a lane: inputs 2 pair and 2 pair + 8 of output `group`, then of output `group` + 8. The last layer goes by 16 inputs,
// two words a lane, its outputs 4 to 7 being zero. Inputs that a narrower grid does not have are zero, too.
template <int kInputTiles_, int kHidden_>
struct Network {
  static constexpr int kInputTiles = kInputTiles_, kHidden = kHidden_, kHiddenTiles = kHidden / 16;
  static constexpr int kFirst = 0;
  static constexpr int kSecond = kFirst + kHiddenTiles * kInputTiles * 4 * kLanes;
  static constexpr int kLast = kSecond + kHiddenTiles * kHiddenTiles * 4 * kLanes;
  static constexpr int kWords = kLast + kHiddenTiles * 2 * kLanes;
  static constexpr int kBiases = 2 * kHidden + 4;
  static constexpr int kSampleWords = kInputTiles * 8;  // a sample's input, two float16 a word

  // Shared memory of a block, in bytes from its start.
  static constexpr int kBiasesAt = (sizeof(FrameState) + 15) / 16 * 16;
  static constexpr int kWeightsAt = kBiasesAt + (kBiases * 4 + 15) / 16 * 16;
  static constexpr int kInputsAt = kWeightsAt + kWords * 4;
  static constexpr int kSharedBytes = kInputsAt + kRenderWarps * kSampleWords * kLanes * 4;

  // The weight that the given half of word `word` holds, or 0; n_inputs: of the grid.
  DFANERF_DEVICE static float weight(const float* const* weights, int n_inputs, int word, int half) {
    const int layer = word < kSecond ? 0 : word < kLast ? 1 : 2;
    int output, input;
    if (layer < 2) {
      const int tiles = layer == 0 ? kInputTiles : kHiddenTiles, at = word - (layer == 0 ? kFirst : kSecond);
      const int part = at & 3, lane = at / 4 % kLanes, run = at / (4 * kLanes);
      output = run / tiles * 16 + (part >> 1) * 8 + lane / 4;
      input = run % tiles * 16 + (part & 1) * 8 + lane % 4 * 2 + half;
    } else {
      const int at = word - kLast, lane = at / 2 % kLanes;
      output = lane / 4;
      input = at / (2 * kLanes) * 16 + (at & 1) * 8 + lane % 4 * 2 + half;
    }
    const int columns = layer == 0 ? n_inputs : kHidden, rows = layer == 2 ? 4 : kHidden;
    return output < rows && input < columns ? weights[layer][output * columns + input] : 0.0f;
  }
};

}  // namespace DFANERF_CUDA_NAMESPACE
