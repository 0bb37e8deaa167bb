// The renderer of a folded field on the CPU: one call renders a frame. Public header; no torch, no Python.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "dfanerf/tensor.h"
#include "math/fold.h"
#include "math/hash_encode.h"

namespace dfanerf {

// float32: the operator's exact definition. bfloat16: table, weights and activations rounded to bfloat16, sums in
// float32; on processors without bfloat16 dot products only the table is rounded.
enum class Precision { float32, bfloat16 };

// Where the field of one frame stands, for fields that are not folded here. Matrices row-major, lengths in metres.
struct Placement {
  float head_to_camera[12], torso_to_camera[12];  // (3, 4) [R | t]
  float neck[4];
  float near_m, far_m, step_m;
};

// Size and intrinsics of a picture.
struct PictureView {
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

  // weights: (hidden, n_inputs), (hidden, hidden), (4, hidden); biases: (hidden,), (hidden,), (4,).
  void load_network(const float* const weights[3], const float* const biases[3]);

  // Either: a field that is folded here. Its constants (bias is that of load_network), its base table (n_entries, 2)
  // and the n_blend tables that the condition mixes in (n_blend, n_entries, 2), kept as float16. All are copied.
  void load_constants(const FoldConstants& constants, const float* base, const float* tables);
  // Sets what render shows. condition: (48,); head_pose: (6,). Throws ShapeError where a number is not finite.
  void fold(const float* condition, const float* head_pose);

  // Or: a field that was folded elsewhere, its table (n_entries, 2).
  void load_table(const float* table);
  void place(const Placement& placement);

  RenderedCounts render(const PictureView& view, const FrameBuffers& buffers);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace dfanerf
