// Bindings of march_rays and composite_rays, the operators on rays that training needs.
#include <pybind11/pybind11.h>

#include "bindings/dlpack.h"
#include "bindings/registry.h"
#include "dfanerf/checks.h"
#include "dfanerf/composite_rays.h"
#include "dfanerf/march_rays.h"

namespace py = pybind11;

namespace dfanerf {
namespace {

int64_t march(const Tensor& head_origin, const Tensor& torso_origin, float neck_origin, const Tensor& head_slope,
              const Tensor& torso_slope, const Tensor& neck_slope, const Tensor& jitter, const Tensor& occupancy,
              float near_m, float step_m, int n_steps, const OutTensor& ray, const OutTensor& t,
              const OutTensor& offsets, int n_threads) {
  MarchSpace space;
  space.head_slope = checked<const float>(head_slope, "head_slope", {kAny, 3});
  const int64_t n = head_slope.shape[0];
  space.torso_slope = checked<const float>(torso_slope, "torso_slope", {n, 3});
  space.neck_slope = checked<const float>(neck_slope, "neck_slope", {n});
  space.neck_origin = neck_origin;
  const float* head = checked<const float>(head_origin, "head_origin", {3});
  const float* torso = checked<const float>(torso_origin, "torso_origin", {3});
  for (int axis = 0; axis < 3; ++axis) {
    space.head_origin[axis] = head[axis];
    space.torso_origin[axis] = torso[axis];
  }
  const float* shift = checked<const float>(jitter, "jitter", {n});
  const int64_t size = occupancy.ndim ? occupancy.shape[0] : 0;
  const uint8_t* cells = checked<const uint8_t>(occupancy, "occupancy", {size, size, size});
  if (size < 1 || size > 1024 || n_steps < 1) throw ShapeError("occupancy or n_steps is empty");
  int64_t* rays = checked<int64_t>(ray, "ray", {n * n_steps});
  float* ts = checked<float>(t, "t", {n * n_steps});
  int64_t* starts = checked<int64_t>(offsets, "offsets", {n + 1});
  py::gil_scoped_release release;
  return cpu::march_rays(space, shift, n, cells, static_cast<int>(size), near_m, step_m, n_steps, rays, ts, starts,
                         n_threads);
}

PackedRays packed(const Tensor& offsets, const Tensor& sigma, const Tensor& rgb, const Tensor& t, float step_m) {
  PackedRays rays;
  rays.offsets = checked<const int64_t>(offsets, "offsets", {kAny});
  rays.n_rays = offsets.shape[0] - 1;
  if (rays.n_rays < 0) throw ShapeError("offsets is empty, expected one more than there are rays");
  rays.sigma = checked<const float>(sigma, "sigma", {kAny});
  const int64_t n = sigma.shape[0];
  rays.rgb = checked<const float>(rgb, "rgb", {n, 3});
  rays.t = checked<const float>(t, "t", {n});
  rays.step_m = step_m;
  for (int64_t r = 0; r < rays.n_rays; ++r)
    if (rays.offsets[r] < 0 || rays.offsets[r + 1] < rays.offsets[r])
      throw ShapeError("offsets: must rise from 0 to the number of samples");
  if (rays.offsets[rays.n_rays] != n) throw ShapeError("offsets: the last one must be the number of samples");
  return rays;
}

void forward(const Tensor& offsets, const Tensor& sigma, const Tensor& rgb, const Tensor& t, float step_m,
             const OutTensor& colour, const OutTensor& transmittance, const OutTensor& distortion,
             const OutTensor& weights, int n_threads) {
  const PackedRays rays = packed(offsets, sigma, rgb, t, step_m);
  float* c = checked<float>(colour, "colour", {rays.n_rays, 3});
  float* l = checked<float>(transmittance, "transmittance", {rays.n_rays});
  float* d = checked<float>(distortion, "distortion", {rays.n_rays});
  float* w = checked<float>(weights, "weights", {sigma.shape[0]});
  py::gil_scoped_release release;
  cpu::composite_rays_forward(rays, c, l, d, w, n_threads);
}

void backward(const Tensor& offsets, const Tensor& sigma, const Tensor& rgb, const Tensor& t, float step_m,
              const Tensor& transmittance, const Tensor& weights, const Tensor& grad_colour,
              const Tensor& grad_transmittance, const Tensor& grad_distortion, const OutTensor& grad_sigma,
              const OutTensor& grad_rgb, int n_threads) {
  const PackedRays rays = packed(offsets, sigma, rgb, t, step_m);
  const int64_t n = sigma.shape[0];
  const float* l = checked<const float>(transmittance, "transmittance", {rays.n_rays});
  const float* w = checked<const float>(weights, "weights", {n});
  const float* gc = checked<const float>(grad_colour, "grad_colour", {rays.n_rays, 3});
  const float* gl = checked<const float>(grad_transmittance, "grad_transmittance", {rays.n_rays});
  const float* gd = checked<const float>(grad_distortion, "grad_distortion", {rays.n_rays});
  float* gs = checked<float>(grad_sigma, "grad_sigma", {n});
  float* gr = checked<float>(grad_rgb, "grad_rgb", {n, 3});
  py::gil_scoped_release release;
  cpu::composite_rays_backward(rays, l, w, gc, gl, gd, gs, gr, n_threads);
}

const Registration registration{[](py::module_& m) {
  m.def("march_rays", &march, "Samples of rays in occupied cells; returns how many.");
  m.def("composite_rays_forward", &forward, "Colour, transmittance, distortion and weights of packed samples.");
  m.def("composite_rays_backward", &backward, "Gradients of sigma and rgb.");
}};

}  // namespace
}  // namespace dfanerf
