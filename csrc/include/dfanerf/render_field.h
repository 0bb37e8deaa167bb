// The renderer of a folded field on the CPU: one call renders a frame. Public header; no torch, no Python.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "dfanerf/tensor.h"
#include "math/hash_encode.h"

namespace dfanerf {

// float32: the operator's exact definition. bfloat16: table, weights and activations rounded to bfloat16, sums in
// float32; on processors without bfloat16 dot products only the table is rounded.
enum class Precision { float32, bfloat16 };

// The placement of the field and the camera for one frame. All matrices row-major, lengths in metres.
struct FrameView {
  float head_to_camera[12], torso_to_camera[12];  // (3, 4) [R | t]
  float neck[4];
  float near_m, far_m, step_m;
  int width, height;
  float focal_px, cx, cy;
};

// Buffers of the caller. Rows may lie anywhere; within a row pixels follow each other.
struct FrameBuffers {
  const void* background = nullptr;  // (H, W, 3) uint8 or float32
  bool background_bytes = true;
  int64_t background_row = 0;  // elements between rows
  void* image = nullptr;       // (H, W, 3) uint8 or float32
  bool image_bytes = true;
  int64_t image_row = 0;
  float* alpha = nullptr;  // (H, W) or null
  float* depth = nullptr;  // (H, W) or null
};

struct RenderedCounts {
  uint64_t samples = 0;  // evaluated by the network
  uint64_t lookups = 0;  // of the occupancy grid
};

// What stays from frame to frame, and all scratch memory. Not for use by two threads at a time.
class FieldRenderer {
 public:
  // occupancy: (R, R, R) uint8; aabb: (2, 3) metres; hidden: width of the network, a multiple of 8.
  FieldRenderer(std::vector<GridLevel> levels, int hidden, const uint8_t* occupancy, int resolution, const float* aabb,
                Precision precision, int n_threads);
  ~FieldRenderer();

  int64_t n_entries() const;
  int n_inputs() const;
  int hidden() const;
  int n_blend() const;

  // The table of this frame: (n_entries, 2) float32.
  void load_table(const float* table);
  // What fold_table mixes: base (n_entries, 2) and n_blend tables (n_blend, n_entries, 2), kept as float16.
  void load_blend(const float* base, const float* tables, int n_blend);
  // table = base + sum_k weights[k] tables[k]; weights: (n_blend,).
  void fold_table(const float* weights);
  // weights: (hidden, n_inputs), (hidden, hidden), (4, hidden); biases: (hidden,), (hidden,), (4,).
  void load_network(const float* const weights[3], const float* const biases[3]);
  // Only the first layer's bias, which the condition changes from frame to frame.
  void load_first_bias(const float* bias);

  RenderedCounts render(const FrameView& view, const FrameBuffers& buffers);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace dfanerf
