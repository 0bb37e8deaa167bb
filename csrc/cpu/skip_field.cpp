#include "cpu/skip_field.h"

#include <algorithm>
#include <cmath>

#include "dfanerf/thread_pool.h"
#include "math/occupancy.h"

namespace dfanerf::cpu {

namespace {

constexpr float kNowhere = 1e9f;

// to[y, z, x] = min over x' of from[x', y, z] + gap(x, x')^2: three such passes leave the axes as they were.
void spread_and_rotate(const std::vector<float>& from, std::vector<float>& to, int resolution, float cell,
                       int n_threads) {
  const int64_t plane = static_cast<int64_t>(resolution) * resolution;
  constexpr int64_t kStrip = 64;
  parallel_for((plane + kStrip - 1) / kStrip, 1, n_threads, [&](int64_t begin, int64_t end) {
    for (int64_t strip = begin; strip < end; ++strip) {
      const int64_t first = strip * kStrip;
      const int width = static_cast<int>(std::min(kStrip, plane - first));
      for (int x = 0; x < resolution; ++x) {
        float best[kStrip];
        std::fill(best, best + kStrip, kNowhere);
        for (int other = 0; other < resolution; ++other) {
          const float gap = cell * static_cast<float>(std::max(std::abs(x - other) - 1, 0));
          const float* row = from.data() + other * plane + first;
          const float squared = gap * gap;
          for (int i = 0; i < width; ++i) best[i] = std::min(best[i], row[i] + squared);
        }
        for (int i = 0; i < width; ++i) to[(first + i) * resolution + x] = best[i];
      }
    }
  });
}

}  // namespace

SkipCells make_skip_cells(const uint8_t* occupancy, int resolution, const float* extent, int n_threads) {
  const int64_t n_cells = static_cast<int64_t>(resolution) * resolution * resolution;
  std::vector<float> squared(n_cells), other(n_cells);
  for (int64_t i = 0; i < n_cells; ++i) squared[i] = occupancy[i] ? 0.0f : kNowhere;
  for (int axis = 0; axis < 3; ++axis) {
    spread_and_rotate(squared, other, resolution, extent[axis] / static_cast<float>(resolution), n_threads);
    squared.swap(other);
  }
  SkipCells skip;
  skip.quantum = std::max({extent[0], extent[1], extent[2]}) / (kOccupied - 1);
  skip.cells.resize(n_cells + 4);  // lookups read whole words
  for (int64_t i = 0; i < n_cells; ++i)
    skip.cells[i] = occupancy[i]
                        ? static_cast<uint8_t>(kOccupied)
                        : static_cast<uint8_t>(std::min(std::sqrt(squared[i]) / skip.quantum, kOccupied - 1.0f));
  return skip;
}

}  // namespace dfanerf::cpu
