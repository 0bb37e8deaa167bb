// Bindings of condition_layer, which has kernels for CUDA alone.
#include <pybind11/pybind11.h>

#include <climits>

#include "bindings/dlpack.h"
#include "bindings/registry.h"
#include "dfanerf/checks.h"
#include "dfanerf/condition_layer.h"

namespace py = pybind11;

namespace dfanerf {
namespace {

ConditionLayer make_layer(const Tensor& features, const Tensor& rows, const Tensor& frame, const Tensor& weight) {
  constexpr DeviceType device = DeviceType::cuda;
  ConditionLayer layer;
  layer.features = checked<const float>(features, "features", {kAny, kAny}, device);
  layer.rows = checked<const float>(rows, "rows", {kAny, kAny}, device);
  layer.n = features.shape[0];
  const int64_t n_features = features.shape[1], n_frames = rows.shape[0], n_outputs = rows.shape[1];
  constexpr int64_t kMostBlocks = 65535, kMostWide = kMostBlocks * 32;  // blocks along y and z, 32 or 64 wide
  if (n_features > kMostWide || n_outputs > kMostWide || n_frames > INT_MAX)
    throw ShapeError("features, outputs or frames are more than " + std::to_string(kMostWide));
  if (layer.n > 0 && n_frames == 0) throw ShapeError("rows is empty, expected one row a frame");
  layer.n_features = static_cast<int>(n_features);
  layer.n_frames = static_cast<int>(n_frames);
  layer.n_outputs = static_cast<int>(n_outputs);
  layer.frame = checked<const int32_t>(frame, "frame", {layer.n}, device);
  layer.weight = checked<const float>(weight, "weight", {n_outputs, n_features}, device);
  return layer;
}

void forward(const Tensor& features, const Tensor& rows, const Tensor& frame, const Tensor& weight,
             const OutTensor& out, uintptr_t stream) {
  const ConditionLayer layer = make_layer(features, rows, frame, weight);
  float* o = checked<float>(out, "out", {layer.n, layer.n_outputs}, DeviceType::cuda);
  check_apart({&out}, {&features, &rows, &frame, &weight});
#ifdef DFANERF_WITH_CUDA
  py::gil_scoped_release release;
  cuda::condition_layer_forward(layer, o, stream);
#else
  static_cast<void>(stream), static_cast<void>(o);
  throw ShapeError("the tensors are on a GPU, but the native module was built without CUDA");
#endif
}

void backward(const Tensor& features, const Tensor& rows, const Tensor& frame, const Tensor& weight, const Tensor& out,
              const Tensor& grad_out, const OutTensor* grad_features, const OutTensor& grad_rows,
              const OutTensor& grad_weight, uintptr_t stream) {
  constexpr DeviceType device = DeviceType::cuda;
  const ConditionLayer layer = make_layer(features, rows, frame, weight);
  ConditionLayerGradients gradients;
  gradients.out = checked<const float>(out, "out", {layer.n, layer.n_outputs}, device);
  gradients.grad_out = checked<const float>(grad_out, "grad_out", {layer.n, layer.n_outputs}, device);
  if (grad_features != nullptr)
    gradients.features = checked<float>(*grad_features, "grad_features", {layer.n, layer.n_features}, device);
  gradients.rows = checked<float>(grad_rows, "grad_rows", {layer.n_frames, layer.n_outputs}, device);
  gradients.weight = checked<float>(grad_weight, "grad_weight", {layer.n_outputs, layer.n_features}, device);
  check_apart({grad_features, &grad_rows, &grad_weight}, {&features, &rows, &frame, &weight, &out, &grad_out});
#ifdef DFANERF_WITH_CUDA
  py::gil_scoped_release release;
  cuda::condition_layer_backward(layer, gradients, stream);
#else
  static_cast<void>(stream);
  throw ShapeError("the tensors are on a GPU, but the native module was built without CUDA");
#endif
}

const Registration registration{[](py::module_& m) {
  m.def("condition_layer_forward", &forward, py::arg("features"), py::arg("rows"), py::arg("frame"), py::arg("weight"),
        py::arg("out"), py::arg("stream"), "relu(features weight^T + rows[frame]) on a CUDA GPU.");
  m.def("condition_layer_backward", &backward, py::arg("features"), py::arg("rows"), py::arg("frame"),
        py::arg("weight"), py::arg("out"), py::arg("grad_out"), py::arg("grad_features").none(true),
        py::arg("grad_rows"), py::arg("grad_weight"), py::arg("stream"), "Its gradients; None leaves one out.");
}};

}  // namespace
}  // namespace dfanerf
