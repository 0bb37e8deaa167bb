// From an occupancy grid to distances, so that rays hop through empty space (math/occupancy.h).
#pragma once

#include <cstdint>
#include <vector>

namespace dfanerf::cpu {

struct SkipCells {
  std::vector<uint16_t> words;  // as SkipField::words
  float quantum;                // metres
};

// occupancy: (R, R, R) uint8 by ix, iy, iz; extent: of the box, metres. The distance of two words is that of their
// nearest points, found exactly by one pass an axis (a min-plus convolution with the squared distance).
SkipCells make_skip_cells(const uint8_t* occupancy, int resolution, const float* extent, int n_threads);

}  // namespace dfanerf::cpu
