// Bindings of composite_rays.
#include <pybind11/pybind11.h>

#include "bindings/dlpack.h"
#include "bindings/registry.h"
#include "dfanerf/checks.h"
#include "dfanerf/composite_rays.h"

namespace py = pybind11;

namespace dfanerf {
namespace {

PackedRays packed(const Tensor& offsets, const Tensor& sigma, const Tensor& rgb, const Tensor& t, float step_m) {
  const DeviceType device = sigma.device;
  PackedRays rays;
  rays.offsets = checked<const int64_t>(offsets, "offsets", {kAny}, device);
  rays.n_rays = offsets.shape[0] - 1;
  if (rays.n_rays < 0) throw ShapeError("offsets is empty, expected one more than there are rays");
  rays.sigma = checked<const float>(sigma, "sigma", {kAny}, device);
  rays.n_samples = sigma.shape[0];
  rays.rgb = checked<const float>(rgb, "rgb", {rays.n_samples, 3}, device);
  rays.t = checked<const float>(t, "t", {rays.n_samples}, device);
  rays.step_m = step_m;
  if (!(step_m > 0.0f)) throw ShapeError("step_m is " + std::to_string(step_m) + ", expected a length in metres");
  if (device != DeviceType::cpu) return rays;  // looking at a GPU's offsets would wait for it; its kernels clamp them
  for (int64_t r = 0; r < rays.n_rays; ++r)
    if (rays.offsets[r] < 0 || rays.offsets[r + 1] < rays.offsets[r])
      throw ShapeError("offsets: must rise from 0 to the number of samples");
  if (rays.offsets[0] != 0 || rays.offsets[rays.n_rays] != rays.n_samples)
    throw ShapeError("offsets: the first one must be 0, and the last one the number of samples");
  return rays;
}

void forward(const Tensor& offsets, const Tensor& sigma, const Tensor& rgb, const Tensor& t, float step_m,
             const OutTensor& colour, const OutTensor& transmittance, const OutTensor& distortion,
             const OutTensor& weights, int n_threads, uintptr_t stream) {
  const PackedRays rays = packed(offsets, sigma, rgb, t, step_m);
  const DeviceType device = sigma.device;
  CompositedRays out;
  out.colour = checked<float>(colour, "colour", {rays.n_rays, 3}, device);
  out.transmittance = checked<float>(transmittance, "transmittance", {rays.n_rays}, device);
  out.distortion = checked<float>(distortion, "distortion", {rays.n_rays}, device);
  out.weights = checked<float>(weights, "weights", {rays.n_samples}, device);
  check_apart({&colour, &transmittance, &distortion, &weights}, {&offsets, &sigma, &rgb, &t});
  py::gil_scoped_release release;
  if (device == DeviceType::cpu) {
    cpu::composite_rays_forward(rays, out, n_threads);
    return;
  }
#ifdef DFANERF_WITH_CUDA
  cuda::composite_rays_forward(rays, out, stream);
#else
  static_cast<void>(stream);
  throw ShapeError("the tensors are on a GPU, but the native module was built without CUDA");
#endif
}

void backward(const Tensor& offsets, const Tensor& sigma, const Tensor& rgb, const Tensor& t, float step_m,
              const Tensor& transmittance, const Tensor& weights, const Tensor& grad_colour,
              const Tensor& grad_transmittance, const Tensor& grad_distortion, const OutTensor& grad_sigma,
              const OutTensor& grad_rgb, int n_threads, uintptr_t stream) {
  const PackedRays rays = packed(offsets, sigma, rgb, t, step_m);
  const DeviceType device = sigma.device;
  CompositeGradients grad;
  grad.transmittance = checked<const float>(transmittance, "transmittance", {rays.n_rays}, device);
  grad.weights = checked<const float>(weights, "weights", {rays.n_samples}, device);
  grad.colour = checked<const float>(grad_colour, "grad_colour", {rays.n_rays, 3}, device);
  grad.light = checked<const float>(grad_transmittance, "grad_transmittance", {rays.n_rays}, device);
  grad.distortion = checked<const float>(grad_distortion, "grad_distortion", {rays.n_rays}, device);
  grad.sigma = checked<float>(grad_sigma, "grad_sigma", {rays.n_samples}, device);
  grad.rgb = checked<float>(grad_rgb, "grad_rgb", {rays.n_samples, 3}, device);
  check_apart({&grad_sigma, &grad_rgb}, {&offsets, &sigma, &rgb, &t, &transmittance, &weights, &grad_colour,
                                         &grad_transmittance, &grad_distortion});
  py::gil_scoped_release release;
  if (device == DeviceType::cpu) {
    cpu::composite_rays_backward(rays, grad, n_threads);
    return;
  }
#ifdef DFANERF_WITH_CUDA
  cuda::composite_rays_backward(rays, grad, stream);
#else
  static_cast<void>(stream);
  throw ShapeError("the tensors are on a GPU, but the native module was built without CUDA");
#endif
}

const Registration registration{[](py::module_& m) {
  m.def("composite_rays_forward", &forward, py::arg("offsets"), py::arg("sigma"), py::arg("rgb"), py::arg("t"),
        py::arg("step_m"), py::arg("colour"), py::arg("transmittance"), py::arg("distortion"), py::arg("weights"),
        py::arg("n_threads"), py::arg("stream") = 0,
        "Colour, transmittance, distortion and weights of packed samples.");
  m.def("composite_rays_backward", &backward, py::arg("offsets"), py::arg("sigma"), py::arg("rgb"), py::arg("t"),
        py::arg("step_m"), py::arg("transmittance"), py::arg("weights"), py::arg("grad_colour"),
        py::arg("grad_transmittance"), py::arg("grad_distortion"), py::arg("grad_sigma"), py::arg("grad_rgb"),
        py::arg("n_threads"), py::arg("stream") = 0, "Gradients of sigma and rgb.");
}};

}  // namespace
}  // namespace dfanerf
