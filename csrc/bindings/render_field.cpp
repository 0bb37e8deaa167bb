// The CPU renderer as the class _C.FieldRenderer.
#include <array>
#include <cmath>
#include <memory>
#include <string>
#include <tuple>

#include "bindings/field_arguments.h"
#include "bindings/registry.h"

namespace py = pybind11;

namespace dfanerf {
namespace {

Precision parse_precision(const std::string& text) {
  if (text == "float32") return Precision::float32;
  if (text == "bfloat16") return Precision::bfloat16;
  throw ShapeError("precision is '" + text + "', expected float32 or bfloat16");
}

using BoundRenderer = Shared<FieldRenderer>;

std::unique_ptr<BoundRenderer> make_renderer(const std::vector<LevelTuple>& levels, int hidden, const Tensor& occupancy,
                                             const Tensor& aabb, const std::string& precision, int n_threads) {
  const int cells = cells_a_side(occupancy);
  const auto* occupied = checked<uint8_t>(occupancy, "occupancy", {cells, cells, cells});
  const auto* box = checked<float>(aabb, "aabb", {2, 3});
  const Precision chosen = parse_precision(precision);
  py::gil_scoped_release release;
  return std::make_unique<BoundRenderer>(grid_levels(levels), hidden, occupied, cells, box, chosen, n_threads);
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
                    const Tensor& pose_weight, const Tensor& mixer_weight, const Tensor& head_follow,
                    const Tensor& torso_follow, const Tensor& neck, float step_m, const Tensor& base,
                    const Tensor& tables) {
  const int64_t hidden = self.hidden(), entries = self.n_entries();
  if (!(step_m > 0.0f && std::isfinite(step_m))) throw ShapeError("step_m: expected a positive length");
  FoldConstants constants;
  const float* blended = checked<float>(tables, "tables", {kAny, entries, 2});
  check_count("the number of tables", tables.shape[0], 0, kMaxTables);
  constants.n_blend = static_cast<int>(tables.shape[0]);
  constants.condition_mean = checked<float>(condition_mean, "condition_mean", {kConditionDim});
  constants.condition_std = checked<float>(condition_std, "condition_std", {kConditionDim});
  constants.pose_mean = checked<float>(pose_mean, "pose_mean", {kHeadPoseDim});
  constants.pose_std = checked<float>(pose_std, "pose_std", {kHeadPoseDim});
  if (condition_weight != nullptr)
    constants.condition_weight = checked<float>(*condition_weight, "condition_weight", {hidden, kConditionDim});
  constants.pose_weight = checked<float>(pose_weight, "pose_weight", {hidden, kHeadPoseDim});
  constants.mixer_weight = checked<float>(mixer_weight, "mixer_weight", {constants.n_blend, kConditionDim});
  constants.head_follow = checked<float>(head_follow, "head_follow", {kHeadPoseDim, kHeadPoseDim});
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

void place(BoundRenderer& self, const Tensor& head_to_camera, const Tensor& torso_to_camera, const Tensor& neck,
           const std::array<float, 3>& range) {
  const Placement placement = read_placement(head_to_camera, torso_to_camera, neck, range);
  const Turn turn(self);
  self.place(placement);
}

std::tuple<uint64_t, uint64_t> render(BoundRenderer& self, const std::array<float, 3>& intrinsics,
                                      const Tensor& background, const OutTensor& image, const OutTensor& alpha,
                                      const OutTensor& depth) {
  const PictureView view = read_view(image, intrinsics);
  const FrameBuffers buffers = read_buffers(background, image, &alpha, &depth, view, DeviceType::cpu);
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
           py::arg("head_follow"), py::arg("torso_follow"), py::arg("neck"), py::arg("step_m"), py::arg("base"),
           py::arg("tables"), "What fold() needs of a conditional field.")
      .def("fold", &fold, py::arg("condition"), py::arg("head_pose"), "Set what the next picture shows.")
      .def("place", &place, py::arg("head_to_camera"), py::arg("torso_to_camera"), py::arg("neck"),
           py::arg("near_far_step_m"), "The same for a field folded elsewhere.")
      .def("render", &render, py::arg("focal_cx_cy"), py::arg("background"), py::arg("image"), py::arg("alpha"),
           py::arg("depth"),
           "Renders into image, alpha and depth; returns how many samples and occupancy lookups it took.");
}};

}  // namespace
}  // namespace dfanerf
