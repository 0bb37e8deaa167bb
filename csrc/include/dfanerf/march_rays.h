// Samples of rays in occupied space: see dfanerf_rt/ops/march_rays.py for the definition.
#pragma once

#include <cstdint>

namespace dfanerf {

// Positions along a ray in the field's unit cube: u(t) = torso + w (head - torso), w = sigmoid(n . head), all affine
// in t. One row of coefficients a ray.
struct MarchSpace {
  float head_origin[3], torso_origin[3];  // u of the camera's centre, by either frame
  const float* head_slope;                // (n, 3) du/dt by the head's frame
  const float* torso_slope;               // (n, 3)
  float neck_origin;
  const float* neck_slope;  // (n,)
};

namespace cpu {

// Sample i of a ray lies at near + (i + jitter) step, i < n_steps. Samples in occupied cells of `occupancy`
// (R, R, R) are written one ray after another: `ray` and `t` have room for n * n_steps, `offsets` for n + 1.
// Returns how many there are.
int64_t march_rays(const MarchSpace& space, const float* jitter, int64_t n, const uint8_t* occupancy, int resolution,
                   float near_m, float step_m, int n_steps, int64_t* ray, float* t, int64_t* offsets, int n_threads);

}  // namespace cpu
}  // namespace dfanerf
