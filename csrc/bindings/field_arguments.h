// How a renderer's arguments come from Python: the same for both devices.
#pragma once

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <array>
#include <cmath>
#include <mutex>
#include <string>
#include <tuple>
#include <vector>

#include "bindings/dlpack.h"
#include "dfanerf/checks.h"
#include "dfanerf/render_field.h"

namespace dfanerf {

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

// Rows of a (H, W, 3) picture may be apart; pixels within a row may not.
inline int64_t picture_row(const TensorView& view, const char* what, int height, int width, DeviceType device) {
  const std::string who = std::string(what) + ": ";
  if (view.dtype != DType::u8 && view.dtype != DType::f32)
    throw ShapeError(who + "dtype " + name(view.dtype) + ", expected uint8 or float32");
  if (view.device != device) throw ShapeError(who + "lies on " + name(view.device) + ", expected " + name(device));
  if (view.ndim != 3 || view.shape[0] != height || view.shape[1] != width || view.shape[2] != 3)
    throw ShapeError(who + "shape " + shape_text(view) + ", expected (" + std::to_string(height) + ", " +
                     std::to_string(width) + ", 3)");
  if (view.strides[2] != 1 || (width > 1 && view.strides[1] != 3))
    throw ShapeError(who + "pixels of a row are not contiguous; call .contiguous() first");
  return view.strides[0];
}

}  // namespace dfanerf
