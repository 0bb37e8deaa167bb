// Which of the samples of a training ray lie in occupied cells: a bit a sample, 32 to a word, so that counting them and
// writing them out one ray after another are two passes over a few words.
#pragma once

#include <cstdint>

#include "math/occupancy.h"
#include "math/ray.h"

namespace dfanerf {

constexpr int kStepsPerWord = 32;

// Rays of one frame. Sample i of ray r lies at near + (i + jitter[r]) step, i < n_steps; where that is in the field's
// unit cube see math/ray.h. All pointers are of the side that marches.
struct RayMarch {
  const float* head_origin = nullptr;   // (3,) u of the camera's centre by the head's frame
  const float* torso_origin = nullptr;  // (3,) and by the torso's
  const float* neck_origin = nullptr;   // (1,)
  const float* head_slope = nullptr;    // (n, 3) du/dt by the head's frame
  const float* torso_slope = nullptr;   // (n, 3)
  const float* neck_slope = nullptr;    // (n,)
  const float* jitter = nullptr;        // (n,)
  int64_t n = 0;
  const uint8_t* cells = nullptr;  // (R, R, R) by ix, iy, iz; 0 is empty
  int resolution = 0;
  float near_m = 0.0f, step_m = 0.0f;
  int n_steps = 0;
  int words = 0;  // ceil(n_steps / kStepsPerWord)
};

// The second pass: what the first one found, and where the samples go.
struct MarchedRays {
  const uint32_t* hits = nullptr;    // (n, words)
  const int64_t* offsets = nullptr;  // (n + 1,) running sum of the hits
  int64_t n_samples = 0;             // room in ray and t
  int64_t* ray = nullptr;
  float* t = nullptr;
};

}  // namespace dfanerf

namespace DFANERF_MATH_NAMESPACE {

// The part of a RayFrame that ray_position reads.
DFANERF_HD RayFrame march_frame(const RayMarch& march) {
  RayFrame frame = {};
  for (int axis = 0; axis < 3; ++axis) {
    frame.torso_origin[axis] = march.torso_origin[axis];
    frame.shift_origin[axis] = march.head_origin[axis] - march.torso_origin[axis];
  }
  frame.neck_origin = march.neck_origin[0];
  frame.rigid = false;
  return frame;
}

DFANERF_HD Ray march_ray(const RayMarch& march, int64_t r) {
  Ray ray;
  for (int axis = 0; axis < 3; ++axis) {
    const float head = march.head_slope[3 * r + axis], torso = march.torso_slope[3 * r + axis];
    ray.torso[axis] = splat(torso);
    ray.shift[axis] = splat(head - torso);
  }
  ray.neck = splat(march.neck_slope[r]);
  return ray;
}

// Distance of a sample whose number is `step`.
DFANERF_HD F march_distance(const RayMarch& march, F step, float jitter) {
  return march.near_m + (step + jitter) * march.step_m;
}

// The mask of those samples `step` of a ray that exist and lie in occupied cells.
DFANERF_HD I march_hits(const RayMarch& march, const RayFrame& frame, const Ray& ray, float jitter, I step) {
  F u[3];
  ray_position(frame, ray, march_distance(march, to_float(step), jitter), u);
  const float size = static_cast<float>(march.resolution);
  I index{};
  I inside = mask(step < march.n_steps);
  for (int axis = 0; axis < 3; ++axis) {
    inside = inside & mask(u[axis] >= 0.0f) & mask(u[axis] < 1.0f);
    const F cell = minimum(maximum(u[axis] * size, splat(0.0f)), splat(size - 0.5f));  // 0 where it is no number
    index = index * march.resolution + truncate(cell);
  }
  return inside & mask(gather_whole_bytes(march.cells, index) != 0);
}

#if !defined(DFANERF_SIMD_NAMESPACE)
// Writes sample `step` of ray r to place `at` of the packed samples.
DFANERF_HD void march_store(const RayMarch& march, const MarchedRays& out, int64_t r, int step, int64_t at) {
  if (at < 0 || at >= out.n_samples) return;  // offsets that do not belong to these hits
  out.ray[at] = r;
  out.t[at] = march_distance(march, static_cast<float>(step), march.jitter[r]);
}

// A warp takes a ray, a lane a step.

template <typename Lanes>
DFANERF_HD void march_count_ray(const RayMarch& march, int64_t r, uint32_t* hits, int64_t* counts, Lanes lanes) {
  const RayFrame frame = march_frame(march);
  const Ray ray = march_ray(march, r);
  const int words = march.words;
  int64_t found = 0;
  for (int w = 0; w < words; ++w) {
    const int step = w * kStepsPerWord + lanes.rank;
    const uint32_t word = vote(lanes, march_hits(march, frame, ray, march.jitter[r], step) != 0);
    if (lanes.rank == 0) hits[r * words + w] = word;
    found += population(word);
  }
  if (lanes.rank == 0) counts[r] = found;
}

template <typename Lanes>
DFANERF_HD void march_write_ray(const RayMarch& march, int64_t r, const MarchedRays& out, Lanes lanes) {
  const int words = march.words;
  int64_t at = out.offsets[r];
  for (int w = 0; w < words; ++w) {
    const uint32_t word = out.hits[r * words + w];
    if (word >> lanes.rank & 1u)
      march_store(march, out, r, w * kStepsPerWord + lanes.rank, at + population(word & ((1u << lanes.rank) - 1u)));
    at += population(word);
  }
}
#endif

}  // namespace DFANERF_MATH_NAMESPACE
