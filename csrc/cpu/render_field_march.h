// From rays to packed samples: each ray hops through empty space to its next occupied sample.
#pragma once

#include "cpu/render_field_tile.h"

namespace dfanerf::cpu::DFANERF_SIMD_NAMESPACE {

[[gnu::noinline]] static void start_rays(const RenderJob& job, int column, int row, Tile& tile) {
  for (int base = 0; base < kTileRays; base += kLanes) {
    I x, y, number;
    for (int lane = 0; lane < kLanes; ++lane) {
      x[lane] = column + unravel(base + lane, 0);
      y[lane] = row + unravel(base + lane, 1);
      number[lane] = base + lane;
    }
    F direction[3] = {(to_float(x) + (0.5f - job.cx)) / job.focal_px, (to_float(y) + (0.5f - job.cy)) / job.focal_px,
                      splat(1.0f)};
    const F length = square_root(mul_add(direction[0], direction[0], mul_add(direction[1], direction[1], splat(1.0f))));
    for (F& component : direction) component /= length;
    const Ray ray = make_ray(job.rays, direction);
    for (int axis = 0; axis < 3; ++axis) {
      store(tile.torso[axis] + base, ray.torso[axis]);
      store(tile.shift[axis] + base, ray.shift[axis]);
    }
    store(tile.neck + base, ray.neck);
    // A hair less than the bound, so that rounding never leaves a sample out.
    store(tile.hop + base, 0.999f / (ray_stretch(job.rays, ray) * job.rays.step_m));
    const I within = mask(x < job.width) & mask(y < job.height);
    store(tile.next + base, select(within, I{}, splat(int32_t{kDone})));
    store(tile.ray_number + base, number);
  }
  for (RaySum& sum : tile.sum) sum = RaySum{};
}

// Moves kLanes rays to their next occupied sample and appends those samples; returns how many.
DFANERF_HD int march(const RenderJob& job, Tile& tile, int base, int n_samples, uint64_t& lookups) {
  I index = load<I>(tile.next + base);
  I alive = mask(index < job.n_steps);
  if (!bits(alive)) return 0;
  Ray ray;
  for (int axis = 0; axis < 3; ++axis) {
    ray.torso[axis] = load<F>(tile.torso[axis] + base);
    ray.shift[axis] = load<F>(tile.shift[axis] + base);
  }
  ray.neck = load<F>(tile.neck + base);
  const F hop = load<F>(tile.hop + base);
  F t, u[3];
  for (;;) {
    t = mul_add(to_float(index) + 0.5f, splat(job.rays.step_m), splat(job.rays.near_m));
    ray_position(job.rays, ray, t, u);
    F empty;
    const I occupied = occupancy_lookup(job.skip, job.rays.extent, u, empty);
    lookups += kLanes;
    const I pending = alive & ~occupied;
    if (!bits(pending)) break;
    // Nothing lies within `empty` metres: the first sample that far or farther is the next candidate.
    index = select(pending, index + truncate(minimum(empty * hop, splat(1e6f))) + 1, index);
    alive = alive & mask(index < job.n_steps);
  }
  store(tile.next + base, select(alive, index + 1, splat(int32_t{kDone})));
  const uint32_t found = bits(alive);
  for (int axis = 0; axis < 3; ++axis) compress_store(tile.u[axis] + n_samples, found, u[axis]);
  compress_store(tile.distance + n_samples, found, t);
  compress_store(tile.ray + n_samples, found, load<I>(tile.ray_number + base));
  return __builtin_popcount(found);
}

// One round: at least one sample of every ray that has one, more where few rays are left.
[[gnu::noinline]] static int gather_samples(const RenderJob& job, Tile& tile, int* places, int& n_places,
                                            uint64_t& lookups) {
  int n_samples = 0;
  do {
    int kept = 0;
    for (int i = 0; i < n_places; ++i) {
      const int found = march(job, tile, places[i], n_samples, lookups);
      n_samples += found;
      if (found) places[kept++] = places[i];
    }
    n_places = kept;
  } while (n_places && n_samples < kWanted);
  return n_samples;
}

}  // namespace dfanerf::cpu::DFANERF_SIMD_NAMESPACE
