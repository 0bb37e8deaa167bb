#include "avatar/resample.h"

#include <algorithm>
#include <cmath>

namespace dfanerf {
namespace {

constexpr double kLobes = 3.0;
constexpr int kFractionBits = 22;

double sinc(double x) {
  const double angle = x * 3.14159265358979323846;
  return x == 0.0 ? 1.0 : std::sin(angle) / angle;
}

double lanczos(double x) {
  return -kLobes <= x && x < kLobes ? sinc(x) * sinc(x / kLobes) : 0.0;
}

// Which pixels of a line one new pixel takes, and how much of each.
struct Taps {
  int first = 0;
  std::vector<int32_t> weights;
};

std::vector<Taps> line_taps(int from, int to) {
  const double scale = static_cast<double>(from) / to, stretch = std::max(scale, 1.0), reach = kLobes * stretch;
  std::vector<Taps> line(static_cast<std::size_t>(to));
  for (int place = 0; place < to; ++place) {
    Taps& taps = line[static_cast<std::size_t>(place)];
    const double centre = (place + 0.5) * scale;
    taps.first = std::max(static_cast<int>(centre - reach + 0.5), 0);
    const int last = std::min(static_cast<int>(centre + reach + 0.5), from);
    std::vector<double> weights;
    double total = 0.0;
    for (int i = taps.first; i < last; ++i) {
      weights.push_back(lanczos((i - centre + 0.5) / stretch));
      total += weights.back();
    }
    for (const double weight : weights)
      taps.weights.push_back(static_cast<int32_t>(std::lround(weight / total * (1 << kFractionBits))));
  }
  return line;
}

// One axis: `lines` lines whose pixels lie `step` bytes apart, lines `stride` bytes apart.
void resample_axis(const uint8_t* from, uint8_t* to, const std::vector<Taps>& taps, int lines, int64_t from_step,
                   int64_t from_stride, int64_t to_step, int64_t to_stride) {
  for (int line = 0; line < lines; ++line)
    for (std::size_t place = 0; place < taps.size(); ++place)
      for (int c = 0; c < 3; ++c) {
        const uint8_t* source = from + line * from_stride + taps[place].first * from_step + c;
        int32_t sum = 1 << (kFractionBits - 1);
        for (const int32_t weight : taps[place].weights) {
          sum += *source * weight;
          source += from_step;
        }
        const int32_t value = sum >> kFractionBits;
        to[line * to_stride + static_cast<int64_t>(place) * to_step + c] =
            static_cast<uint8_t>(std::clamp(value, 0, 255));
      }
}

}  // namespace

std::vector<uint8_t> resample(const std::vector<uint8_t>& picture, int width, int height, int new_width,
                              int new_height) {
  std::vector<uint8_t> narrowed(std::size_t{3} * new_width * height), scaled(std::size_t{3} * new_width * new_height);
  resample_axis(picture.data(), narrowed.data(), line_taps(width, new_width), height, 3, int64_t{3} * width, 3,
                int64_t{3} * new_width);
  resample_axis(narrowed.data(), scaled.data(), line_taps(height, new_height), new_width, int64_t{3} * new_width, 3,
                int64_t{3} * new_width, 3);
  return scaled;
}

}  // namespace dfanerf
