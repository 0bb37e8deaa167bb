// Samples of rays in occupied space, on the CPU.
#include "dfanerf/march_rays.h"

#include <cmath>
#include <cstring>

#include "dfanerf/thread_pool.h"

namespace dfanerf::cpu {
namespace {

constexpr int64_t kRaysPerChunk = 64;
constexpr float kFar = 12.0f;  // beyond it the sigmoid is 0 or 1 to six digits

inline float head_share(float signed_distance) {
  if (signed_distance > kFar) return 1.0f;
  if (signed_distance < -kFar) return 0.0f;
  return 1.0f / (1.0f + std::exp(-signed_distance));
}

}  // namespace

int64_t march_rays(const MarchSpace& space, const float* jitter, int64_t n, const uint8_t* occupancy, int resolution,
                   float near_m, float step_m, int n_steps, int64_t* ray, float* t, int64_t* offsets, int n_threads) {
  const float size = static_cast<float>(resolution);
  // Every ray first writes into its own row, so that threads need not know of each other.
  parallel_for(n, kRaysPerChunk, n_threads, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const float* head = space.head_slope + 3 * r;
      const float* torso = space.torso_slope + 3 * r;
      float* row = t + r * n_steps;
      int64_t found = 0;
      for (int i = 0; i < n_steps; ++i) {
        const float at = near_m + (static_cast<float>(i) + jitter[r]) * step_m;
        const float w = head_share(space.neck_origin + at * space.neck_slope[r]);
        int64_t cell = 0;
        bool inside = true;
        for (int axis = 0; axis < 3; ++axis) {
          const float low = space.torso_origin[axis] + at * torso[axis];
          const float high = space.head_origin[axis] + at * head[axis];
          const float u = low + w * (high - low);
          inside &= u >= 0.0f && u < 1.0f;
          const int index = static_cast<int>(std::fmin(std::fmax(u * size, 0.0f), size - 0.5f));
          cell = cell * resolution + index;
        }
        if (inside && occupancy[cell]) row[found++] = at;
      }
      offsets[r + 1] = found;
    }
  });
  offsets[0] = 0;
  for (int64_t r = 0; r < n; ++r) {
    const int64_t count = offsets[r + 1], start = offsets[r];
    std::memmove(t + start, t + r * n_steps, static_cast<size_t>(count) * sizeof(float));
    for (int64_t i = start; i < start + count; ++i) ray[i] = r;
    offsets[r + 1] = start + count;
  }
  return offsets[n];
}

}  // namespace dfanerf::cpu
