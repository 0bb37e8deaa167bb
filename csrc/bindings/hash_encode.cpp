// Bindings of hash_encode.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <tuple>
#include <vector>

#include "bindings/dlpack.h"
#include "bindings/registry.h"
#include "cpu/field_checks.h"
#include "dfanerf/checks.h"
#include "dfanerf/hash_encode.h"

namespace py = pybind11;

namespace dfanerf {
namespace {

using Level = std::tuple<float, uint32_t, uint32_t, uint32_t, bool>;  // as ops.hash_encode.HashGridLevel

HashGrid make_grid(const std::vector<Level>& levels, int n_features) {
  if (n_features != 1 && n_features != 2 && n_features != 4 && n_features != 8)
    throw ShapeError("a hash grid has 1, 2, 4 or 8 features a level, found " + std::to_string(n_features));
  std::vector<GridLevel> all;
  for (const auto& [scale, resolution, n_entries, offset, hashed] : levels)
    all.push_back({scale, resolution, n_entries, offset, hashed});
  HashGrid grid;
  grid.n_entries = check_levels(all);
  grid.n_levels = static_cast<int>(all.size());
  grid.n_features = n_features;
  std::copy(all.begin(), all.end(), grid.levels);
  if (grid.n_entries * n_features > int64_t{1} << 31)  // lanes count features in 32 bits
    throw ShapeError("a hash grid of more than 2^31 features in all");
  return grid;
}

void forward(const HashGrid& grid, const Tensor& positions, const Tensor& table, const OutTensor& out, int n_threads,
             uintptr_t stream) {
  const DeviceType device = positions.device;
  const float* p = checked<const float>(positions, "positions", {kAny, 3}, device);
  const int64_t n = positions.shape[0];
  const float* t = checked<const float>(table, "table", {grid.n_entries, grid.n_features}, device);
  float* o = checked<float>(out, "out", {n, grid.n_output()}, device);
  check_apart({&out}, {&positions, &table});
  py::gil_scoped_release release;
  if (device == DeviceType::cpu) {
    cpu::hash_encode_forward(grid, p, n, t, o, n_threads);
    return;
  }
#ifdef DFANERF_WITH_CUDA
  cuda::hash_encode_forward(grid, p, n, t, o, stream);
#else
  static_cast<void>(stream);
  throw ShapeError("the tensors are on a GPU, but the native module was built without CUDA");
#endif
}

void backward(const HashGrid& grid, const Tensor& positions, const Tensor& table, const Tensor& grad_out,
              const OutTensor* grad_table, const OutTensor* grad_positions, int n_threads, uintptr_t stream) {
  const DeviceType device = positions.device;
  const float* p = checked<const float>(positions, "positions", {kAny, 3}, device);
  const int64_t n = positions.shape[0];
  const float* t = checked<const float>(table, "table", {grid.n_entries, grid.n_features}, device);
  const float* g = checked<const float>(grad_out, "grad_out", {n, grid.n_output()}, device);
  float* gt = grad_table == nullptr
                  ? nullptr
                  : checked<float>(*grad_table, "grad_table", {grid.n_entries, grid.n_features}, device);
  float* gp = grad_positions == nullptr ? nullptr : checked<float>(*grad_positions, "grad_positions", {n, 3}, device);
  check_apart({grad_table, grad_positions}, {&positions, &table, &grad_out});
  py::gil_scoped_release release;
  if (device == DeviceType::cpu) {
    cpu::hash_encode_backward(grid, p, n, t, g, gt, gp, n_threads);
    return;
  }
#ifdef DFANERF_WITH_CUDA
  cuda::hash_encode_backward(grid, p, n, t, g, gt, gp, stream);
#else
  static_cast<void>(stream);
  throw ShapeError("the tensors are on a GPU, but the native module was built without CUDA");
#endif
}

const Registration registration{[](py::module_& m) {
  py::class_<HashGrid>(m, "HashGrid", "Levels (scale, resolution, n_entries, offset, hashed) of a hash grid.")
      .def(py::init(&make_grid), py::arg("levels"), py::arg("n_features"));
  m.def("hash_encode_forward", &forward, py::arg("grid"), py::arg("positions"), py::arg("table"), py::arg("out"),
        py::arg("n_threads"), py::arg("stream") = 0, "Encode positions (N, 3) into out (N, L * F).");
  m.def("hash_encode_backward", &backward, py::arg("grid"), py::arg("positions"), py::arg("table"), py::arg("grad_out"),
        py::arg("grad_table").none(true), py::arg("grad_positions").none(true), py::arg("n_threads"),
        py::arg("stream") = 0, "Gradients of the encoding; None leaves one out.");
}};

}  // namespace
}  // namespace dfanerf
