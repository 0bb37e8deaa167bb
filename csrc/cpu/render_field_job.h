// What the tile renderer of every SIMD variant is handed: plain data, filled once a frame by render_field.cpp.
#pragma once

#include <cstdint>

#include "dfanerf/render_field.h"
#include "math/composite.h"
#include "math/occupancy.h"
#include "math/ray.h"

namespace dfanerf::cpu {

constexpr int kTile = 32;  // pixels along a tile's edge
constexpr int kTileRays = kTile * kTile;
constexpr int kMaxLevels = kMaxGridLevels;
constexpr int kMaxHidden = 128;

struct RenderJob {
  RayFrame rays;
  SkipField skip;
  int width, height, n_steps;
  float focal_px, cx, cy;
  FrameBuffers buffers;

  int n_levels, hidden;
  GridLevel levels[kMaxLevels];
  const float* table;       // (n_entries, 2), or null
  const uint32_t* packed;   // (n_entries,): two bfloat16 an entry, the first feature in the low half; or null
  bool bf16_dot;            // whether the bfloat16 weights below are there and to be used
  const float* weights[3];  // by blocks of outputs; see mlp.h
  const uint32_t* weights_bf16[3];
  const float* biases[3];
};

// Every SIMD variant defines both.
using RenderTiles = void(const RenderJob& job, int64_t first_tile, int64_t last_tile, RenderedCounts& counts);
// packed (or table, where packed is null)[begin, end) = base + sum_k weights[k] blend[k]; counted in floats, even.
struct FoldJob {
  const float* base;
  const uint16_t* blend;  // (n_blend, n_floats) float16
  const float* weights;
  int n_blend;
  int64_t n_floats;
  uint32_t* packed;
  float* table;
};
using FoldTable = void(const FoldJob& job, int64_t begin, int64_t end);

}  // namespace dfanerf::cpu
