// The fused CUDA renderer as the class _C.CudaFieldRenderer; absent where the module was built without CUDA.
#include "dfanerf/cuda_render_field.h"

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <utility>

#include "bindings/field_arguments.h"
#include "bindings/registry.h"

#ifdef DFANERF_WITH_CUDA
namespace py = pybind11;

namespace dfanerf {
namespace {

using BoundRenderer = Shared<CudaFieldRenderer>;

// A contiguous float32 tensor on the renderer's GPU.
const float* on_device(const BoundRenderer& self, const Tensor& tensor, const char* what,
                       std::initializer_list<int64_t> shape) {
  const auto* values = checked<float>(tensor, what, shape, DeviceType::cuda);
  if (tensor.device_index != self.device())
    throw ShapeError(std::string(what) + ": lies on GPU " + std::to_string(tensor.device_index) +
                     ", the renderer on GPU " + std::to_string(self.device()));
  return values;
}

// The same on the host or any GPU: what is copied.
const float* anywhere(const Tensor& tensor, const char* what, std::initializer_list<int64_t> shape) {
  return checked<float>(tensor, what, shape, tensor.device);
}

std::unique_ptr<BoundRenderer> make_renderer(const std::vector<LevelTuple>& levels, int hidden, const Tensor& occupancy,
                                             const Tensor& aabb, int device) {
  const int cells = cells_a_side(occupancy);
  const auto* occupied = checked<uint8_t>(occupancy, "occupancy", {cells, cells, cells});
  const auto* box = checked<float>(aabb, "aabb", {2, 3});
  py::gil_scoped_release release;
  return std::make_unique<BoundRenderer>(grid_levels(levels), hidden, occupied, cells, box, device);
}

void load_table(BoundRenderer& self, const Tensor& table, uintptr_t stream) {
  const float* values = anywhere(table, "table", {self.n_entries(), 2});
  const Turn turn(self);
  self.load_table(values, stream);
}

void load_network(BoundRenderer& self, const Tensor& w1, const Tensor& w2, const Tensor& w3, const Tensor& b1,
                  const Tensor& b2, const Tensor& b3, uintptr_t stream) {
  const int64_t hidden = self.hidden();
  const float* weights[3] = {anywhere(w1, "weights[0]", {hidden, self.n_inputs()}),
                             anywhere(w2, "weights[1]", {hidden, hidden}), anywhere(w3, "weights[2]", {4, hidden})};
  const float* biases[3] = {anywhere(b1, "biases[0]", {hidden}), anywhere(b2, "biases[1]", {hidden}),
                            anywhere(b3, "biases[2]", {4})};
  const Turn turn(self);
  self.load_network(weights, biases, stream);
}

void load_constants(BoundRenderer& self, const Tensor& condition_mean, const Tensor& condition_std,
                    const Tensor& pose_mean, const Tensor& pose_std, const Tensor* condition_weight,
                    const Tensor& pose_weight, const Tensor& mixer_weight, const Tensor& head_follow,
                    const Tensor& torso_follow, const Tensor& neck, float step_m, const Tensor& base,
                    const Tensor& tables, uintptr_t stream) {
  const int64_t hidden = self.hidden(), entries = self.n_entries();
  if (!(step_m > 0.0f && std::isfinite(step_m))) throw ShapeError("step_m: expected a positive length");
  const float* blended = anywhere(tables, "tables", {kAny, entries, 2});
  check_count("the number of tables", tables.shape[0], 0, kMaxTables);
  FoldConstants constants;
  constants.n_blend = static_cast<int>(tables.shape[0]);
  constants.condition_mean = anywhere(condition_mean, "condition_mean", {kConditionDim});
  constants.condition_std = anywhere(condition_std, "condition_std", {kConditionDim});
  constants.pose_mean = anywhere(pose_mean, "pose_mean", {kHeadPoseDim});
  constants.pose_std = anywhere(pose_std, "pose_std", {kHeadPoseDim});
  if (condition_weight != nullptr)
    constants.condition_weight = anywhere(*condition_weight, "condition_weight", {hidden, kConditionDim});
  constants.pose_weight = anywhere(pose_weight, "pose_weight", {hidden, kHeadPoseDim});
  constants.mixer_weight = anywhere(mixer_weight, "mixer_weight", {constants.n_blend, kConditionDim});
  constants.head_follow = anywhere(head_follow, "head_follow", {kHeadPoseDim, kHeadPoseDim});
  constants.torso_follow = anywhere(torso_follow, "torso_follow", {kHeadPoseDim, kHeadPoseDim});
  constants.neck = anywhere(neck, "neck", {4});
  constants.step_m = step_m;
  const float* first = anywhere(base, "base", {entries, 2});
  const Turn turn(self);
  self.load_constants(constants, first, blended, stream);
}

void fold(BoundRenderer& self, const Tensor& condition, const Tensor& head_pose, uintptr_t stream) {
  const float* c = on_device(self, condition, "condition", {kConditionDim});
  const float* h = on_device(self, head_pose, "head_pose", {kHeadPoseDim});
  const Turn turn(self);
  self.fold(c, h, stream);
}

void place(BoundRenderer& self, const Tensor& head_to_camera, const Tensor& torso_to_camera, const Tensor& neck,
           const std::array<float, 3>& range, uintptr_t stream) {
  const Placement placement = read_placement(head_to_camera, torso_to_camera, neck, range);
  const Turn turn(self);
  self.place(placement, stream);
}

void render(BoundRenderer& self, const std::array<float, 3>& intrinsics, const Tensor& background,
            const OutTensor& image, const OutTensor* alpha, const OutTensor* depth, uintptr_t stream) {
  const PictureView view = read_view(image, intrinsics);
  const FrameBuffers buffers = read_buffers(background, image, alpha, depth, view, DeviceType::cuda);
  for (const Tensor* tensor : {&background, static_cast<const Tensor*>(&image), static_cast<const Tensor*>(alpha),
                               static_cast<const Tensor*>(depth)})
    if (tensor != nullptr && tensor->device_index != self.device())
      throw ShapeError("a picture lies on another GPU than the renderer");
  const Turn turn(self);
  self.render(view, buffers, stream);
}

std::tuple<uint64_t, uint64_t> counts(BoundRenderer& self, uintptr_t stream) {
  RenderedCounts found;
  {
    const Turn turn(self);
    found = self.counts(stream);
  }
  return {found.samples, found.lookups};
}

const Registration registration{[](py::module_& m) {
  py::class_<BoundRenderer>(m, "CudaFieldRenderer", "Renders frames of one folded field on a GPU, one launch a frame.")
      .def(py::init(&make_renderer), py::arg("levels"), py::arg("hidden"), py::arg("occupancy"), py::arg("aabb"),
           py::arg("device"))
      .def("load_table", &load_table, py::arg("table"), py::arg("stream"))
      .def("load_network", &load_network, py::arg("w1"), py::arg("w2"), py::arg("w3"), py::arg("b1"), py::arg("b2"),
           py::arg("b3"), py::arg("stream"))
      .def("load_constants", &load_constants, py::arg("condition_mean"), py::arg("condition_std"), py::arg("pose_mean"),
           py::arg("pose_std"), py::arg("condition_weight").none(true), py::arg("pose_weight"), py::arg("mixer_weight"),
           py::arg("head_follow"), py::arg("torso_follow"), py::arg("neck"), py::arg("step_m"), py::arg("base"),
           py::arg("tables"), py::arg("stream"), "What fold() needs of a conditional field.")
      .def("fold", &fold, py::arg("condition"), py::arg("head_pose"), py::arg("stream"),
           "Set what the next picture shows, from tensors on the GPU.")
      .def("place", &place, py::arg("head_to_camera"), py::arg("torso_to_camera"), py::arg("neck"),
           py::arg("near_far_step_m"), py::arg("stream"), "The same for a field folded elsewhere.")
      .def("render", &render, py::arg("focal_cx_cy"), py::arg("background"), py::arg("image"),
           py::arg("alpha").none(true), py::arg("depth").none(true), py::arg("stream"),
           "Renders into image, alpha and depth; returns before the GPU has done so.")
      .def("counts", &counts, py::arg("stream"),
           "Samples and occupancy lookups of the picture rendered last; waits for the stream.");
}};

}  // namespace
}  // namespace dfanerf
#endif
