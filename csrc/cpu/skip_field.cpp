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
  const int words = (resolution + 1) / 2;
  const int64_t n_words = static_cast<int64_t>(words) * words * words;
  SkipCells skip;
  skip.words.assign(n_words + 1, 0);  // lookups read 32 bits at a time
  for (int x = 0; x < resolution; ++x)
    for (int y = 0; y < resolution; ++y) {
      const uint8_t* row = occupancy + (static_cast<int64_t>(x) * resolution + y) * resolution;
      uint16_t* to = skip.words.data() + (static_cast<int64_t>(x / 2) * words + y / 2) * words;
      const int bit = 8 + (x & 1) * 4 + (y & 1) * 2;
      for (int z = 0; z < resolution; ++z) to[z / 2] |= static_cast<uint16_t>((row[z] != 0) << (bit + (z & 1)));
    }
  std::vector<float> squared(n_words), other(n_words);
  for (int64_t i = 0; i < n_words; ++i) squared[i] = skip.words[i] ? 0.0f : kNowhere;
  for (int axis = 0; axis < 3; ++axis) {
    spread_and_rotate(squared, other, words, 2.0f * extent[axis] / static_cast<float>(resolution), n_threads);
    squared.swap(other);
  }
  skip.quantum = std::max({extent[0], extent[1], extent[2]}) / 255.0f;
  for (int64_t i = 0; i < n_words; ++i)
    skip.words[i] |= static_cast<uint16_t>(std::min(std::sqrt(squared[i]) / skip.quantum, 255.0f));
  return skip;
}

}  // namespace dfanerf::cpu
