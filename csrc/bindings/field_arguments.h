// How a renderer's arguments come from Python: the same for both devices.
#pragma once

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <array>
#include <cmath>
#include <cstdlib>
#include <mutex>
#include <string>
#include <tuple>
#include <vector>

#include "bindings/dlpack.h"
#include "cpu/field_checks.h"
#include "dfanerf/checks.h"
#include "dfanerf/render_field.h"

namespace dfanerf {

// A renderer that Python threads may call at the same time; they take turns.
template <typename Renderer>
struct Shared : Renderer {
  using Renderer::Renderer;
  std::mutex mutex;
};

class Turn {
 public:
  template <typename Renderer>
  explicit Turn(Shared<Renderer>& renderer) : lock_(renderer.mutex) {}

 private:
  pybind11::gil_scoped_release release_;  // before waiting: whose turn it is may need the GIL to end it
  std::lock_guard<std::mutex> lock_;
};

constexpr int64_t kMaxTables = 1024;  // to mix

using LevelTuple = std::tuple<float, uint32_t, uint32_t, uint32_t, bool>;  // HashGridLevel of ops/hash_encode.py

inline std::vector<GridLevel> grid_levels(const std::vector<LevelTuple>& levels) {
  std::vector<GridLevel> grid;
  for (const auto& [scale, resolution, n_entries, offset, hashed] : levels)
    grid.push_back(GridLevel{scale, resolution, n_entries, offset, hashed});
  return grid;
}

inline void copy_floats(const Tensor& source, const char* what, std::initializer_list<int64_t> shape, float* target) {
  const auto* values = checked<float>(source, what, shape);
  std::copy(values, values + source.numel(), target);
}

inline Placement read_placement(const Tensor& head_to_camera, const Tensor& torso_to_camera, const Tensor& neck,
                                const std::array<float, 3>& range) {
  Placement placement{};
  copy_floats(head_to_camera, "head_to_camera", {3, 4}, placement.head_to_camera);
  copy_floats(torso_to_camera, "torso_to_camera", {3, 4}, placement.torso_to_camera);
  copy_floats(neck, "neck", {4}, placement.neck);
  placement.near_m = range[0];
  placement.far_m = range[1];
  placement.step_m = range[2];
  return placement;
}

// Cells along an axis of an occupancy grid.
inline int cells_a_side(const Tensor& occupancy) {
  const int64_t cells = occupancy.ndim == 3 ? occupancy.shape[0] : 0;
  check_count("occupancy cells a side", cells, 1, kMaxCells);
  return static_cast<int>(cells);
}

// Width and height are those of the picture to fill.
inline PictureView read_view(const TensorView& image, const std::array<float, 3>& intrinsics) {
  if (image.ndim != 3 || image.shape[0] > kMaxExtentPx || image.shape[1] > kMaxExtentPx)
    throw ShapeError("image: shape " + shape_text(image) + ", expected (H, W, 3), at most 8192 pixels a side");
  return {static_cast<int>(image.shape[1]), static_cast<int>(image.shape[0]), intrinsics[0], intrinsics[1],
          intrinsics[2]};
}

// Rows of a (H, W, 3) picture may be apart or run upwards; pixels within a row follow each other.
inline int64_t picture_row(const TensorView& view, const char* what, const PictureView& size, DeviceType device) {
  const std::string who = std::string(what) + ": ";
  if (view.dtype != DType::u8 && view.dtype != DType::f32)
    throw ShapeError(who + "dtype " + name(view.dtype) + ", expected uint8 or float32");
  if (view.device != device) throw ShapeError(who + "lies on " + name(view.device) + ", expected " + name(device));
  if (view.ndim != 3 || view.shape[0] != size.height || view.shape[1] != size.width || view.shape[2] != 3)
    throw ShapeError(who + "shape " + shape_text(view) + ", expected (" + std::to_string(size.height) + ", " +
                     std::to_string(size.width) + ", 3)");
  if (view.strides[2] != 1 || (size.width > 1 && view.strides[1] != 3))
    throw ShapeError(who + "pixels of a row are not contiguous; call .contiguous() first");
  if (view.dtype == DType::f32) check_alignment<float>(view, what);
  return view.strides[0];
}

// The buffers of a frame, none of which may lie in another's memory; alpha and depth may be null.
inline FrameBuffers read_buffers(const Tensor& background, const OutTensor& image, const OutTensor* alpha,
                                 const OutTensor* depth, const PictureView& size, DeviceType device) {
  FrameBuffers buffers;
  buffers.background = background.data;
  buffers.background_bytes = background.dtype == DType::u8;
  buffers.background_row = picture_row(background, "background", size, device);
  buffers.image = image.data;
  buffers.image_bytes = image.dtype == DType::u8;
  buffers.image_row = picture_row(image, "image", size, device);
  if (size.height > 1 && std::abs(buffers.image_row) < 3 * size.width) throw ShapeError("image: its rows overlap");
  if (alpha != nullptr) buffers.alpha = checked<float>(*alpha, "alpha", {size.height, size.width}, device);
  if (depth != nullptr) buffers.depth = checked<float>(*depth, "depth", {size.height, size.width}, device);
  check_apart({&image, alpha, depth}, {&background});
  return buffers;
}

}  // namespace dfanerf
