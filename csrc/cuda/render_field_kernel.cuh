// The fused renderer: one launch a frame, no intermediate in device memory.
//
// Blocks stay for the whole frame. A lane owns a ray; rays come from a queue, 32 neighbouring pixels at a time. Round
// after round, every lane hops through empty space to its ray's next occupied sample, a lane whose ray has ended writes
// its pixel and takes a new one, and once most lanes stand at a sample the warp encodes these, runs the network on
// tensor cores, and each lane composites its own.
#pragma once

#include "cuda/render_field_network.cuh"

namespace DFANERF_CUDA_NAMESPACE {

constexpr int kNoRay = -1;
constexpr int kPixelRow = 8192;  // no picture is wider
// A warp goes on once this many lanes stand at a sample for every one that still searches. To wait for all, it would
// search 14 times a round with 6 lanes at work; so it is 6 times with 13, for 3% more rounds (counted on the bundled
// avatar at 128x128).
constexpr int kPatience = 3;
constexpr int kTileWidth = 8, kTileHeight = 4;  // pixels of the rays that are taken together

struct LaneRay {
  math::Ray ray;
  RaySum sum;
  float hop;  // samples a metre of empty space that the ray may leave out
  int index;  // of its next sample
  int pixel;  // y * kPixelRow + x, or kNoRay
};

DFANERF_DEVICE uint32_t tiles_across(const PictureView& view) {
  return static_cast<uint32_t>(view.width + kTileWidth - 1) / kTileWidth;
}

// Rays of the queue: those of whole tiles, also where these reach over the picture's edge.
DFANERF_DEVICE uint32_t queue_length(const PictureView& view) {
  return tiles_across(view) * (static_cast<uint32_t>(view.height + kTileHeight - 1) / kTileHeight) * kLanes;
}

// Ray `number` of the queue, in Z-order within its tile; none where that pixel lies outside the picture.
DFANERF_DEVICE void start_ray(const PictureView& view, const RayFrame& frame, uint32_t number, LaneRay& lane) {
  const uint32_t tile = number / kLanes;
  const auto x =
      static_cast<int>(tile % tiles_across(view) * kTileWidth + ((number & 1) | (number >> 1 & 2) | (number >> 2 & 4)));
  const auto y = static_cast<int>(tile / tiles_across(view) * kTileHeight + ((number >> 1 & 1) | (number >> 2 & 2)));
  if (x >= view.width || y >= view.height) return;
  lane.pixel = y * kPixelRow + x;
  float direction[3];
  math::direction_through(static_cast<float>(x) + 0.5f, static_cast<float>(y) + 0.5f, view.focal_px, view.cx, view.cy,
                          direction);
  lane.ray = math::make_ray(frame, direction);
  // A hair less than the bound, so that rounding never leaves a sample out.
  lane.hop = 0.999f / (math::ray_stretch(frame, lane.ray) * frame.step_m);
  lane.index = 0;
  lane.sum = RaySum{};
}

DFANERF_DEVICE void write_pixel(const PictureView& view, const FrameBuffers& to, const LaneRay& lane) {
  const float colour[3] = {lane.sum.r, lane.sum.g, lane.sum.b};
  const int x = lane.pixel % kPixelRow, y = lane.pixel / kPixelRow;
  const int64_t from = y * to.background_row + 3 * x, at = y * to.image_row + 3 * x;
#pragma unroll
  for (int c = 0; c < 3; ++c) {
    const float behind = to.background_bytes
                             ? static_cast<float>(static_cast<const uint8_t*>(to.background)[from + c]) / 255.0f
                             : static_cast<const float*>(to.background)[from + c];
    const float value = fminf(fmaxf(fmaf(lane.sum.transmittance, behind, colour[c]), 0.0f), 1.0f);
    if (to.image_bytes)
      static_cast<uint8_t*>(to.image)[at + c] = static_cast<uint8_t>(fmaf(value, 255.0f, 0.5f));
    else
      static_cast<float*>(to.image)[at + c] = value;
  }
  const int64_t pixel = static_cast<int64_t>(y) * view.width + x;
  const float alpha = 1.0f - lane.sum.transmittance;
  if (to.alpha != nullptr) to.alpha[pixel] = alpha;
  if (to.depth != nullptr) to.depth[pixel] = lane.sum.depth / fmaxf(alpha, 1e-6f);
}

// The rays that a warp has taken from the queue and not yet given to its lanes; the same in all lanes.
struct TakenRays {
  uint32_t next = 0;  // at the first of a tile, there is none left of the tile before
  bool drained = false;

  // Gives rays to lanes without one, as far as those of one tile go.
  DFANERF_DEVICE void give(const RenderJob& job, const RayFrame& frame, LaneRay& lane) {
    const int number = lane_index();
    const uint32_t wanting = vote(lane.pixel == kNoRay);
    if (drained || wanting == 0) return;
    if (next % kLanes == 0) {
      uint32_t first = 0;
      if (number == 0) first = fetch_add(&job.queue->next, kLanes);
      next = from_lane(first, 0);
      drained = next >= queue_length(job.view);
      if (drained) return;
    }
    const uint32_t end = next / kLanes * kLanes + kLanes;
    const uint32_t mine = next + static_cast<uint32_t>(count_bits(wanting & ((1u << number) - 1u)));
    if (lane.pixel == kNoRay && mine < end) start_ray(job.view, frame, mine, lane);
    next += static_cast<uint32_t>(count_bits(wanting));
    if (next > end) next = end;
  }
};

template <typename Net>
DFANERF_DEVICE void render_rays(const RenderJob& job) {
  char* shared = shared_memory();
  const FrameState& frame = *reinterpret_cast<const FrameState*>(shared);
  const float* biases = reinterpret_cast<const float*>(shared + Net::kBiasesAt);
  const uint32_t* weights = reinterpret_cast<const uint32_t*>(shared + Net::kWeightsAt);
  uint32_t* input =
      reinterpret_cast<uint32_t*>(shared + Net::kInputsAt) + thread_index() / kLanes * (Net::kSampleWords * kLanes);
  {
    const auto copy = [](char* to, const void* from, int n_words) {
      for (int i = thread_index(); i < n_words; i += block_threads())
        reinterpret_cast<uint32_t*>(to)[i] = static_cast<const uint32_t*>(from)[i];
    };
    copy(shared, job.frame, sizeof(FrameState) / 4);
    copy(shared + Net::kBiasesAt, job.biases, Net::kBiases);
    copy(shared + Net::kWeightsAt, job.weights, Net::kWords);
  }
  sync_block();

  LaneRay lane{};
  lane.pixel = kNoRay;
  TakenRays taken;
  uint32_t samples = 0, lookups = 0;
  for (;;) {
    // The lanes to their rays' next occupied samples; the last few need not be waited for.
    bool standing = false;
    uint32_t found;
    float u[3];
    for (;;) {
      if (lane.pixel != kNoRay && lane.index >= frame.n_steps) {
        write_pixel(job.view, job.buffers, lane);
        lane.pixel = kNoRay;
      }
      taken.give(job, frame.rays, lane);
      const bool searching = lane.pixel != kNoRay && !standing;
      lookups += static_cast<uint32_t>(count_bits(vote(searching)));
      if (searching) {
        math::ray_position(frame.rays, lane.ray, math::sample_distance(frame.rays, lane.index), u);
        float empty;
        standing = math::occupancy_lookup(job.skip, frame.rays.extent, u, empty) != 0;
        // Nothing lies within `empty` metres: the first sample that far or farther is the next candidate.
        if (!standing) lane.index += static_cast<int>(fminf(empty * lane.hop, 1e6f)) + 1;
      }
      found = vote(standing);
      const uint32_t late = vote(lane.pixel == kNoRay ? !taken.drained : !standing);
      if (kPatience * count_bits(late) <= count_bits(found)) break;
    }
    if (found == 0) break;
    samples += static_cast<uint32_t>(count_bits(found));

    if (!standing) u[0] = u[1] = u[2] = 0.5f;  // encoded in vain, but within the table
    encode(job, Net::kSampleWords, u, input);
    float raw[4];
    network<Net>(weights, biases, input, raw);
    if (standing) {
      const float passing = math::exponential(math::density(raw[0]) * -frame.rays.step_m);
      const bool opaque = math::add_sample(lane.sum, passing, math::logistic(raw[1]), math::logistic(raw[2]),
                                           math::logistic(raw[3]), math::sample_distance(frame.rays, lane.index));
      lane.index = opaque ? kMaxRaySteps : lane.index + 1;
    }
  }
  if (lane_index() == 0) {
    add(&job.queue->samples, samples);
    add(&job.queue->lookups, lookups);
  }
}

}  // namespace DFANERF_CUDA_NAMESPACE
