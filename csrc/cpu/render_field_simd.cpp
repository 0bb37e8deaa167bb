// Rendering of tiles, compiled once a SIMD variant.
//
// A tile's rays lie in Z-order, so that neighbouring lanes are neighbouring pixels. Round after round, every ray that
// is still transparent takes a step: a hop through empty space, or past an occupied sample, which it hands in. The
// samples of all rays are packed without gaps, go through encoding and network a batch at a time, and are composited in
// order. Rays that became opaque drop out, so hardly a sample is evaluated that no ray needs.
#include "cpu/render_field_march.h"
#include "cpu/render_field_shade.h"

namespace dfanerf::cpu::DFANERF_SIMD_NAMESPACE {

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
      if (to.image_bytes)
        static_cast<uint8_t*>(to.image)[at] = to_byte(value);
      else
        static_cast<float*>(to.image)[at] = value < 0.0f ? 0.0f : value > 1.0f ? 1.0f : value;
    }
    const int64_t pixel = static_cast<int64_t>(y) * job.width + x;
    if (to.alpha) to.alpha[pixel] = alpha;
    if (to.depth) to.depth[pixel] = sum.depth / (alpha > 1e-6f ? alpha : 1e-6f);
  }
}

// Moves the samples that were not shaded to the front.
static void keep_samples(Tile& tile, int first, int end) {
  for (int s = first; s < end; s += kLanes) {
    for (auto& axis : tile.u) store(axis + s - first, load<F>(axis + s));
    store(tile.distance + s - first, load<F>(tile.distance + s));
    store(tile.ray + s - first, load<I>(tile.ray + s));
  }
}

static void render_tile(const RenderJob& job, int column, int row, Tile& tile, RenderedCounts& counts) {
  int places[kGroups];
  int n_places = start_rays(job, column, row, tile, places);
  int n_samples = 0;
  while (n_places || n_samples) {
    n_samples = n_places ? gather_samples(job, tile, n_samples, places, n_places, counts.lookups) : n_samples;
    // What does not fill a batch waits for the samples of the next round.
    const int n_shaded = n_places ? n_samples / kBatch * kBatch : n_samples;
    counts.samples += n_shaded;
    shade(job, tile, n_shaded, [&](int first) {
      const int last = n_shaded - first < kBatch ? n_shaded - first : kBatch;
      for (int s = 0; s < last; ++s) {
        const int ray = tile.ray[first + s];
        RaySum& sum = tile.sum[ray];
        if (sum.transmittance < kStopTransmittance) continue;
        if (add_sample(sum, tile.passing[s], tile.r[s], tile.g[s], tile.b[s], tile.distance[first + s]))
          tile.next[ray] = kDone;
      }
    });
    keep_samples(tile, n_shaded, n_samples);
    n_samples -= n_shaded;
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
    render_tile(job, static_cast<int>(i % tiles_a_row) * kTile, static_cast<int>(i / tiles_a_row) * kTile, tile,
                counts);
}

}  // namespace dfanerf::cpu::DFANERF_SIMD_NAMESPACE
