// A tile of rays and the samples of one round, as one SIMD variant works on them.
#pragma once

#include "cpu/render_field_job.h"
#include "math/numbers.h"

namespace dfanerf::cpu::DFANERF_SIMD_NAMESPACE {

constexpr int kVectors = kLanes == 16 ? 4 : 2;  // vectors a batch: as many sums in flight as there are registers for
constexpr int kBatch = kVectors * kLanes;       // samples a batch
constexpr int kWanted = 4 * kBatch;             // a round with fewer samples looks further along its rays
constexpr int kCapacity = kTileRays + kWanted;  // samples a round
constexpr int kDone = 1 << 30;                  // index of a ray that has ended
constexpr int kGroups = kTileRays / kLanes;     // of neighbouring rays, that take their steps together

struct alignas(64) Tile {
  // Rays, in Z-order.
  float torso[3][kTileRays], shift[3][kTileRays], neck[kTileRays];
  float hop[kTileRays];     // samples a metre of empty space that a ray may leave out
  int32_t next[kTileRays];  // index of the next sample; kDone for a ray that has ended
  int32_t ray_number[kTileRays];
  RaySum sum[kTileRays];
  // Samples of a round.
  float u[3][kCapacity + kBatch], distance[kCapacity + kBatch];
  int32_t ray[kCapacity + kBatch];
  // Of a batch.
  float input[2 * kMaxLevels * kBatch], hidden[2][kMaxHidden * kBatch];
  float passing[kBatch], r[kBatch], g[kBatch], b[kBatch];
  uint32_t words[kMaxLevels * kVectors * 8 * kLanes];  // of the table, for the batch after this one
};

// Column (axis 0) or row (axis 1) within the tile of the ray at a place in Z-order.
DFANERF_HD int unravel(int place, int axis) {
  int found = 0;
  for (int bit = 0; 1 << bit < kTile; ++bit) found |= (place >> (2 * bit + axis) & 1) << bit;
  return found;
}

}  // namespace dfanerf::cpu::DFANERF_SIMD_NAMESPACE
