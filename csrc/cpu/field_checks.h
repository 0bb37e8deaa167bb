// What the renderers of both devices ask of a field, and how a placement becomes rays. Everything that decides where
// memory is read is checked here, before a renderer takes it.
#pragma once

#include <cmath>
#include <string>
#include <vector>

#include "dfanerf/render_field.h"
#include "dfanerf/thread_pool.h"
#include "math/fold.h"

namespace dfanerf {

constexpr int kMaxExtentPx = 8192;
constexpr int kMaxCells = 1024;                          // of the occupancy grid, along an axis
constexpr int64_t kMaxGridEntries = int64_t{1} << 30;    // lanes count entries in 32 bits, with a sign
constexpr uint32_t kMaxGridResolution = (1u << 20) + 1;  // positions in cells keep their fraction in float32

inline void check_finite(const float* values, int count, const char* what) {
  for (int i = 0; i < count; ++i)
    if (!std::isfinite(values[i]))
      throw ShapeError(std::string(what) + "[" + std::to_string(i) + "] is " + std::to_string(values[i]) +
                       ", expected a finite number");
}

inline void check_count(const char* what, int64_t found, int64_t low, int64_t high) {
  if (found < low || found > high)
    throw ShapeError(std::string(what) + " is " + std::to_string(found) + ", expected " + std::to_string(low) + " to " +
                     std::to_string(high));
}

// Whether every position in the unit cube finds its entries. Returns how many entries the levels have together.
inline int64_t check_levels(const std::vector<GridLevel>& levels) {
  check_count("the number of levels", static_cast<int64_t>(levels.size()), 1, kMaxGridLevels);
  int64_t n_entries = 0;
  for (std::size_t l = 0; l < levels.size(); ++l) {
    const GridLevel& level = levels[l];
    const auto fail = [&](const char* why) {
      throw ShapeError("level " + std::to_string(l) + " of the hash grid is inconsistent: " + why);
    };
    const uint64_t points = uint64_t{level.resolution} * level.resolution * level.resolution;
    if (level.n_entries == 0 || level.n_entries % 8) fail("its entries are not a multiple of 8");
    if (level.offset != n_entries) fail("its offset is not the number of entries before it");
    if (level.resolution < 2 || level.resolution > kMaxGridResolution) fail("its resolution is not 2 to 2^20");
    if (!(level.scale >= 0.0f && level.scale <= static_cast<float>(level.resolution - 1)))
      fail("its scale is not 0 to its resolution less one");
    if (level.hashed && (level.n_entries & (level.n_entries - 1))) fail("hashed, but no power of two of entries");
    if (!level.hashed && points > level.n_entries) fail("dense, but fewer entries than grid points");
    n_entries += level.n_entries;
    if (n_entries > kMaxGridEntries) fail("more than 2^30 entries");
  }
  return n_entries;
}

// aabb: (2, 3).
inline void check_box(const float* aabb) {
  check_finite(aabb, 6, "aabb");
  for (int axis = 0; axis < 3; ++axis)
    if (!(aabb[3 + axis] - aabb[axis] > 0.0f && std::isfinite(aabb[3 + axis] - aabb[axis])))
      throw ShapeError("aabb is empty along axis " + std::to_string(axis) +
                       ", expected its upper corner above the lower one");
}

// What a renderer is built of. Returns how many entries the table has.
inline int64_t check_field(const std::vector<GridLevel>& levels, const float* aabb, int resolution) {
  check_box(aabb);
  check_count("occupancy cells a side", resolution, 1, kMaxCells);
  return check_levels(levels);
}

inline void check_view(const PictureView& view) {
  check_count("picture width", view.width, 1, kMaxExtentPx);
  check_count("picture height", view.height, 1, kMaxExtentPx);
  if (!(std::isfinite(view.focal_px) && view.focal_px > 0.0f))
    throw ShapeError("focal_px is " + std::to_string(view.focal_px) + ", expected a positive number of pixels");
  const float centre[2] = {view.cx, view.cy};
  check_finite(centre, 2, "the picture's centre");
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
  const float range[3] = {placement.near_m, placement.far_m, placement.step_m};
  check_finite(range, 3, "near, far and step");
  if (!(range[0] >= 0.0f && range[0] < range[1] && range[2] > 0.0f))
    throw ShapeError("near " + std::to_string(range[0]) + " m, far " + std::to_string(range[1]) + " m, step " +
                     std::to_string(range[2]) + " m: expected 0 <= near < far and step > 0");
  const RayFrame rays = make_ray_frame(to_rigid(placement.head_to_camera), to_rigid(placement.torso_to_camera),
                                       placement.neck, aabb, placement.near_m, placement.far_m, placement.step_m);
  if (ray_steps(rays) == kMaxRaySteps)
    throw ShapeError("step " + std::to_string(range[2]) + " m gives more than " + std::to_string(kMaxRaySteps) +
                     " samples a ray");
  return rays;
}

}  // namespace dfanerf
