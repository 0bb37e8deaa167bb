// What the renderers of both devices ask of a field, and how a placement becomes rays.
#pragma once

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "dfanerf/render_field.h"
#include "math/fold.h"

namespace dfanerf {

// Returns how many entries the table of these levels has.
inline int64_t check_levels(const std::vector<GridLevel>& levels) {
  if (levels.empty() || levels.size() > kMaxGridLevels) throw ShapeError("n_levels: expected 1 to 32");
  int64_t n_entries = 0;
  for (const GridLevel& level : levels) {
    if (level.n_entries % 8) throw ShapeError("a level's entries are not a multiple of 8");
    if (level.hashed && (level.n_entries & (level.n_entries - 1)))
      throw ShapeError("a hashed level's entries are not a power of two");
    n_entries = std::max<int64_t>(n_entries, int64_t{level.offset} + level.n_entries);
  }
  return n_entries;
}

inline void check_finite(const float* values, int count, const char* what) {
  for (int i = 0; i < count; ++i)
    if (!std::isfinite(values[i]))
      throw ShapeError(std::string(what) + "[" + std::to_string(i) + "] is " + std::to_string(values[i]) +
                       ", expected a finite number");
}

// pose: (3, 4) [R | t].
inline RigidPose to_rigid(const float* pose) {
  RigidPose found;
  for (int a = 0; a < 3; ++a) {
    for (int k = 0; k < 3; ++k) found.rotation[a][k] = pose[4 * a + k];
    found.translation[a] = pose[4 * a + 3];
  }
  return found;
}

inline RayFrame placed_rays(const Placement& placement, const float* aabb) {
  check_finite(placement.head_to_camera, 12, "head_to_camera");
  check_finite(placement.torso_to_camera, 12, "torso_to_camera");
  check_finite(placement.neck, 4, "neck");
  return make_ray_frame(to_rigid(placement.head_to_camera), to_rigid(placement.torso_to_camera), placement.neck, aabb,
                        placement.near_m, placement.far_m, placement.step_m);
}

}  // namespace dfanerf
