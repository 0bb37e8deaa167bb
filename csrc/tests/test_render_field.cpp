// The renderer, in whatever SIMD variant DFANERF_SIMD names, against the same math run sample by sample on scalars.
#include "cpu/skip_field.h"
#include "dfanerf/render_field.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <random>
#include <vector>

#include "math/activation.h"
#include "math/composite.h"
#include "math/hash_encode.h"
#include "math/occupancy.h"
#include "math/ray.h"
#include "tests/test.h"

using namespace dfanerf;

namespace {

constexpr float kAabb[6] = {-0.2f, -0.25f, -0.15f, 0.25f, 0.2f, 0.15f};
constexpr float kStep = 0.013f;

std::vector<float> noise(size_t count, unsigned seed, float scale) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal(0.0f, scale);
  std::vector<float> values(count);
  for (float& value : values) value = normal(generator);
  return values;
}

struct Field {
  // A dense level, a hashed one, and a dense one whose entries are more than its grid points.
  std::vector<GridLevel> levels = {{3.0f, 4, 64, 0, 0}, {15.0f, 16, 128, 64, 1}, {4.0f, 5, 128, 192, 0}};
  int64_t n_entries = 320;
  int hidden, resolution;
  std::vector<float> table, weights[3], biases[3];
  std::vector<uint8_t> occupancy;
  Placement placement{};

  Field(int hidden, int resolution, double share, bool rigid) : hidden(hidden), resolution(resolution) {
    const auto wide = static_cast<size_t>(hidden);
    table = noise(static_cast<size_t>(n_entries) * 2, 1, 1.0f);
    weights[0] = noise(wide * 6, 2, 0.6f);
    weights[1] = noise(wide * wide, 3, 1.4f / std::sqrt(static_cast<float>(hidden)));
    weights[2] = noise(4 * wide, 4, 1.4f / std::sqrt(static_cast<float>(hidden)));
    biases[0] = noise(wide, 5, 0.1f);
    biases[1] = noise(wide, 6, 0.1f);
    biases[2] = {3.0f, 0.0f, 0.0f, 0.0f};
    std::mt19937 generator(7);
    std::bernoulli_distribution occupied(share);
    occupancy.resize(static_cast<size_t>(resolution) * resolution * resolution);
    for (uint8_t& cell : occupancy) cell = occupied(generator);
    const float angle = rigid ? 0.0f : 0.3f;
    const float head[12] = {std::cos(angle),  0, std::sin(angle), 0.02f, 0, 1, 0, 0,
                            -std::sin(angle), 0, std::cos(angle), 0.8f};
    const float torso[12] = {1, 0, 0, 0.02f, 0, 1, 0, 0, 0, 0, 1, 0.8f};
    std::copy(head, head + 12, placement.head_to_camera);
    std::copy(torso, torso + 12, placement.torso_to_camera);
    const float neck[4] = {0.0f, -80.0f, 0.0f, 4.0f};
    std::copy(neck, neck + 4, placement.neck);
    placement.near_m = 0.5f;
    placement.far_m = 1.2f;
    placement.step_m = kStep;
  }

  std::unique_ptr<FieldRenderer> renderer(Precision precision, int n_threads) const {
    auto made =
        std::make_unique<FieldRenderer>(levels, hidden, occupancy.data(), resolution, kAabb, precision, n_threads);
    const float* const w[3] = {weights[0].data(), weights[1].data(), weights[2].data()};
    const float* const b[3] = {biases[0].data(), biases[1].data(), biases[2].data()};
    made->load_network(w, b);
    made->load_table(table.data());
    made->place(placement);
    return made;
  }
};

PictureView view_of(int width, int height) {
  return {width, height, 1.4f * static_cast<float>(width), 0.5f * width, 0.45f * height};
}

struct Picture {
  std::vector<float> image, alpha, depth, background;
  RenderedCounts counts;

  explicit Picture(const PictureView& view) {
    const size_t pixels = static_cast<size_t>(view.width) * view.height;
    image.assign(3 * pixels, NAN);
    alpha.assign(pixels, NAN);
    depth.assign(pixels, NAN);
    background = noise(3 * pixels, 8, 0.1f);
    for (float& value : background) value = std::min(std::fabs(value), 1.0f);
  }

  FrameBuffers buffers(const PictureView& view) {
    FrameBuffers found;
    found.background = background.data();
    found.background_bytes = found.image_bytes = false;
    found.background_row = found.image_row = 3 * view.width;
    found.image = image.data();
    found.alpha = alpha.data();
    found.depth = depth.data();
    return found;
  }
};

Picture rendered(const Field& field, const PictureView& view, Precision precision, int n_threads) {
  Picture picture(view);
  picture.counts = field.renderer(precision, n_threads)->render(view, picture.buffers(view));
  return picture;
}

// What the network says at u: raw sigma, r, g, b.
void evaluate(const Field& field, const float* u, float* raw) {
  std::vector<float> input, output;
  for (const GridLevel& level : field.levels) {
    const math::GridCell cell = math::locate(level, u);
    uint32_t entry[8];
    float weight[8];
    math::corner_entries(level, cell.corner, entry);
    math::corner_weights(cell.fraction, weight);
    for (int f = 0; f < 2; ++f) {
      float sum = 0.0f;
      for (int c = 0; c < 8; ++c) sum += weight[c] * field.table[(level.offset + entry[c]) * 2 + f];
      input.push_back(sum);
    }
  }
  for (int layer = 0; layer < 3; ++layer) {
    output = field.biases[layer];
    for (size_t o = 0; o < output.size(); ++o) {
      for (size_t k = 0; k < input.size(); ++k) output[o] += field.weights[layer][o * input.size() + k] * input[k];
      if (layer < 2) output[o] = std::max(output[o], 0.0f);
    }
    input = output;
  }
  std::copy(output.begin(), output.end(), raw);
}

RigidPose rigid(const float* pose) {
  RigidPose found;
  for (int a = 0; a < 3; ++a) {
    for (int k = 0; k < 3; ++k) found.rotation[a][k] = pose[4 * a + k];
    found.translation[a] = pose[4 * a + 3];
  }
  return found;
}

// Every sample of every ray is looked up: no hops, no packets.
Picture expected(const Field& field, const PictureView& view) {
  Picture picture(view);
  const Placement& at = field.placement;
  const RayFrame frame = make_ray_frame(rigid(at.head_to_camera), rigid(at.torso_to_camera), at.neck, kAabb, at.near_m,
                                        at.far_m, at.step_m);
  const cpu::SkipCells cells = cpu::make_skip_cells(field.occupancy.data(), field.resolution, frame.extent, 1);
  const SkipField skip{cells.words.data(), field.resolution, cells.quantum};
  for (int y = 0; y < view.height; ++y)
    for (int x = 0; x < view.width; ++x) {
      float direction[3] = {(x + 0.5f - view.cx) / view.focal_px, (y + 0.5f - view.cy) / view.focal_px, 1.0f};
      const float length = std::sqrt(direction[0] * direction[0] + direction[1] * direction[1] + 1.0f);
      for (float& component : direction) component /= length;
      const math::Ray ray = math::make_ray(frame, direction);
      RaySum sum;
      bool opaque = false;
      for (int i = 0; i < ray_steps(frame) && !opaque; ++i) {
        const float t = frame.near_m + (static_cast<float>(i) + 0.5f) * frame.step_m;
        float u[3], distance, raw[4];
        math::ray_position(frame, ray, t, u);
        if (!math::occupancy_lookup(skip, frame.extent, u, distance)) continue;
        evaluate(field, u, raw);
        opaque = math::add_sample(sum, std::exp(-math::density(raw[0]) * frame.step_m), math::logistic(raw[1]),
                                  math::logistic(raw[2]), math::logistic(raw[3]), t);
        ++picture.counts.samples;
      }
      const size_t pixel = static_cast<size_t>(y) * view.width + x;
      picture.alpha[pixel] = 1.0f - sum.transmittance;
      picture.depth[pixel] = sum.depth / std::max(picture.alpha[pixel], 1e-6f);
      const float colour[3] = {sum.r, sum.g, sum.b};
      for (size_t c = 0; c < 3; ++c)
        picture.image[3 * pixel + c] =
            std::clamp(colour[c] + sum.transmittance * picture.background[3 * pixel + c], 0.0f, 1.0f);
    }
  return picture;
}

double mean_error(const std::vector<float>& found, const std::vector<float>& wanted) {
  double sum = 0.0;
  for (size_t i = 0; i < found.size(); ++i) sum += std::fabs(found[i] - wanted[i]);
  return sum / static_cast<double>(found.size());
}

bool same_bits(const Picture& a, const Picture& b) {
  return a.image == b.image && a.alpha == b.alpha && a.depth == b.depth;
}

}  // namespace

TEST(pictures_of_any_size_are_those_of_the_scalar_math) {
  const int sizes[][2] = {{1, 1}, {33, 17}, {64, 31}, {7, 70}};
  for (const auto& [width, height] : sizes)
    for (const bool rigid : {false, true}) {
      const Field field(24, 9, 0.3, rigid);
      const PictureView view = view_of(width, height);
      const Picture wanted = expected(field, view);
      const Picture exact = rendered(field, view, Precision::float32, 2);
      CHECK_NEAR(mean_error(exact.image, wanted.image), 0.0, 2e-5);
      CHECK_NEAR(mean_error(exact.alpha, wanted.alpha), 0.0, 2e-5);
      CHECK_NEAR(mean_error(exact.depth, wanted.depth), 0.0, 2e-4);
      CHECK(exact.counts.samples >= wanted.counts.samples && exact.counts.lookups >= exact.counts.samples);
      const Picture rounded = rendered(field, view, Precision::bfloat16, 2);
      CHECK_NEAR(mean_error(rounded.image, wanted.image), 0.0, 0.02);
    }
}

TEST(networks_of_any_width) {
  const PictureView view = view_of(20, 20);
  for (const int hidden : {8, 16, 40, 128}) {
    const Field field(hidden, 6, 0.5, false);
    const Picture wanted = expected(field, view);
    CHECK_NEAR(mean_error(rendered(field, view, Precision::float32, 1).image, wanted.image), 0.0, 5e-5);
    CHECK_NEAR(mean_error(rendered(field, view, Precision::bfloat16, 1).image, wanted.image), 0.0, 0.03);
  }
}

TEST(an_empty_box_shows_the_background_and_a_full_one_every_sample) {
  const PictureView view = view_of(37, 21);
  const Field empty(8, 5, 0.0, false), full(8, 5, 1.0, false);
  for (const Precision precision : {Precision::float32, Precision::bfloat16}) {
    const Picture nothing = rendered(empty, view, precision, 2);
    CHECK(nothing.image == nothing.background && nothing.counts.samples == 0);
    CHECK(std::all_of(nothing.alpha.begin(), nothing.alpha.end(), [](float value) { return value == 0.0f; }));
  }
  CHECK_NEAR(mean_error(rendered(full, view, Precision::float32, 2).image, expected(full, view).image), 0.0, 5e-5);
}

TEST(any_number_of_threads_gives_the_same_bits) {
  const Field field(16, 12, 0.2, false);
  const PictureView view = view_of(129, 97);
  for (const Precision precision : {Precision::float32, Precision::bfloat16}) {
    const Picture one = rendered(field, view, precision, 1);
    for (const int n_threads : {2, 5, 16}) CHECK(same_bits(one, rendered(field, view, precision, n_threads)));
  }
}

TEST(rows_of_the_callers_bytes_may_lie_apart_or_upside_down) {
  const Field field(8, 7, 0.4, false);
  const PictureView view = view_of(35, 19);
  const Picture wanted = rendered(field, view, Precision::float32, 1);
  const int row = 3 * view.width + 11;
  for (const bool flipped : {false, true}) {
    Picture picture(view);
    std::vector<uint8_t> bytes(static_cast<size_t>(row) * view.height, 77);
    FrameBuffers buffers = picture.buffers(view);
    buffers.image_bytes = true;
    buffers.image = flipped ? bytes.data() + static_cast<ptrdiff_t>(row) * (view.height - 1) : bytes.data();
    buffers.image_row = flipped ? -row : row;
    buffers.alpha = buffers.depth = nullptr;
    field.renderer(Precision::float32, 2)->render(view, buffers);
    bool close = true, untouched = true;
    for (int y = 0; y < view.height; ++y)
      for (int x = 0; x < row; ++x) {
        const uint8_t found = bytes[static_cast<size_t>(flipped ? view.height - 1 - y : y) * row + x];
        if (x < 3 * view.width)
          close &= std::fabs(found - 255.0f * wanted.image[static_cast<size_t>(y) * 3 * view.width + x]) <= 0.502f;
        else
          untouched &= found == 77;
      }
    CHECK(close && untouched);
  }
}

// Whatever stands in table and weights, no memory outside of them is read or written (a sanitised build sees it).
TEST(numbers_that_are_not_finite_do_no_harm) {
  const PictureView view = view_of(33, 33);
  const float rubbish[] = {NAN, INFINITY, -INFINITY, std::numeric_limits<float>::max()};
  for (const float value : rubbish) {
    Field field(8, 6, 0.5, false);
    for (size_t i = 0; i < field.table.size(); i += 3) field.table[i] = value;
    rendered(field, view, Precision::bfloat16, 2);
    rendered(field, view, Precision::float32, 2);
    for (int layer = 0; layer < 3; ++layer) {
      field.weights[layer][1] = value;
      field.biases[layer][1] = value;
    }
    rendered(field, view, Precision::bfloat16, 2);
    const Picture picture = rendered(field, view, Precision::float32, 2);
    CHECK(picture.counts.lookups > 0);
  }
}
