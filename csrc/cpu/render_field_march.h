// From rays to packed samples: each ray hops through empty space to its next occupied sample.
#pragma once

#include "cpu/render_field_tile.h"

namespace dfanerf::cpu::DFANERF_SIMD_NAMESPACE {

// How far a group's rays reach into empty space together: a cone around them hops along its middle, as far as nothing
// is within its width. Writes the index of the first sample that may be occupied, kLanes groups at a time.
[[gnu::noinline]] static void reach_of_groups(const RenderJob& job, int column, int row, int32_t (&first)[kGroups]) {
  const RayFrame& frame = job.rays;
  for (int group = 0; group < kGroups; group += kLanes) {
    I low[2], high[2];
    for (int lane = 0; lane < kLanes; ++lane)
      for (int axis = 0; axis < 2; ++axis) {
        low[axis][lane] = unravel((group + lane) * kLanes, axis);
        high[axis][lane] = unravel((group + lane) * kLanes + kLanes - 1, axis);
      }
    F direction[3];
    direction_through(to_float(low[0] + high[0]) * 0.5f + (0.5f + column),
                      to_float(low[1] + high[1]) * 0.5f + (0.5f + row), job.focal_px, job.cx, job.cy, direction);
    const F wide = to_float(high[0] - low[0]), tall = to_float(high[1] - low[1]);
    // Directions of one length differ by less than the points in the picture do.
    const F radius = square_root(wide * wide + tall * tall) * (0.5f * frame.far_m / job.focal_px);
    const Ray ray = make_ray(frame, direction);
    const F scale = 0.999f / cone_stretch(frame, ray, radius);
    const I seen = mask(low[0] + column < job.width) & mask(low[1] + row < job.height);
    I index = select(seen, I{}, splat(int32_t{kDone}));
    for (I going = seen; bits(going);) {
      const F t = sample_distance(frame, index);
      F u[3], empty;
      ray_position(frame, ray, t, u);
      occupancy_lookup(job.skip, frame.extent, u, empty);
      const F far = minimum((empty * scale - radius) * (1.0f / frame.step_m), splat(1e6f));
      going = going & mask(far >= 1.0f);
      index = select(going, index + truncate(far), index);
      going = going & mask(index < job.n_steps);
    }
    store(first + group, index);
  }
}

// Puts every ray of the tile where it may first meet something; returns the groups that do.
[[gnu::noinline]] static int start_rays(const RenderJob& job, int column, int row, Tile& tile, int* places) {
  for (RaySum& sum : tile.sum) sum = RaySum{};
  int32_t first[kGroups];
  reach_of_groups(job, column, row, first);
  int n_places = 0;
  for (int base = 0; base < kTileRays; base += kLanes) {
    if (first[base / kLanes] >= job.n_steps) continue;
    places[n_places++] = base;
    I x, y, number;
    for (int lane = 0; lane < kLanes; ++lane) {
      x[lane] = column + unravel(base + lane, 0);
      y[lane] = row + unravel(base + lane, 1);
      number[lane] = base + lane;
    }
    F direction[3];
    direction_through(to_float(x) + 0.5f, to_float(y) + 0.5f, job.focal_px, job.cx, job.cy, direction);
    const Ray ray = make_ray(job.rays, direction);
    for (int axis = 0; axis < 3; ++axis) {
      store(tile.torso[axis] + base, ray.torso[axis]);
      store(tile.shift[axis] + base, ray.shift[axis]);
    }
    store(tile.neck + base, ray.neck);
    // A hair less than the bound, so that rounding never leaves a sample out.
    store(tile.hop + base, 0.999f / (ray_stretch(job.rays, ray) * job.rays.step_m));
    const I within = mask(x < job.width) & mask(y < job.height);
    store(tile.next + base, select(within, splat(first[base / kLanes]), splat(int32_t{kDone})));
    store(tile.ray_number + base, number);
  }
  return n_places;
}

// One step of kLanes rays: those at an occupied sample append it and move on, those in empty space hop. Returns how
// many samples were appended; `alive` says whether a ray has still some way to go.
DFANERF_HD int step_rays(const RenderJob& job, Tile& tile, int base, int n_samples, bool& alive) {
  const I index = load<I>(tile.next + base);
  const I within = mask(index < job.n_steps);
  Ray ray;
  for (int axis = 0; axis < 3; ++axis) {
    ray.torso[axis] = load<F>(tile.torso[axis] + base);
    ray.shift[axis] = load<F>(tile.shift[axis] + base);
  }
  ray.neck = load<F>(tile.neck + base);
  const F t = sample_distance(job.rays, index);
  F u[3], empty;
  ray_position(job.rays, ray, t, u);
  const I occupied = occupancy_lookup(job.skip, job.rays.extent, u, empty);
  // Nothing lies within `empty` metres: the first sample that far or farther is the next candidate.
  const F far = minimum(empty * load<F>(tile.hop + base), splat(1e6f));
  const I next = select(within, index + select(occupied, I{}, truncate(far)) + 1, index);
  store(tile.next + base, next);
  alive = bits(mask(next < job.n_steps)) != 0;
  const uint32_t found = bits(within & occupied);
  for (int axis = 0; axis < 3; ++axis) compress_store(tile.u[axis] + n_samples, found, u[axis]);
  compress_store(tile.distance + n_samples, found, t);
  compress_store(tile.ray + n_samples, found, load<I>(tile.ray_number + base));
  return __builtin_popcount(found);
}

// Lets all rays take steps in turn, at least one each, until kWanted samples are there or every ray has ended; returns
// how many there are. In turn, since one step is a long chain of instructions of which each waits for the one before.
[[gnu::noinline]] static int gather_samples(const RenderJob& job, Tile& tile, int n_samples, int* places, int& n_places,
                                            uint64_t& lookups) {
  do {
    int kept = 0;
    lookups += static_cast<uint64_t>(n_places) * kLanes;
    for (int i = 0; i < n_places; ++i) {
      const int base = places[i];
      bool alive;
      n_samples += step_rays(job, tile, base, n_samples, alive);
      places[kept] = base;
      kept += alive;
    }
    n_places = kept;
  } while (n_places && n_samples < kWanted);
  return n_samples;
}

}  // namespace dfanerf::cpu::DFANERF_SIMD_NAMESPACE
