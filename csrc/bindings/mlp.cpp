// Bindings of mlp.
#include "dfanerf/mlp.h"

#include <pybind11/pybind11.h>

#include "bindings/dlpack.h"
#include "bindings/registry.h"
#include "dfanerf/checks.h"

namespace py = pybind11;

namespace dfanerf {
namespace {

constexpr int64_t kMostWidth = 1024;

MlpLayers layers_of(const Tensor& features, const Tensor& w1, const Tensor& b1, const Tensor& w2, const Tensor& b2,
                    const Tensor& w3, const Tensor& b3) {
  checked<const float>(features, "features", {kAny, kAny});
  checked<const float>(w1, "w1", {kAny, features.shape[1]});
  const int64_t n_in = features.shape[1], hidden = w1.shape[0];
  checked<const float>(w3, "w3", {kAny, hidden});
  const int64_t n_out = w3.shape[0];
  for (const int64_t width : {n_in, hidden, n_out})
    if (width < 1 || width > kMostWidth)
      throw ShapeError("a layer is " + std::to_string(width) + " wide, expected 1 to " + std::to_string(kMostWidth));
  MlpLayers layers;
  layers.n_in = static_cast<int>(n_in);
  layers.hidden = static_cast<int>(hidden);
  layers.n_out = static_cast<int>(n_out);
  layers.w1 = w1.as<const float>();
  layers.b1 = checked<const float>(b1, "b1", {hidden});
  layers.w2 = checked<const float>(w2, "w2", {hidden, hidden});
  layers.b2 = checked<const float>(b2, "b2", {hidden});
  layers.w3 = w3.as<const float>();
  layers.b3 = checked<const float>(b3, "b3", {n_out});
  return layers;
}

void forward(const Tensor& features, const Tensor& w1, const Tensor& b1, const Tensor& w2, const Tensor& b2,
             const Tensor& w3, const Tensor& b3, const OutTensor& out, int n_threads) {
  const MlpLayers layers = layers_of(features, w1, b1, w2, b2, w3, b3);
  const int64_t n = features.shape[0];
  float* o = checked<float>(out, "out", {n, layers.n_out});
  check_apart({&out}, {&features, &w1, &b1, &w2, &b2, &w3, &b3});
  py::gil_scoped_release release;
  cpu::mlp_forward(layers, features.as<const float>(), n, o, n_threads);
}

void backward(const Tensor& features, const Tensor& w1, const Tensor& b1, const Tensor& w2, const Tensor& b2,
              const Tensor& w3, const Tensor& b3, const Tensor& grad_out, const OutTensor* grad_features,
              const OutTensor& grad_w1, const OutTensor& grad_b1, const OutTensor& grad_w2, const OutTensor& grad_b2,
              const OutTensor& grad_w3, const OutTensor& grad_b3, int n_threads) {
  const MlpLayers m = layers_of(features, w1, b1, w2, b2, w3, b3);
  const int64_t n = features.shape[0];
  const float* g = checked<const float>(grad_out, "grad_out", {n, m.n_out});
  MlpGradients grad;
  if (grad_features != nullptr) grad.features = checked<float>(*grad_features, "grad_features", {n, m.n_in});
  grad.w1 = checked<float>(grad_w1, "grad_w1", {m.hidden, m.n_in});
  grad.b1 = checked<float>(grad_b1, "grad_b1", {m.hidden});
  grad.w2 = checked<float>(grad_w2, "grad_w2", {m.hidden, m.hidden});
  grad.b2 = checked<float>(grad_b2, "grad_b2", {m.hidden});
  grad.w3 = checked<float>(grad_w3, "grad_w3", {m.n_out, m.hidden});
  grad.b3 = checked<float>(grad_b3, "grad_b3", {m.n_out});
  check_apart({grad_features, &grad_w1, &grad_b1, &grad_w2, &grad_b2, &grad_w3, &grad_b3},
              {&features, &w1, &b1, &w2, &b2, &w3, &b3, &grad_out});
  py::gil_scoped_release release;
  cpu::mlp_backward(m, features.as<const float>(), n, g, grad, n_threads);
}

const Registration registration{[](py::module_& m) {
  m.def("mlp_forward", &forward, py::arg("features"), py::arg("w1"), py::arg("b1"), py::arg("w2"), py::arg("b2"),
        py::arg("w3"), py::arg("b3"), py::arg("out"), py::arg("n_threads"),
        "Two hidden layers with ReLU on features (N, D) into out (N, O).");
  m.def("mlp_backward", &backward, py::arg("features"), py::arg("w1"), py::arg("b1"), py::arg("w2"), py::arg("b2"),
        py::arg("w3"), py::arg("b3"), py::arg("grad_out"), py::arg("grad_features").none(true), py::arg("grad_w1"),
        py::arg("grad_b1"), py::arg("grad_w2"), py::arg("grad_b2"), py::arg("grad_w3"), py::arg("grad_b3"),
        py::arg("n_threads"), "Gradients of the network; None leaves those of the features out.");
}};

}  // namespace
}  // namespace dfanerf
