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

// One step of kLanes rays: those in empty space hop. Returns whether one of them has still to find its sample.
DFANERF_HD bool hop(const RenderJob& job, Tile& tile, int base) {
  const I index = load<I>(tile.next + base);
  const I alive = mask(index < job.n_steps);
  Ray ray;
  for (int axis = 0; axis < 3; ++axis) {
    ray.torso[axis] = load<F>(tile.torso[axis] + base);
    ray.shift[axis] = load<F>(tile.shift[axis] + base);
  }
  ray.neck = load<F>(tile.neck + base);
  const F t = mul_add(to_float(index) + 0.5f, splat(job.rays.step_m), splat(job.rays.near_m));
  F u[3], empty;
  ray_position(job.rays, ray, t, u);
  const I occupied = occupancy_lookup(job.skip, job.rays.extent, u, empty);
  // Nothing lies within `empty` metres: the first sample that far or farther is the next candidate.
  const F far = minimum(empty * load<F>(tile.hop + base), splat(1e6f));
  const I pending = alive & ~occupied;
  const I next = select(pending, index + truncate(far) + 1, index);
  store(tile.next + base, next);
  for (int axis = 0; axis < 3; ++axis) store(tile.at[axis] + base, u[axis]);
  store(tile.at[3] + base, t);
  tile.found[base / kLanes] = bits(alive & occupied);
  return bits(pending & mask(next < job.n_steps)) != 0;
}

// Appends the samples that kLanes rays stand at, and moves those rays on; returns how many.
DFANERF_HD int take(Tile& tile, int base, int n_samples) {
  const uint32_t found = tile.found[base / kLanes];
  store(tile.next + base, load<I>(tile.next + base) - lanes_of(found));  // a mask is -1
  for (int axis = 0; axis < 3; ++axis) compress_store(tile.u[axis] + n_samples, found, load<F>(tile.at[axis] + base));
  compress_store(tile.distance + n_samples, found, load<F>(tile.at[3] + base));
  compress_store(tile.ray + n_samples, found, load<I>(tile.ray_number + base));
  return __builtin_popcount(found);
}

// One round: at least one sample of every ray that has one, more where few rays are left. All rays take their steps in
// turn, since one step is a long chain of instructions of which each waits for the one before.
[[gnu::noinline]] static int gather_samples(const RenderJob& job, Tile& tile, int* places, int& n_places,
                                            uint64_t& lookups) {
  int n_samples = 0;
  int searching[kTileRays / kLanes];
  do {
    int n_searching = n_places;
    for (int i = 0; i < n_places; ++i) searching[i] = places[i];
    while (n_searching) {
      lookups += n_searching * kLanes;
      int kept = 0;
      for (int i = 0; i < n_searching; ++i) {
        const int base = searching[i];
        searching[kept] = base;
        kept += hop(job, tile, base);
      }
      n_searching = kept;
    }
    int kept = 0;
    for (int i = 0; i < n_places; ++i) {
      const int base = places[i];
      const int taken = take(tile, base, n_samples);
      n_samples += taken;
      places[kept] = base;
      kept += taken != 0;
    }
    n_places = kept;
  } while (n_places && n_samples < kWanted);
  return n_samples;
}

}  // namespace dfanerf::cpu::DFANERF_SIMD_NAMESPACE
