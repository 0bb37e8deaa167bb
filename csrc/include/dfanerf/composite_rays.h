// Volume rendering of packed samples, forward and backward: see dfanerf_rt/ops/composite_rays.py for the definition.
#pragma once

#include <cstdint>

namespace dfanerf {

// Samples of ray r are offsets[r] to offsets[r + 1] - 1, in order along the ray.
struct PackedRays {
  const int64_t* offsets;  // (n_rays + 1,)
  int64_t n_rays;
  const float* sigma;  // (n,) 1/m
  const float* rgb;    // (n, 3)
  const float* t;      // (n,) metres, increasing within a ray
  float step_m;
};

namespace cpu {

// Writes colour (n_rays, 3), transmittance and distortion (n_rays,), and weights (n,).
void composite_rays_forward(const PackedRays& rays, float* colour, float* transmittance, float* distortion,
                            float* weights, int n_threads);

// Gradients with respect to sigma (n,) and rgb (n, 3), from those of colour, transmittance and distortion.
void composite_rays_backward(const PackedRays& rays, const float* transmittance, const float* weights,
                             const float* grad_colour, const float* grad_transmittance, const float* grad_distortion,
                             float* grad_sigma, float* grad_rgb, int n_threads);

}  // namespace cpu
}  // namespace dfanerf
