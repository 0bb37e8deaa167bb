// Rendering of tiles, compiled once a SIMD variant.
//
// A tile's rays lie in Z-order, so that neighbouring lanes are neighbouring pixels. Round after round, every ray that
// is still transparent takes a step: a hop through empty space, or past an occupied sample, which it hands in. The
// samples of all rays are packed without gaps, go through encoding and network a batch at a time, and are composited in
// order. Rays that became opaque drop out, so hardly a sample is evaluated that no ray needs.
#include "cpu/render_field_march.h"
#include "cpu/render_field_shade.h"

namespace dfanerf::cpu::DFANERF_SIMD_NAMESPACE {

// (colour + transmittance * background) of one channel, each side in bytes or in [0, 1].
template <typename Image, typename Background>
DFANERF_HD Image blend(float colour, float transmittance, Background behind) {
  constexpr bool kBytes = sizeof(Image) == 1;
  float value;
  if constexpr (sizeof(Background) == 1)
    value = kBytes ? colour * 255.0f + transmittance * behind : colour + transmittance * (behind / 255.0f);
  else
    value = (colour + transmittance * behind) * (kBytes ? 255.0f : 1.0f);
  constexpr float kMost = kBytes ? 255.0f : 1.0f;
  value = value > 0.0f ? value < kMost ? value : kMost : 0.0f;  // 0 for what is no number
  return static_cast<Image>(kBytes ? value + 0.5f : value);
}

template <typename Image, typename Background>
[[gnu::noinline]] static void write_pixels(const RenderJob& job, int column, int row, const Tile& tile) {
  const FrameBuffers& to = job.buffers;
  const auto* background = static_cast<const Background*>(to.background);
  auto* image = static_cast<Image*>(to.image);
  for (int place = 0; place < kTileRays; ++place) {
    const int x = column + unravel(place, 0), y = row + unravel(place, 1);
    if (x >= job.width || y >= job.height) continue;
    const RaySum& sum = tile.sum[place];
    const Background* behind = background + y * to.background_row + 3 * x;
    Image* at = image + y * to.image_row + 3 * x;
    at[0] = blend<Image>(sum.r, sum.transmittance, behind[0]);
    at[1] = blend<Image>(sum.g, sum.transmittance, behind[1]);
    at[2] = blend<Image>(sum.b, sum.transmittance, behind[2]);
    const int64_t pixel = static_cast<int64_t>(y) * job.width + x;
    const float alpha = 1.0f - sum.transmittance;
    if (to.alpha) to.alpha[pixel] = alpha;
    if (to.depth) to.depth[pixel] = sum.depth / (alpha > 1e-6f ? alpha : 1e-6f);
  }
}

// A tile that no ray meets anything in.
template <typename Image, typename Background>
[[gnu::noinline]] static void write_background(const RenderJob& job, int column, int row) {
  const FrameBuffers& to = job.buffers;
  const int width = job.width - column < kTile ? job.width - column : kTile;
  const int end = job.height - row < kTile ? job.height : row + kTile;
  for (int y = row; y < end; ++y) {
    const Background* behind = static_cast<const Background*>(to.background) + y * to.background_row + 3 * column;
    Image* at = static_cast<Image*>(to.image) + y * to.image_row + 3 * column;
    for (int i = 0; i < 3 * width; ++i) at[i] = blend<Image>(0.0f, 1.0f, behind[i]);
    const int64_t pixel = static_cast<int64_t>(y) * job.width + column;
    if (to.alpha) std::memset(to.alpha + pixel, 0, sizeof(float) * width);
    if (to.depth) std::memset(to.depth + pixel, 0, sizeof(float) * width);
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

template <typename Image, typename Background>
static void render_tile(const RenderJob& job, int column, int row, Tile& tile, RenderedCounts& counts) {
  int places[kGroups];
  int n_places = start_rays(job, column, row, tile, places);
  if (n_places == 0) return write_background<Image, Background>(job, column, row);
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
  write_pixels<Image, Background>(job, column, row, tile);
}

void render_tiles(const RenderJob& job, int64_t first_tile, int64_t last_tile, RenderedCounts& counts) {
  Tile tile;
  // Unfilled lanes of a last batch hold the samples of an earlier round, or these: always within the box.
  for (auto& axis : tile.u)
    for (float& value : axis) value = 0.5f;
  const FrameBuffers& to = job.buffers;
  auto* run = to.image_bytes ? (to.background_bytes ? &render_tile<uint8_t, uint8_t> : &render_tile<uint8_t, float>)
                             : (to.background_bytes ? &render_tile<float, uint8_t> : &render_tile<float, float>);
  const int tiles_a_row = (job.width + kTile - 1) / kTile;
  for (int64_t i = first_tile; i < last_tile; ++i)
    run(job, static_cast<int>(i % tiles_a_row) * kTile, static_cast<int>(i / tiles_a_row) * kTile, tile, counts);
}

}  // namespace dfanerf::cpu::DFANERF_SIMD_NAMESPACE
