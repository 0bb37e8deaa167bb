// Volume rendering along one ray, front to back (the compositing behind paper eq. 10).
#pragma once

#include <math.h>

#include <cstdint>

#include "math/lane_group.h"
#include "math/numbers.h"

namespace dfanerf {

constexpr float kStopTransmittance = 1e-3f;  // a ray stops after the sample that brought it below this

struct RaySum {
  float transmittance = 1.0f;
  float r = 0.0f, g = 0.0f, b = 0.0f;
  float depth = 0.0f;  // sum of weight * distance
};

// Samples of ray r are offsets[r] to offsets[r + 1] - 1, in order along the ray.
struct PackedRays {
  const int64_t* offsets;  // (n_rays + 1,)
  int64_t n_rays, n_samples;
  const float* sigma;  // (n_samples,) 1/m
  const float* rgb;    // (n_samples, 3)
  const float* t;      // (n_samples,) metres, increasing within a ray
  float step_m;
};

// What the rays add up to.
struct CompositedRays {
  float* colour;         // (n_rays, 3)
  float* transmittance;  // (n_rays,)
  float* distortion;     // (n_rays,)
  float* weights;        // (n_samples,)
};

// What the backward pass reads and writes.
struct CompositeGradients {
  const float *transmittance, *weights;      // as the forward pass wrote them
  const float *colour, *light, *distortion;  // (n_rays, 3), (n_rays,), (n_rays,): of the outputs
  float *sigma, *rgb;                        // (n_samples,), (n_samples, 3): written
};

}  // namespace dfanerf

namespace DFANERF_MATH_NAMESPACE {

// Adds a sample; passing = exp(-sigma * step). Returns whether the ray is now opaque.
DFANERF_HD bool add_sample(RaySum& sum, float passing, float r, float g, float b, float distance) {
  const float weight = sum.transmittance * (1.0f - passing);
  sum.r += weight * r;
  sum.g += weight * g;
  sum.b += weight * b;
  sum.depth += weight * distance;
  sum.transmittance *= passing;
  return sum.transmittance < kStopTransmittance;
}

// The samples of a ray. Offsets that point elsewhere are pulled into the samples, so that nothing else is touched.
DFANERF_HD void ray_samples(const PackedRays& rays, int64_t r, int64_t& first, int64_t& last) {
  first = rays.offsets[r] > 0 ? rays.offsets[r] : 0;
  last = rays.offsets[r + 1] < rays.n_samples ? rays.offsets[r + 1] : rays.n_samples;
}

// weight_i = T_i (1 - exp(-sigma_i step)); distortion sum_ij w_i w_j |m_i - m_j| + sum_i w_i^2 / 3 with m in steps
// (Barron et al. 2022, eq. 15).
template <typename Lanes>
DFANERF_HD void composite_ray(const PackedRays& rays, int64_t r, const CompositedRays& out, Lanes lanes) {
  int64_t first, last;
  ray_samples(rays, r, first, last);
  const float per_step = 1.0f / rays.step_m;
  float light = 1.0f, mass = 0.0f, moment = 0.0f;  // behind the samples so far
  float colour[3] = {}, spread = 0.0f;             // of this lane's samples
  for (int64_t base = first; base < last; base += Lanes::kSize) {
    const int64_t i = base + lanes.rank;
    const bool here = i < last;
    const float passed = here ? expf(-rays.sigma[i] * rays.step_m) : 1.0f;
    const float m = here ? (rays.t[i] - rays.t[first]) * per_step : 0.0f;
    const float w = running_product(lanes, light, passed) * (1.0f - passed);
    const float mass_before = running_sum(lanes, mass, w), moment_before = running_sum(lanes, moment, w * m);
    spread += 2.0f * w * (m * mass_before - moment_before) + w * w * (1.0f / 3.0f);
    if (here) {
      for (int c = 0; c < 3; ++c) colour[c] += w * rays.rgb[3 * i + c];
      out.weights[i] = w;
    }
  }
  for (float& c : colour) c = sum_of(lanes, c);
  spread = sum_of(lanes, spread);
  if (lanes.rank == 0) {
    for (int c = 0; c < 3; ++c) out.colour[3 * r + c] = colour[c];
    out.transmittance[r] = light;
    out.distortion[r] = spread;
  }
}

// From the last sample to the first: d(weight_j)/d(sigma_i) = -step weight_j for j behind i, and the same for the light
// that is left.
template <typename Lanes>
DFANERF_HD void composite_ray_backward(const PackedRays& rays, int64_t r, const CompositeGradients& grad, Lanes lanes) {
  int64_t first, last;
  ray_samples(rays, r, first, last);
  const float per_step = 1.0f / rays.step_m;
  const float left = grad.transmittance[r], of_distortion = grad.distortion[r];
  const float of_colour[3] = {grad.colour[3 * r], grad.colour[3 * r + 1], grad.colour[3 * r + 2]};
  float mass = 0.0f, moment = 0.0f;
  for (int64_t i = first + lanes.rank; i < last; i += Lanes::kSize) {
    mass += grad.weights[i];
    moment += grad.weights[i] * ((rays.t[i] - rays.t[first]) * per_step);
  }
  mass = sum_of(lanes, mass);
  moment = sum_of(lanes, moment);
  float behind = left * grad.light[r];  // gradient-weighted light that passes the samples so far
  float mass_behind = 0.0f, moment_behind = 0.0f;
  for (int64_t top = last; top > first; top -= Lanes::kSize) {
    const int64_t i = top - 1 - lanes.rank;
    const bool here = i >= first;
    const float w = here ? grad.weights[i] : 0.0f;
    const float m = here ? (rays.t[i] - rays.t[first]) * per_step : 0.0f;
    const float after = running_sum(lanes, mass_behind, w), moment_after = running_sum(lanes, moment_behind, w * m);
    const float before = mass - after - w, moment_before = moment - moment_after - w * m;
    const float slope = 2.0f * (m * (before - after) - moment_before + moment_after) + w * (2.0f / 3.0f);
    float value = of_distortion * slope;
    if (here)
      for (int c = 0; c < 3; ++c) value += of_colour[c] * rays.rgb[3 * i + c];
    const float value_behind = running_sum(lanes, behind, w * value);
    if (here) {
      grad.sigma[i] = rays.step_m * ((left + after) * value - value_behind);
      for (int c = 0; c < 3; ++c) grad.rgb[3 * i + c] = w * of_colour[c];
    }
  }
}

}  // namespace DFANERF_MATH_NAMESPACE
