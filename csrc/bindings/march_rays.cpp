// Bindings of march_rays: two passes, between which the caller makes room.
#include <pybind11/pybind11.h>

#include "bindings/dlpack.h"
#include "bindings/registry.h"
#include "dfanerf/checks.h"
#include "dfanerf/march_rays.h"

namespace py = pybind11;

namespace dfanerf {
namespace {

constexpr int kMaxSteps = 1 << 16;
constexpr int kMaxResolution = 1024;

RayMarch make_march(const Tensor& jitter, float near_m, float step_m, int n_steps) {
  RayMarch march;
  march.jitter = checked<const float>(jitter, "jitter", {kAny}, jitter.device);
  march.n = jitter.shape[0];
  if (n_steps < 1 || n_steps > kMaxSteps)
    throw ShapeError("n_steps is " + std::to_string(n_steps) + ", expected 1 to " + std::to_string(kMaxSteps));
  march.n_steps = n_steps;
  march.words = (n_steps + kStepsPerWord - 1) / kStepsPerWord;
  march.near_m = near_m;
  march.step_m = step_m;
  return march;
}

const uint32_t* words(const TensorView& hits, const RayMarch& march, DeviceType device) {
  return reinterpret_cast<uint32_t*>(checked<int32_t>(hits, "hits", {march.n, march.words}, device));
}

void count(const Tensor& head_origin, const Tensor& torso_origin, const Tensor& neck_origin, const Tensor& head_slope,
           const Tensor& torso_slope, const Tensor& neck_slope, const Tensor& jitter, const Tensor& occupancy,
           float near_m, float step_m, int n_steps, const OutTensor& hits, const OutTensor& counts, int n_threads,
           uintptr_t stream) {
  const DeviceType device = jitter.device;
  RayMarch march = make_march(jitter, near_m, step_m, n_steps);
  march.head_origin = checked<const float>(head_origin, "head_origin", {3}, device);
  march.torso_origin = checked<const float>(torso_origin, "torso_origin", {3}, device);
  march.neck_origin = checked<const float>(neck_origin, "neck_origin", {}, device);
  march.head_slope = checked<const float>(head_slope, "head_slope", {march.n, 3}, device);
  march.torso_slope = checked<const float>(torso_slope, "torso_slope", {march.n, 3}, device);
  march.neck_slope = checked<const float>(neck_slope, "neck_slope", {march.n}, device);
  const int64_t size = occupancy.ndim ? occupancy.shape[0] : 0;
  march.cells = checked<const uint8_t>(occupancy, "occupancy", {size, size, size}, device);
  if (size < 1 || size > kMaxResolution)
    throw ShapeError("occupancy has " + std::to_string(size) + " cells a side, expected 1 to " +
                     std::to_string(kMaxResolution));
  march.resolution = static_cast<int>(size);
  auto* found = const_cast<uint32_t*>(words(hits, march, device));
  int64_t* sums = checked<int64_t>(counts, "counts", {march.n}, device);
  check_apart({&hits, &counts},
              {&head_origin, &torso_origin, &neck_origin, &head_slope, &torso_slope, &neck_slope, &jitter, &occupancy});
  py::gil_scoped_release release;
  if (device == DeviceType::cpu) {
    cpu::march_rays_count(march, found, sums, n_threads);
    return;
  }
#ifdef DFANERF_WITH_CUDA
  cuda::march_rays_count(march, found, sums, stream);
#else
  static_cast<void>(stream);
  throw ShapeError("the tensors are on a GPU, but the native module was built without CUDA");
#endif
}

void write(const Tensor& jitter, float near_m, float step_m, int n_steps, const Tensor& hits, const Tensor& offsets,
           const OutTensor& ray, const OutTensor& t, int n_threads, uintptr_t stream) {
  const DeviceType device = jitter.device;
  const RayMarch march = make_march(jitter, near_m, step_m, n_steps);
  MarchedRays out;
  out.hits = words(hits, march, device);
  out.offsets = checked<const int64_t>(offsets, "offsets", {march.n + 1}, device);
  out.t = checked<float>(t, "t", {kAny}, device);
  out.n_samples = t.shape[0];
  out.ray = checked<int64_t>(ray, "ray", {out.n_samples}, device);
  check_apart({&ray, &t}, {&jitter, &hits, &offsets});
  py::gil_scoped_release release;
  if (device == DeviceType::cpu) {
    cpu::march_rays_write(march, out, n_threads);
    return;
  }
#ifdef DFANERF_WITH_CUDA
  cuda::march_rays_write(march, out, stream);
#else
  static_cast<void>(stream);
  throw ShapeError("the tensors are on a GPU, but the native module was built without CUDA");
#endif
}

const Registration registration{[](py::module_& m) {
  m.def("march_rays_count", &count, py::arg("head_origin"), py::arg("torso_origin"), py::arg("neck_origin"),
        py::arg("head_slope"), py::arg("torso_slope"), py::arg("neck_slope"), py::arg("jitter"), py::arg("occupancy"),
        py::arg("near_m"), py::arg("step_m"), py::arg("n_steps"), py::arg("hits"), py::arg("counts"),
        py::arg("n_threads"), py::arg("stream") = 0, "Which samples of each ray lie in occupied cells, and how many.");
  m.def("march_rays_write", &write, py::arg("jitter"), py::arg("near_m"), py::arg("step_m"), py::arg("n_steps"),
        py::arg("hits"), py::arg("offsets"), py::arg("ray"), py::arg("t"), py::arg("n_threads"), py::arg("stream") = 0,
        "Write the samples that march_rays_count found, one ray after another.");
}};

}  // namespace
}  // namespace dfanerf
