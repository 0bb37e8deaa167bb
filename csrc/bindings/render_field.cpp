// The CPU renderer as the class _C.FieldRenderer.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <array>
#include <cmath>
#include <cstdlib>
#include <mutex>
#include <string>
#include <tuple>

#include "bindings/dlpack.h"
#include "bindings/registry.h"
#include "cpu/field_checks.h"
#include "dfanerf/checks.h"
#include "dfanerf/render_field.h"

namespace py = pybind11;

namespace dfanerf {
namespace {

using LevelTuple = std::tuple<float, uint32_t, uint32_t, uint32_t, bool>;  // HashGridLevel of ops/hash_encode.py

constexpr int64_t kMaxTables = 1024;  // to mix

Precision parse_precision(const std::string& text) {
  if (text == "float32") return Precision::float32;
  if (text == "bfloat16") return Precision::bfloat16;
  throw ShapeError("precision is '" + text + "', expected float32 or bfloat16");
}

// Python threads may call one renderer at the same time; they take turns.
struct BoundRenderer : FieldRenderer {
  using FieldRenderer::FieldRenderer;
  std::mutex mutex;
};

class Turn {
 public:
  explicit Turn(BoundRenderer& renderer) : lock_(renderer.mutex) {}

 private:
  py::gil_scoped_release release_;  // before waiting: whose turn it is may need the GIL to end it
  std::lock_guard<std::mutex> lock_;
};

std::unique_ptr<BoundRenderer> make_renderer(const std::vector<LevelTuple>& levels, int hidden, const Tensor& occupancy,
                                             const Tensor& aabb, const std::string& precision, int n_threads) {
  std::vector<GridLevel> grid;
  for (const auto& [scale, resolution, n_entries, offset, hashed] : levels)
    grid.push_back(GridLevel{scale, resolution, n_entries, offset, hashed});
  const int64_t cells = occupancy.ndim == 3 ? occupancy.shape[0] : 0;
  check_count("occupancy cells a side", cells, 1, kMaxCells);
  const auto* occupied = checked<uint8_t>(occupancy, "occupancy", {cells, cells, cells});
  const auto* box = checked<float>(aabb, "aabb", {2, 3});
  const Precision chosen = parse_precision(precision);
  py::gil_scoped_release release;
  return std::make_unique<BoundRenderer>(std::move(grid), hidden, occupied, static_cast<int>(cells), box, chosen,
                                         n_threads);
}

void load_table(BoundRenderer& self, const Tensor& table) {
  const auto* values = checked<float>(table, "table", {self.n_entries(), 2});
  const Turn turn(self);
  self.load_table(values);
}

void load_network(BoundRenderer& self, const Tensor& w1, const Tensor& w2, const Tensor& w3, const Tensor& b1,
                  const Tensor& b2, const Tensor& b3) {
  const int64_t hidden = self.hidden();
  const float* weights[3] = {checked<float>(w1, "weights[0]", {hidden, self.n_inputs()}),
                             checked<float>(w2, "weights[1]", {hidden, hidden}),
                             checked<float>(w3, "weights[2]", {4, hidden})};
  const float* biases[3] = {checked<float>(b1, "biases[0]", {hidden}), checked<float>(b2, "biases[1]", {hidden}),
                            checked<float>(b3, "biases[2]", {4})};
  const Turn turn(self);
  self.load_network(weights, biases);
}

void load_constants(BoundRenderer& self, const Tensor& condition_mean, const Tensor& condition_std,
                    const Tensor& pose_mean, const Tensor& pose_std, const Tensor* condition_weight,
                    const Tensor& pose_weight, const Tensor& mixer_weight, const Tensor& torso_follow,
                    const Tensor& neck, float step_m, const Tensor& base, const Tensor& tables) {
  const int64_t hidden = self.hidden(), entries = self.n_entries();
  if (!(step_m > 0.0f && std::isfinite(step_m))) throw ShapeError("step_m: expected a positive length");
  if (tables.ndim == 3) check_count("the number of tables", tables.shape[0], 0, kMaxTables);
  FoldConstants constants;
  const float* blended = checked<float>(tables, "tables", {kAny, entries, 2});
  constants.n_blend = static_cast<int>(tables.shape[0]);
  constants.condition_mean = checked<float>(condition_mean, "condition_mean", {kConditionDim});
  constants.condition_std = checked<float>(condition_std, "condition_std", {kConditionDim});
  constants.pose_mean = checked<float>(pose_mean, "pose_mean", {kHeadPoseDim});
  constants.pose_std = checked<float>(pose_std, "pose_std", {kHeadPoseDim});
  if (condition_weight != nullptr)
    constants.condition_weight = checked<float>(*condition_weight, "condition_weight", {hidden, kConditionDim});
  constants.pose_weight = checked<float>(pose_weight, "pose_weight", {hidden, kHeadPoseDim});
  constants.mixer_weight = checked<float>(mixer_weight, "mixer_weight", {constants.n_blend, kConditionDim});
  constants.torso_follow = checked<float>(torso_follow, "torso_follow", {kHeadPoseDim, kHeadPoseDim});
  constants.neck = checked<float>(neck, "neck", {4});
  constants.step_m = step_m;
  const float* first = checked<float>(base, "base", {entries, 2});
  const Turn turn(self);
  self.load_constants(constants, first, blended);
}

void fold(BoundRenderer& self, const Tensor& condition, const Tensor& head_pose) {
  const float* c = checked<float>(condition, "condition", {kConditionDim});
  const float* h = checked<float>(head_pose, "head_pose", {kHeadPoseDim});
  const Turn turn(self);
  self.fold(c, h);
}

// Rows of a (H, W, 3) picture may be apart or run upwards; pixels within a row follow each other. Rows that are written
// may not be the same memory.
int64_t picture_row(const TensorView& view, const char* what, int height, int width, bool written) {
  const std::string who = std::string(what) + ": ";
  if (view.dtype != DType::u8 && view.dtype != DType::f32)
    throw ShapeError(who + "dtype " + name(view.dtype) + ", expected uint8 or float32");
  if (view.device != DeviceType::cpu) throw ShapeError(who + "lies on " + name(view.device) + ", expected cpu");
  if (view.ndim != 3 || view.shape[0] != height || view.shape[1] != width || view.shape[2] != 3)
    throw ShapeError(who + "shape " + shape_text(view) + ", expected (" + std::to_string(height) + ", " +
                     std::to_string(width) + ", 3)");
  if (view.strides[2] != 1 || (width > 1 && view.strides[1] != 3))
    throw ShapeError(who + "pixels of a row are not contiguous; call .contiguous() first");
  if (written && height > 1 && std::abs(view.strides[0]) < 3 * width) throw ShapeError(who + "its rows overlap");
  if (view.dtype == DType::f32) check_alignment<float>(view, what);
  return view.strides[0];
}

void copy_floats(const Tensor& source, const char* what, std::initializer_list<int64_t> shape, float* target) {
  const auto* values = checked<float>(source, what, shape);
  std::copy(values, values + source.numel(), target);
}

void place(BoundRenderer& self, const Tensor& head_to_camera, const Tensor& torso_to_camera, const Tensor& neck,
           const std::array<float, 3>& range) {
  Placement placement{};
  copy_floats(head_to_camera, "head_to_camera", {3, 4}, placement.head_to_camera);
  copy_floats(torso_to_camera, "torso_to_camera", {3, 4}, placement.torso_to_camera);
  copy_floats(neck, "neck", {4}, placement.neck);
  placement.near_m = range[0];
  placement.far_m = range[1];
  placement.step_m = range[2];
  const Turn turn(self);
  self.place(placement);
}

std::tuple<uint64_t, uint64_t> render(BoundRenderer& self, const std::array<float, 3>& intrinsics,
                                      const Tensor& background, const OutTensor& image, const OutTensor& alpha,
                                      const OutTensor& depth) {
  PictureView view{};
  view.focal_px = intrinsics[0];
  view.cx = intrinsics[1];
  view.cy = intrinsics[2];
  if (image.ndim != 3 || image.shape[0] > kMaxExtentPx || image.shape[1] > kMaxExtentPx)
    throw ShapeError("image: shape " + shape_text(image) + ", expected (H, W, 3), at most 8192 pixels a side");
  view.height = static_cast<int>(image.shape[0]);
  view.width = static_cast<int>(image.shape[1]);
  FrameBuffers buffers;
  buffers.background = background.data;
  buffers.background_bytes = background.dtype == DType::u8;
  buffers.background_row = picture_row(background, "background", view.height, view.width, false);
  buffers.image = image.data;
  buffers.image_bytes = image.dtype == DType::u8;
  buffers.image_row = picture_row(image, "image", view.height, view.width, true);
  buffers.alpha = checked<float>(alpha, "alpha", {view.height, view.width});
  buffers.depth = checked<float>(depth, "depth", {view.height, view.width});
  check_apart({&image, &alpha, &depth}, {&background});
  RenderedCounts counts;
  {
    const Turn turn(self);
    counts = self.render(view, buffers);
  }
  return {counts.samples, counts.lookups};
}

const Registration registration{[](py::module_& m) {
  py::class_<BoundRenderer>(m, "FieldRenderer",
                            "Renders frames of one folded field on the CPU; not for two threads at a time.")
      .def(py::init(&make_renderer), py::arg("levels"), py::arg("hidden"), py::arg("occupancy"), py::arg("aabb"),
           py::arg("precision"), py::arg("n_threads"))
      .def("load_table", &load_table, py::arg("table"))
      .def("load_network", &load_network, py::arg("w1"), py::arg("w2"), py::arg("w3"), py::arg("b1"), py::arg("b2"),
           py::arg("b3"))
      .def("load_constants", &load_constants, py::arg("condition_mean"), py::arg("condition_std"), py::arg("pose_mean"),
           py::arg("pose_std"), py::arg("condition_weight").none(true), py::arg("pose_weight"), py::arg("mixer_weight"),
           py::arg("torso_follow"), py::arg("neck"), py::arg("step_m"), py::arg("base"), py::arg("tables"),
           "What fold() needs of a conditional field.")
      .def("fold", &fold, py::arg("condition"), py::arg("head_pose"), "Set what the next picture shows.")
      .def("place", &place, py::arg("head_to_camera"), py::arg("torso_to_camera"), py::arg("neck"),
           py::arg("near_far_step_m"), "The same for a field folded elsewhere.")
      .def("render", &render, py::arg("focal_cx_cy"), py::arg("background"), py::arg("image"), py::arg("alpha"),
           py::arg("depth"),
           "Renders into image, alpha and depth; returns how many samples and occupancy lookups it took.");
}};

}  // namespace
}  // namespace dfanerf
