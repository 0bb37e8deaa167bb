// The renderer of a folded field on an NVIDIA GPU: one launch renders a frame. Public header; no torch, no Python.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "dfanerf/render_field.h"

#ifdef DFANERF_WITH_CUDA
namespace dfanerf {

// Parallel to FieldRenderer (render_field.h), with these differences: weights, tables and activations are float16, sums
// float32; everything is put on a stream (a cudaStream_t as an integer) and returns at once; and what fold and render
// read and write lies on the device. Not for use by two threads, or by two streams that do not wait for each other.
//
// The constructor and the load functions allocate; fold, place, load_table and render do not, nor do they wait for the
// device, so that fold and render can be captured in a CUDA graph: what changes from frame to frame lies in device
// memory, and a replay reads the condition, head pose and background that then stand in the captured buffers. For a
// picture in host memory, render into a device buffer and let cudaMemcpyAsync to pinned memory follow on the stream;
// pixels are written in small pieces, which the bus would not like.
//
// A failure of CUDA is a std::runtime_error that names the step.
class CudaFieldRenderer {
 public:
  // occupancy: (R, R, R) uint8 and aabb: (2, 3) metres, in host memory; hidden: 32, 64 or 128; dense levels before
  // hashed ones. device: number of the GPU, on which the caller's buffers and streams must lie.
  CudaFieldRenderer(std::vector<GridLevel> levels, int hidden, const uint8_t* occupancy, int resolution,
                    const float* aabb, int device);
  ~CudaFieldRenderer();

  int device() const;
  int64_t n_entries() const;
  int n_inputs() const;
  int hidden() const;

  // As FieldRenderer's; the pointers may lead to host or device memory. All is copied.
  void load_network(const float* const weights[3], const float* const biases[3], uintptr_t stream);
  void load_constants(const FoldConstants& constants, const float* base, const float* tables, uintptr_t stream);
  void load_table(const float* table, uintptr_t stream);

  // condition: (48,) and head_pose: (6,) in device memory. Numbers that are not finite give a useless picture.
  void fold(const float* condition, const float* head_pose, uintptr_t stream);
  void place(const Placement& placement, uintptr_t stream);

  // All buffers in device memory.
  void render(const PictureView& view, const FrameBuffers& buffers, uintptr_t stream);
  // Of the frame rendered last; waits for the stream.
  RenderedCounts counts(uintptr_t stream) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace dfanerf
#endif
