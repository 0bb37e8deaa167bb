// The fused CUDA renderer, its own lines compiled by the host compiler and run thread by thread (emulate_cuda.h),
// against the CPU renderer in float32.
#define DFANERF_EMULATE_CUDA

#include <algorithm>
#include <cmath>
#include <random>
#include <string>
#include <vector>

#include "cpu/skip_field.h"
#include "cuda/render_field_fold.cuh"
#include "cuda/render_field_kernel.cuh"
#include "dfanerf/avatar.h"
#include "dfanerf/render_field.h"
#include "tests/test.h"

using dfanerf::FieldRenderer;
using dfanerf::FoldConstants;
using dfanerf::FrameBuffers;
using dfanerf::GridLevel;
using dfanerf::PictureView;
using dfanerf::Placement;
namespace emulated = dfanerf::emulated;

namespace {

constexpr int kResolution = 12, kBlend = 3;

std::vector<float> noise(std::size_t count, unsigned seed, float scale) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal(0.0f, scale);
  std::vector<float> values(count);
  for (float& value : values) value = normal(generator);
  return values;
}

// A field and everything that folds it.
struct Field {
  std::vector<GridLevel> levels;
  int hidden, n_blend, resolution;
  int64_t n_entries = 0;
  std::vector<float> aabb;
  float step_m;
  std::vector<uint8_t> occupancy;
  std::vector<float> table, blend, weights[3], biases[3];
  std::vector<float> condition_mean, condition_std, pose_mean, pose_std, condition_weight, pose_weight, mixer_weight,
      head_follow, torso_follow, neck;
  std::vector<float> condition, head_pose;

  // A ball of random density and colour.
  Field(int n_levels, int hidden_, bool rigid) : hidden(hidden_), n_blend(kBlend), resolution(kResolution) {
    aabb = {-0.25f, -0.3f, -0.2f, 0.25f, 0.2f, 0.2f};
    step_m = 0.4f / 40.0f;
    for (int l = 0; l < n_levels; ++l) {
      const auto points = static_cast<uint32_t>(4 + 3 * l);
      const uint32_t dense = (points * points * points + 7) / 8 * 8;
      const uint32_t entries = std::min(dense, 1024u);
      levels.push_back(
          {static_cast<float>(points) - 1.0f, points, entries, static_cast<uint32_t>(n_entries), entries < dense});
      n_entries += entries;
    }
    for (int x = 0; x < kResolution; ++x)
      for (int y = 0; y < kResolution; ++y)
        for (int z = 0; z < kResolution; ++z) {
          const float d[3] = {x - 5.5f, y - 5.5f, z - 5.5f};
          occupancy.push_back(d[0] * d[0] + d[1] * d[1] + d[2] * d[2] < 20.0f && (x + y + z) % 4 != 0);
        }
    const auto n_inputs = static_cast<std::size_t>(2 * n_levels), width = static_cast<std::size_t>(hidden);
    table = noise(static_cast<std::size_t>(2 * n_entries), 1, 0.7f);
    blend = noise(static_cast<std::size_t>(2 * n_entries) * kBlend, 2, 0.1f);
    weights[0] = noise(width * n_inputs, 3, std::sqrt(2.0f / n_inputs));
    weights[1] = noise(width * width, 4, std::sqrt(2.0f / width));
    weights[2] = noise(4 * width, 5, std::sqrt(2.0f / width));
    biases[0] = noise(width, 6, 0.1f);
    biases[1] = noise(width, 7, 0.1f);
    biases[2] = {3.5f, 0.2f, -0.3f, 0.1f};
    condition_mean = noise(48, 8, 0.1f);
    condition_std = std::vector<float>(48, 0.7f);
    pose_mean = {0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.8f};
    pose_std = std::vector<float>(6, 0.2f);
    condition_weight = noise(48 * width, 9, 0.02f);
    pose_weight = noise(6 * width, 10, 0.02f);
    mixer_weight = noise(48 * kBlend, 11, 0.15f);
    head_follow = noise(36, 13, 0.1f);
    torso_follow = std::vector<float>(36, 0.0f);
    for (int a = 0; a < 6; ++a) torso_follow[static_cast<std::size_t>(7 * a)] = rigid ? 1.0f : 0.3f;
    neck = {5.0f, -60.0f, 3.0f, 1.5f};
    condition = noise(48, 12, 1.0f);
    head_pose = {0.1f, -0.2f, 0.15f, 0.02f, -0.01f, 0.82f};
    if (rigid) head_pose = {0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.8f};
  }

  explicit Field(const dfanerf::Avatar& avatar)
      : levels(avatar.levels),
        hidden(avatar.hidden),
        n_blend(avatar.n_blend),
        resolution(avatar.occupancy_resolution),
        n_entries(static_cast<int64_t>(avatar.table.size() / 2)),
        aabb(avatar.aabb),
        step_m(avatar.constants().step_m),
        occupancy(avatar.occupancy),
        table(avatar.table),
        blend(avatar.blend_tables),
        condition_mean(avatar.condition_mean),
        condition_std(avatar.condition_std),
        pose_mean(avatar.pose_mean),
        pose_std(avatar.pose_std),
        condition_weight(avatar.condition_weight),
        pose_weight(avatar.pose_weight),
        mixer_weight(avatar.mixer_weight),
        head_follow(avatar.head_follow),
        torso_follow(avatar.torso_follow),
        neck(avatar.neck),
        condition(avatar.condition_mean),
        head_pose(avatar.pose_mean) {
    for (int layer = 0; layer < 3; ++layer) {
      weights[layer] = avatar.weights[layer];
      biases[layer] = avatar.biases[layer];
    }
  }

  FoldConstants constants() const {
    FoldConstants all;
    all.hidden = hidden;
    all.n_blend = n_blend;
    all.condition_mean = condition_mean.data();
    all.condition_std = condition_std.data();
    all.pose_mean = pose_mean.data();
    all.pose_std = pose_std.data();
    all.bias = biases[0].data();
    all.condition_weight = condition_weight.empty() ? nullptr : condition_weight.data();
    all.pose_weight = pose_weight.data();
    all.mixer_weight = mixer_weight.data();
    all.head_follow = head_follow.data();
    all.torso_follow = torso_follow.data();
    all.neck = neck.data();
    all.aabb = aabb.data();
    all.step_m = step_m;
    return all;
  }
};

struct Picture {
  int width, height;
  std::vector<float> background, image, alpha, depth;
  std::vector<uint8_t> background_bytes, image_bytes;
  bool bytes;
  int padding = 5;  // elements behind every row

  Picture(int width_, int height_, bool bytes_) : width(width_), height(height_), bytes(bytes_) {
    const auto pixels = static_cast<std::size_t>(width * height);
    const std::size_t elements = static_cast<std::size_t>(row()) * height;
    background.resize(elements);
    for (std::size_t i = 0; i < elements; ++i) {
      background_bytes.push_back(static_cast<uint8_t>(i * 37 % 256));
      background[i] = background_bytes[i] / 255.0f;
    }
    image.assign(elements, NAN);
    image_bytes.assign(elements, 77);
    alpha.assign(pixels, NAN);
    depth.assign(pixels, NAN);
  }
  int64_t row() const { return 3 * width + padding; }
  float focal = 1.3f;  // picture widths
  PictureView view() const { return {width, height, focal * width, 0.5f * width, 0.5f * height}; }
  FrameBuffers buffers() {
    FrameBuffers all;
    all.background = bytes ? static_cast<const void*>(background_bytes.data()) : background.data();
    all.background_bytes = all.image_bytes = bytes;
    all.background_row = all.image_row = row();
    all.image = bytes ? static_cast<void*>(image_bytes.data()) : image.data();
    all.alpha = alpha.data();
    all.depth = depth.data();
    return all;
  }
  float value(int x, int y, int c) const {
    const auto at = static_cast<std::size_t>(y * row() + 3 * x + c);
    return bytes ? image_bytes[at] / 255.0f : image[at];
  }
  float behind(int x, int y, int c) const { return background[static_cast<std::size_t>(y * row() + 3 * x + c)]; }
};

void render_on_cpu(const Field& field, Picture& picture) {
  FieldRenderer renderer(field.levels, field.hidden, field.occupancy.data(), field.resolution, field.aabb.data(),
                         dfanerf::Precision::float32, 1);
  const float* weights[3] = {field.weights[0].data(), field.weights[1].data(), field.weights[2].data()};
  const float* biases[3] = {field.biases[0].data(), field.biases[1].data(), field.biases[2].data()};
  renderer.load_network(weights, biases);
  renderer.load_constants(field.constants(), field.table.data(), field.blend.data());
  renderer.fold(field.condition.data(), field.head_pose.data());
  renderer.render(picture.view(), picture.buffers());
}

// What cuda/render_field.cu does, with launches replaced by the emulator.
template <int kInputTiles>
emulated::RayQueue render_emulated(const Field& field, Picture& picture, int n_blocks) {
  // Frames of every width that is asked for go through the same lines.
  emulated::RayQueue queue{};
  const auto with = [&](auto net) {
    using Net = decltype(net);
    std::vector<uint32_t> weights(Net::kWords, ~0u);
    const emulated::PackJob pack{{field.weights[0].data(), field.weights[1].data(), field.weights[2].data()},
                                 2 * static_cast<int>(field.levels.size()),
                                 weights.data()};
    emulated::run((Net::kWords + 255) / 256, 256, 0, [&] { emulated::pack_weights<Net>(pack); });

    const auto n_words = static_cast<std::size_t>(field.n_entries);
    const auto mix = [&](const float* base, const uint32_t* blend, const float* by, int n_blend, uint32_t* to) {
      const emulated::MixJob job{base, blend, by, n_blend, field.n_entries, to};
      const int threads = 64;
      const int blocks = static_cast<int>((n_words / emulated::kMixedWords + threads - 1) / threads);
      emulated::run(blocks, threads, 0, [&] { emulated::mix_words(job); });
    };
    std::vector<emulated::Words4> blend(n_words * field.n_blend / 4), table(n_words / 4);  // aligned
    auto* blend_words = reinterpret_cast<uint32_t*>(blend.data());
    auto* table_words = reinterpret_cast<uint32_t*>(table.data());
    std::vector<emulated::Words4> base(n_words / 2);
    for (int k = 0; k <= field.n_blend; ++k) {
      const float* from = k < field.n_blend ? field.blend.data() + 2 * n_words * k : field.table.data();
      std::copy(from, from + 2 * n_words, reinterpret_cast<float*>(base.data()));
      if (k < field.n_blend) mix(reinterpret_cast<float*>(base.data()), nullptr, nullptr, 0, blend_words + n_words * k);
    }

    std::vector<float> biases(2 * static_cast<std::size_t>(field.hidden) + 4, NAN),
        weights_of_tables(field.n_blend, NAN);
    std::copy(field.biases[1].begin(), field.biases[1].end(), biases.begin() + field.hidden);
    std::copy(field.biases[2].begin(), field.biases[2].end(), biases.begin() + 2 * field.hidden);
    emulated::FrameState frame{};
    const emulated::FoldJob fold{field.constants(), field.condition.data(),   field.head_pose.data(),
                                 biases.data(),     weights_of_tables.data(), &frame};
    emulated::run(1, 128, emulated::kFoldSharedBytes, [&] { emulated::fold_frame(fold); });
    mix(reinterpret_cast<float*>(base.data()), blend_words, weights_of_tables.data(), field.n_blend, table_words);

    const std::vector<float>& box = field.aabb;
    const float extent[3] = {box[3] - box[0], box[4] - box[1], box[5] - box[2]};
    const auto skip = dfanerf::cpu::make_skip_cells(field.occupancy.data(), field.resolution, extent, 1);
    emulated::RenderJob job{};
    job.frame = &frame;
    job.queue = &queue;
    job.table = table_words;
    job.weights = weights.data();
    job.biases = biases.data();
    job.skip = {skip.words.data(), field.resolution, skip.quantum};
    job.view = picture.view();
    job.buffers = picture.buffers();
    job.n_levels = static_cast<int>(field.levels.size());
    for (int l = 0; l < job.n_levels; ++l) {
      job.levels[l] = field.levels[static_cast<std::size_t>(l)];
      job.n_dense += !job.levels[l].hashed;
    }
    emulated::run(n_blocks, emulated::kRenderThreads, Net::kSharedBytes, [&] { emulated::render_rays<Net>(job); });
  };
  switch (field.hidden) {
    case 32: with(emulated::Network<kInputTiles, 32>{}); break;
    case 64: with(emulated::Network<kInputTiles, 64>{}); break;
    case 128: with(emulated::Network<kInputTiles, 128>{}); break;
  }
  return queue;
}

double psnr_db(const Picture& found, const Picture& expected) {
  double sum = 0.0;
  for (int y = 0; y < found.height; ++y)
    for (int x = 0; x < found.width; ++x)
      for (int c = 0; c < 3; ++c) sum += std::pow(found.value(x, y, c) - expected.value(x, y, c), 2.0);
  return -10.0 * std::log10(sum / (3.0 * found.width * found.height) + 1e-20);
}

// Renders both ways and compares picture, alpha and depth.
template <int kInputTiles>
void compare(const Field& field, int width, int height, bool bytes, int n_blocks, float focal = 1.3f) {
  Picture found(width, height, bytes), expected(width, height, bytes);
  found.focal = expected.focal = focal;
  render_on_cpu(field, expected);
  const emulated::RayQueue queue = render_emulated<kInputTiles>(field, found, n_blocks);
  const double psnr = psnr_db(found, expected);
  std::printf("  emulated CUDA, %zu levels, hidden %d, %dx%d%s, %d blocks: %.1f dB, %llu samples\n",
              field.levels.size(), field.hidden, width, height, bytes ? " bytes" : "", n_blocks, psnr, queue.samples);
  CHECK(psnr >= 45.0);
  CHECK(queue.samples > 0 && queue.lookups > queue.samples);
  double alpha = 0.0, most = 0.0;
  for (std::size_t i = 0; i < found.alpha.size(); ++i) {
    CHECK_NEAR(found.alpha[i], expected.alpha[i], 0.05);
    if (expected.alpha[i] > 0.1f) CHECK_NEAR(found.depth[i], expected.depth[i], 0.01);
    alpha += expected.alpha[i] / static_cast<double>(found.alpha.size());
    most = std::max(most, static_cast<double>(expected.alpha[i]));
  }
  if (width > 8) CHECK(alpha > 0.05 && alpha < 0.9 && most > 0.99);  // there is something to compare
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      const bool nothing = expected.alpha[static_cast<std::size_t>(y * width + x)] == 0.0f;
      for (int c = 0; c < 3 && nothing; ++c) CHECK(found.value(x, y, c) == found.behind(x, y, c));
    }
    for (int i = 0; i < found.padding; ++i) {  // nothing is written beside the picture
      const auto at = static_cast<std::size_t>(y * found.row() + 3 * width + i);
      CHECK(bytes ? found.image_bytes[at] == 77 : std::isnan(found.image[at]));
    }
  }
}

}  // namespace

TEST(emulated_half_precision) {
  CHECK(emulated::to_half(1.0f) == 0x3c00 && emulated::to_half(-2.0f) == 0xc000);
  CHECK(emulated::to_half(65504.0f) == 0x7bff && emulated::to_half(1e9f) == 0x7bff &&
        emulated::to_half(-1e9f) == 0xfbff);
  CHECK(emulated::to_half(0x1p-24f) == 1 && emulated::to_half(0x1p-26f) == 0 && emulated::to_half(0x1p-14f) == 0x400);
  CHECK(emulated::to_half(1.0f + 0x1p-11f) == 0x3c00 && emulated::to_half(1.0f + 3 * 0x1p-11f) == 0x3c02);  // to even
  for (uint32_t bits = 0; bits < 0x7c00; ++bits) CHECK(emulated::to_half(emulated::from_half(bits)) == bits);
}

// A product by hand: A holds row number + 1 in column 3 alone, B holds 1, 2, 4, ... along row 3.
TEST(emulated_tensor_core) {
  float sums[32][4];
  emulated::run(1, 32, 0, [&] {
    const int lane = emulated::lane_index(), group = lane / 4, pair = lane % 4;
    const uint32_t first = pair == 1 ? emulated::pack_half(0.0f, group + 1.0f) : 0u;
    const uint32_t second = pair == 1 ? emulated::pack_half(0.0f, group + 9.0f) : 0u;
    const uint32_t a[4] = {first, second, 0u, 0u};
    float sum[4] = {0.5f, 0.5f, 0.5f, 0.5f};
    emulated::multiply_add(sum, a, pair == 1 ? emulated::pack_half(7.0f * 0.0f, std::ldexp(1.0f, group)) : 0u, 0u);
    std::copy(sum, sum + 4, sums[lane]);
  });
  for (int lane = 0; lane < 32; ++lane)
    for (int i = 0; i < 4; ++i) {
      const int row = lane / 4 + i / 2 * 8, column = lane % 4 * 2 + i % 2;
      CHECK_NEAR(sums[lane][i], 0.5 + (row + 1.0) * std::ldexp(1.0, column), 0.0);
    }
}

// Shared memory has 32 banks of a word: a warp's accesses must all fall into different ones.
TEST(samples_in_shared_memory_meet_different_banks) {
  for (int word = 0; word < 32; ++word) {
    uint32_t written = 0, read = 0;
    for (int lane = 0; lane < 32; ++lane) {
      written |= 1u << emulated::swizzled(word, lane) % 32;
      const int sample = word / 8 * 8 + lane / 4;  // any eight samples
      read |= 1u << emulated::swizzled(word / 4 * 4 + lane % 4, sample) % 32;
    }
    CHECK(written == ~0u && read == ~0u);
  }
}

// tools/check_kernels.py counts on it.
TEST(shared_memory_of_a_block) {
  CHECK((emulated::Network<2, 64>::kSharedBytes == 30368));
  CHECK((emulated::Network<4, 128>::kSharedBytes == 85152));
}

TEST(fused_renderer_agrees_with_the_cpu) {
  compare<2>(Field(16, 64, false), 24, 20, false, 1);
  compare<2>(Field(16, 64, true), 24, 20, true, 2);
}

TEST(fused_renderer_takes_odd_sizes) {
  const Field field(12, 64, false);
  compare<2>(field, 17, 13, true, 3);  // more warps than tiles of rays
  compare<2>(field, 33, 9, false, 1);
  compare<2>(field, 1, 1, false, 1);
}

TEST(fused_renderer_in_every_width) {
  compare<2>(Field(5, 32, false), 19, 19, false, 1);
  compare<2>(Field(16, 128, false), 16, 16, false, 1);
  compare<4>(Field(20, 32, false), 16, 16, true, 1);
  compare<4>(Field(32, 64, true), 16, 16, false, 1);
  compare<4>(Field(17, 128, false), 16, 16, false, 1);
}

TEST(fused_renderer_shows_the_bundled_avatar) {
  const std::string here = __FILE__;
  const auto avatar =
      dfanerf::load_avatar(here.substr(0, here.rfind('/')) + "/../../dfanerf_rt/assets/presenter.safetensors");
  compare<2>(Field(avatar), 32, 32, true, 2, avatar.view.focal_px / avatar.view.width);
}

TEST(fused_renderer_over_nothing) {
  Field field(16, 64, false);
  std::fill(field.occupancy.begin(), field.occupancy.end(), uint8_t{0});
  Picture picture(21, 10, true);
  const emulated::RayQueue queue = render_emulated<2>(field, picture, 2);
  CHECK(queue.samples == 0);
  for (int y = 0; y < 10; ++y)
    for (int x = 0; x < 21; ++x)
      for (int c = 0; c < 3; ++c) CHECK(picture.value(x, y, c) == picture.behind(x, y, c));
  CHECK(std::all_of(picture.alpha.begin(), picture.alpha.end(), [](float a) { return a == 0.0f; }));
  CHECK(std::all_of(picture.depth.begin(), picture.depth.end(), [](float d) { return d == 0.0f; }));
}

// Neither loops for ever nor reads outside its tables.
TEST(fused_renderer_survives_numbers_that_are_none) {
  Field field(16, 64, false);
  field.head_pose[1] = NAN;
  field.condition[3] = INFINITY;
  Picture picture(9, 9, true);
  render_emulated<2>(field, picture, 1);
  Field large(16, 64, false);
  for (float& weight : large.weights[0]) weight *= 1e6f;  // hidden units beyond what float16 holds
  Picture saturated(9, 9, false);
  render_emulated<2>(large, saturated, 1);
  for (int y = 0; y < 9; ++y)
    for (int x = 0; x < 9; ++x) CHECK(std::isfinite(saturated.value(x, y, 0)));
}
