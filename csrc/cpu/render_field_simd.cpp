// Rendering of tiles, compiled once a SIMD variant.
//
// A tile's rays lie in Z-order, so that neighbouring lanes are neighbouring pixels. Round after round, every ray that is
// still transparent hops through empty space to its next occupied sample; the samples of all rays are packed without
// gaps, go through encoding and network a batch at a time, and are composited in order. Rays that became opaque drop
// out, so hardly a sample is evaluated that no ray needs.
#include "cpu/mlp.h"
#include "cpu/render_field_encode.h"
#include "cpu/render_field_job.h"

namespace dfanerf::cpu::DFANERF_SIMD_NAMESPACE {

constexpr int kVectors = kLanes == 16 ? 4 : 2;  // vectors a batch: as many sums in flight as there are registers for
constexpr int kBatch = kVectors * kLanes;      // samples a batch
constexpr int kCapacity = 2 * kTileRays;       // samples a round
constexpr int kWanted = 2 * kBatch;            // a round with fewer samples looks further along its rays
constexpr int kDone = 1 << 30;               // index of a ray that has ended

struct alignas(64) Tile {
  // Rays, in Z-order.
  float torso[3][kTileRays], shift[3][kTileRays], neck[kTileRays];
  float hop[kTileRays];   // samples a metre of empty space that a ray may leave out
  int32_t next[kTileRays];  // index of the next sample; kDone for a ray that has ended
  int32_t ray_number[kTileRays];
  RaySum sum[kTileRays];
  // Samples of a round.
  float u[3][kCapacity + kBatch], distance[kCapacity + kBatch];
  int32_t ray[kCapacity + kBatch];
  // Of a batch.
  float input[2 * kMaxLevels * kBatch], hidden[2][kMaxHidden * kBatch];
  float passing[kBatch], r[kBatch], g[kBatch], b[kBatch];
};

// Column (axis 0) or row (axis 1) within the tile of the ray at a place in Z-order.
DFANERF_HD int unravel(int place, int axis) {
  int found = 0;
  for (int bit = 0; bit < 4; ++bit) found |= (place >> (2 * bit + axis) & 1) << bit;
  return found;
}

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
[[gnu::noinline]] static int gather_samples(const RenderJob& job, Tile& tile, int* places, int& n_places, uint64_t& lookups) {
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

#if defined(__AVX512BF16__)
DFANERF_HD void network(const RenderJob& job, Tile& tile, const uint32_t*, F (&raw)[kOutputs][kVectors]) {
  auto* input = reinterpret_cast<uint32_t*>(tile.input);
  uint32_t* hidden[2] = {reinterpret_cast<uint32_t*>(tile.hidden[0]), reinterpret_cast<uint32_t*>(tile.hidden[1])};
  const int pairs = job.hidden / 2;
  dense_relu<kVectors>(job.weights_bf16[0], job.biases[0], input, hidden[0], job.n_levels, job.hidden, kBatch);
  dense_relu<kVectors>(job.weights_bf16[1], job.biases[1], hidden[0], hidden[1], pairs, job.hidden, kBatch);
  dense_block<kVectors>(job.weights_bf16[2], job.biases[2], hidden[1], pairs, kBatch, raw);
}
#endif

DFANERF_HD void network(const RenderJob& job, Tile& tile, const float*, F (&raw)[kOutputs][kVectors]) {
  const int inputs = 2 * job.n_levels;
  dense_relu<kVectors>(job.weights[0], job.biases[0], tile.input, tile.hidden[0], inputs, job.hidden, kBatch);
  dense_relu<kVectors>(job.weights[1], job.biases[1], tile.hidden[0], tile.hidden[1], job.hidden, job.hidden, kBatch);
  dense_block<kVectors>(job.weights[2], job.biases[2], tile.hidden[1], job.hidden, kBatch, raw);
}

// Encodes the batch of samples from `first` on, level by level.
[[gnu::noinline]] static void encode(const RenderJob& job, Tile& tile, int first) {
  for (int l = 0; l < job.n_levels; ++l) {
    const HashLevel& level = job.levels[l];
    for (int v = 0; v < kVectors; ++v) {
      const int at = first + v * kLanes;
      const F u[3] = {load<F>(tile.u[0] + at), load<F>(tile.u[1] + at), load<F>(tile.u[2] + at)};
      F a, b;
      if (job.packed) encode_packed(job, level, u, a, b);
      else encode_float32(job, level, u, a, b);
#if defined(__AVX512BF16__)
      if (job.bf16_dot) {
        store(reinterpret_cast<uint32_t*>(tile.input) + l * kBatch + v * kLanes, pack_bf16(a, b));
        continue;
      }
#endif
      store(tile.input + 2 * l * kBatch + v * kLanes, a);
      store(tile.input + (2 * l + 1) * kBatch + v * kLanes, b);
    }
  }
}

// Evaluates the encoded batch.
[[gnu::noinline]] static void shade(const RenderJob& job, Tile& tile) {
  F raw[kOutputs][kVectors];
#if defined(__AVX512BF16__)
  if (job.bf16_dot) network(job, tile, job.weights_bf16[0], raw);
  else
#endif
    network(job, tile, job.weights[0], raw);
  for (int v = 0; v < kVectors; ++v) {
    store(tile.passing + v * kLanes, exponential(density(raw[0][v]) * -job.rays.step_m));
    store(tile.r + v * kLanes, logistic(raw[1][v]));
    store(tile.g + v * kLanes, logistic(raw[2][v]));
    store(tile.b + v * kLanes, logistic(raw[3][v]));
  }
}

static uint8_t to_byte(float value) {
  const float scaled = value * 255.0f + 0.5f;
  return static_cast<uint8_t>(scaled < 0.0f ? 0.0f : scaled > 255.0f ? 255.0f : scaled);
}

[[gnu::noinline]] static void write_pixels(const RenderJob& job, int column, int row, const Tile& tile) {
  const FrameBuffers& to = job.buffers;
  for (int place = 0; place < kTileRays; ++place) {
    const int x = column + unravel(place, 0), y = row + unravel(place, 1);
    if (x >= job.width || y >= job.height) continue;
    const RaySum& sum = tile.sum[place];
    const float colour[3] = {sum.r, sum.g, sum.b};
    const float alpha = 1.0f - sum.transmittance;
    for (int c = 0; c < 3; ++c) {
      const int64_t from = y * to.background_row + 3 * x + c, at = y * to.image_row + 3 * x + c;
      const float behind = to.background_bytes ? static_cast<const uint8_t*>(to.background)[from] / 255.0f
                                               : static_cast<const float*>(to.background)[from];
      const float value = colour[c] + sum.transmittance * behind;
      if (to.image_bytes) static_cast<uint8_t*>(to.image)[at] = to_byte(value);
      else static_cast<float*>(to.image)[at] = value < 0.0f ? 0.0f : value > 1.0f ? 1.0f : value;
    }
    const int64_t pixel = static_cast<int64_t>(y) * job.width + x;
    if (to.alpha) to.alpha[pixel] = alpha;
    if (to.depth) to.depth[pixel] = sum.depth / (alpha > 1e-6f ? alpha : 1e-6f);
  }
}

static void render_tile(const RenderJob& job, int column, int row, Tile& tile, RenderedCounts& counts) {
  start_rays(job, column, row, tile);
  int places[kTileRays / kLanes];
  int n_places = 0;
  for (int base = 0; base < kTileRays; base += kLanes) places[n_places++] = base;
  while (n_places) {
    const int n_samples = gather_samples(job, tile, places, n_places, counts.lookups);
    counts.samples += n_samples;
    for (int first = 0; first < n_samples; first += kBatch) {
      encode(job, tile, first);
      shade(job, tile);
      const int last = n_samples - first < kBatch ? n_samples - first : kBatch;
      for (int s = 0; s < last; ++s) {
        const int ray = tile.ray[first + s];
        RaySum& sum = tile.sum[ray];
        if (sum.transmittance < kStopTransmittance) continue;
        if (add_sample(sum, tile.passing[s], tile.r[s], tile.g[s], tile.b[s], tile.distance[first + s]))
          tile.next[ray] = kDone;
      }
    }
  }
  write_pixels(job, column, row, tile);
}

void render_tiles(const RenderJob& job, int64_t first_tile, int64_t last_tile, RenderedCounts& counts) {
  Tile tile;
  // Unfilled lanes of a last batch hold the samples of an earlier round, or these: always within the box.
  for (auto& axis : tile.u)
    for (float& value : axis) value = 0.5f;
  const int tiles_a_row = (job.width + kTile - 1) / kTile;
  for (int64_t i = first_tile; i < last_tile; ++i)
    render_tile(job, static_cast<int>(i % tiles_a_row) * kTile, static_cast<int>(i / tiles_a_row) * kTile, tile, counts);
}

}  // namespace dfanerf::cpu::DFANERF_SIMD_NAMESPACE
