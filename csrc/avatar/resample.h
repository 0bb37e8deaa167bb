// Scaling of a picture of bytes, for a background at another size.
#pragma once

#include <cstdint>
#include <vector>

namespace dfanerf {

// picture: (height, width, 3), to (new_height, new_width, 3) by Lanczos' filter of three lobes; fixed point of 22 bits,
// so that the bytes are those that Pillow gives the Python package.
std::vector<uint8_t> resample(const std::vector<uint8_t>& picture, int width, int height, int new_width,
                              int new_height);

}  // namespace dfanerf
