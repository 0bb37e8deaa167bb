// The kernels of the training operators, run on the host thread by thread, against the CPU's operators.
#define DFANERF_EMULATE_CUDA
#include <algorithm>
#include <random>
#include <vector>

#include "cuda/composite_rays.cuh"
#include "cuda/condition_layer.cuh"
#include "cuda/hash_encode.cuh"
#include "cuda/march_rays.cuh"
#include "dfanerf/composite_rays.h"
#include "dfanerf/hash_encode.h"
#include "dfanerf/march_rays.h"
#include "tests/test.h"

namespace emulated = dfanerf::emulated;

namespace {

std::vector<float> noise(size_t count, unsigned seed, float low, float high) {
  std::mt19937 generator(seed);
  std::uniform_real_distribution<float> uniform(low, high);
  std::vector<float> values(count);
  for (float& value : values) value = uniform(generator);
  return values;
}

int blocks(int64_t n, int per_block) {
  return static_cast<int>((n + per_block - 1) / per_block);
}

double norm(const std::vector<float>& values) {
  double sum = 0.0;
  for (float value : values) sum += static_cast<double>(value) * value;
  return std::sqrt(sum);
}

// |found - expected| / |expected|
double apart(const std::vector<float>& found, const std::vector<float>& expected) {
  std::vector<float> difference(expected.size());
  for (size_t i = 0; i < expected.size(); ++i) difference[i] = found[i] - expected[i];
  return norm(difference) / (norm(expected) + 1e-30);
}

// Rays of random lengths, some empty, one long.
struct SomeRays {
  std::vector<int64_t> offsets{0};
  std::vector<float> sigma, rgb, t;
  dfanerf::PackedRays rays;

  explicit SomeRays(int n_rays) {
    std::mt19937 generator(3);
    for (int r = 0; r < n_rays; ++r)
      offsets.push_back(offsets.back() +
                        (r == 5 ? 333 : static_cast<int64_t>(generator() % 70) * (generator() % 3 > 0)));
    const size_t n = static_cast<size_t>(offsets.back());
    sigma = noise(n, 1, 0.0f, 60.0f);
    rgb = noise(3 * n, 2, 0.0f, 1.0f);
    t = noise(n, 3, 0.0f, 0.002f);
    for (int r = 0; r < n_rays; ++r)
      for (int64_t i = offsets[r]; i < offsets[r + 1]; ++i) t[i] += 0.5f + 0.003f * static_cast<float>(i - offsets[r]);
    rays = {offsets.data(), n_rays, static_cast<int64_t>(n), sigma.data(), rgb.data(), t.data(), 0.0026f};
  }
};

struct Composited {
  std::vector<float> colour, transmittance, distortion, weights;
  dfanerf::CompositedRays out;

  explicit Composited(const dfanerf::PackedRays& rays)
      : colour(3 * rays.n_rays, NAN),
        transmittance(rays.n_rays, NAN),
        distortion(rays.n_rays, NAN),
        weights(rays.n_samples, NAN) {
    out = {colour.data(), transmittance.data(), distortion.data(), weights.data()};
  }
};

}  // namespace

TEST(a_warp_composites_as_one_lane_does) {
  const SomeRays some(37);
  Composited ours(some.rays), theirs(some.rays);
  emulated::run(blocks(37, 4), 128, 0, [&] { emulated::composite_rays(some.rays, ours.out); });
  dfanerf::cpu::composite_rays_forward(some.rays, theirs.out, 1);
  CHECK(apart(ours.colour, theirs.colour) < 1e-5);
  CHECK(apart(ours.transmittance, theirs.transmittance) < 1e-5);
  CHECK(apart(ours.distortion, theirs.distortion) < 1e-4);
  CHECK(apart(ours.weights, theirs.weights) < 1e-5);

  const auto colour = noise(3 * 37, 5, -1.0f, 1.0f), light = noise(37, 6, -1.0f, 1.0f);
  const auto distortion = noise(37, 7, -1.0f, 1.0f);
  const size_t n = static_cast<size_t>(some.rays.n_samples);
  std::vector<float> sigma[2], rgb[2];
  for (int i = 0; i < 2; ++i) {
    sigma[i].assign(n, NAN);
    rgb[i].assign(3 * n, NAN);
    const dfanerf::CompositeGradients gradients = {
        theirs.transmittance.data(), theirs.weights.data(), colour.data(), light.data(),
        distortion.data(),           sigma[i].data(),       rgb[i].data()};
    if (i == 0)
      emulated::run(blocks(37, 4), 128, 0, [&] { emulated::composite_rays_gradient(some.rays, gradients); });
    else
      dfanerf::cpu::composite_rays_backward(some.rays, gradients, 1);
  }
  CHECK(apart(sigma[0], sigma[1]) < 1e-4);
  CHECK(apart(rgb[0], rgb[1]) < 1e-5);
}

TEST(offsets_of_other_samples_are_not_followed) {
  float sigma = 1.0f, rgb[3] = {1.0f, 1.0f, 1.0f}, t = 0.5f;
  const int64_t offsets[3] = {-1000, 1, 1 << 30};
  const dfanerf::PackedRays rays = {offsets, 2, 1, &sigma, rgb, &t, 0.1f};
  Composited out(rays);
  emulated::run(1, 64, 0, [&] { emulated::composite_rays(rays, out.out); });
  CHECK_NEAR(out.transmittance[0], std::exp(-0.1), 1e-6);
  CHECK_NEAR(out.transmittance[1], 1.0, 0.0);
}

TEST(a_warp_marches_as_the_cpu_does) {
  const int n = 71, steps = 100, resolution = 9;
  const float head[3] = {0.5f, 0.5f, -2.0f}, torso[3] = {0.53f, 0.48f, -1.9f}, neck = 2.0f;
  auto slopes = noise(3 * n, 1, -0.25f, 0.25f), low = noise(3 * n, 2, -0.25f, 0.25f);
  for (int r = 0; r < n; ++r) slopes[3 * r + 2] = low[3 * r + 2] = 1.0f;
  const auto bend = noise(n, 3, -40.0f, 40.0f), jitter = noise(n, 4, 0.0f, 1.0f);
  std::vector<uint8_t> cells(resolution * resolution * resolution);
  std::mt19937 generator(5);
  for (uint8_t& cell : cells) cell = generator() % 2;
  dfanerf::RayMarch march;
  march.head_origin = head, march.torso_origin = torso, march.neck_origin = &neck;
  march.head_slope = slopes.data(), march.torso_slope = low.data(), march.neck_slope = bend.data();
  march.jitter = jitter.data();
  march.n = n;
  march.cells = cells.data(), march.resolution = resolution;
  march.near_m = 1.5f, march.step_m = 0.02f, march.n_steps = steps, march.words = 4;

  std::vector<uint32_t> hits[2];
  std::vector<int64_t> offsets[2], ray[2];
  std::vector<float> t[2];
  for (int i = 0; i < 2; ++i) {
    hits[i].assign(static_cast<size_t>(n) * 4, 0xdeadbeef);
    offsets[i].assign(n + 1, 0);
    if (i == 0)
      emulated::run(blocks(n, 4), 128, 0, [&] { emulated::count_ray(march, hits[0].data(), offsets[0].data() + 1); });
    else
      dfanerf::cpu::march_rays_count(march, hits[1].data(), offsets[1].data() + 1, 2);
    for (int r = 0; r < n; ++r) offsets[i][r + 1] += offsets[i][r];
    ray[i].assign(static_cast<size_t>(offsets[i][n]), -1);
    t[i].assign(ray[i].size(), NAN);
    const dfanerf::MarchedRays out = {hits[i].data(), offsets[i].data(), offsets[i][n], ray[i].data(), t[i].data()};
    if (i == 0)
      emulated::run(blocks(n, 4), 128, 0, [&] { emulated::write_ray(march, out); });
    else
      dfanerf::cpu::march_rays_write(march, out, 2);
  }
  CHECK(ray[0].size() > 500);
  CHECK(std::is_sorted(ray[0].begin(), ray[0].end()));
  // A sample on the border of a cell may fall to either side where the processor rounds otherwise.
  int differ = 0;
  for (size_t w = 0; w < hits[0].size(); ++w) differ += __builtin_popcount(hits[0][w] ^ hits[1][w]);
  CHECK(differ <= 2);
  if (differ == 0) {
    CHECK(ray[0] == ray[1]);
    CHECK(apart(t[0], t[1]) < 1e-7);
  }
  for (size_t i = 1; i < t[0].size(); ++i) CHECK(ray[0][i] != ray[0][i - 1] || t[0][i] > t[0][i - 1]);
}

TEST(blocks_encode_as_the_cpu_does) {
  for (int features : {1, 2, 4, 8}) {
    dfanerf::HashGrid grid;  // dense, and hashed twice; a number of levels that no block's warps share evenly
    grid.n_levels = 9;
    grid.n_features = features;
    for (int l = 0; l < grid.n_levels; ++l) {
      const uint32_t side = l < 2 ? 4 : 16u << l / 3, entries = l < 2 ? 64 : 128;
      grid.levels[l] = {static_cast<float>(side) - 1.0f, side, entries, static_cast<uint32_t>(grid.n_entries), l >= 2};
      grid.n_entries += entries;
    }
    const int64_t n = 75;
    auto positions = noise(3 * n, 1, -0.1f, 1.1f);
    for (int i = 0; i < 30; ++i)  // samples of one ray: neighbours lie in one cell
      for (int d = 0; d < 3; ++d) positions[3 * i + d] = 0.3f + 0.004f * static_cast<float>(i * (d == 2));
    const auto table = noise(static_cast<size_t>(grid.n_entries) * features, 2, -1.0f, 1.0f);
    const auto grad_out = noise(static_cast<size_t>(n) * grid.n_output(), 3, -1.0f, 1.0f);
    std::vector<float> out[2], grad_table[2], grad_positions[2];
    for (int i = 0; i < 2; ++i) {
      out[i].assign(grad_out.size(), NAN);
      grad_table[i].assign(table.size(), 0.0f);
      grad_positions[i].assign(3 * n, NAN);
    }
    const auto forward = [&](auto width) {
      constexpr int N = decltype(width)::value;
      emulated::run(blocks(n, 32), emulated::kEncodeThreads, emulated::encode_shared_bytes(grid, false),
                    [&] { emulated::encode_block<N>(grid, positions.data(), n, table.data(), out[0].data()); });
      emulated::run(blocks(n, 32), emulated::kEncodeThreads, emulated::encode_shared_bytes(grid, true), [&] {
        emulated::encode_block_gradient<N>(grid, positions.data(), n, table.data(), grad_out.data(),
                                           grad_table[0].data(), grad_positions[0].data());
      });
    };
    if (features == 1) forward(std::integral_constant<int, 1>());
    if (features == 2) forward(std::integral_constant<int, 2>());
    if (features == 4) forward(std::integral_constant<int, 4>());
    if (features == 8) forward(std::integral_constant<int, 8>());
    dfanerf::cpu::hash_encode_forward(grid, positions.data(), n, table.data(), out[1].data(), 1);
    dfanerf::cpu::hash_encode_backward(grid, positions.data(), n, table.data(), grad_out.data(), grad_table[1].data(),
                                       grad_positions[1].data(), 1);
    CHECK(apart(out[0], out[1]) < 1e-5);
    CHECK(apart(grad_table[0], grad_table[1]) < 1e-5);
    CHECK(apart(grad_positions[0], grad_positions[1]) < 1e-4);
  }
}

TEST(blocks_of_the_conditioned_layer) {
  struct Size {
    int64_t n;
    int features, frames, outputs;
  };
  for (const Size& size : {Size{1, 1, 1, 1}, Size{130, 32, 3, 64}, Size{77, 40, 2, 70}, Size{33, 0, 2, 5}}) {
    const auto features = noise(size.n * size.features, 1, -1.0f, 1.0f),
               rows = noise(size.frames * size.outputs, 2, -1.0f, 1.0f);
    const auto weight = noise(size.outputs * size.features, 3, -0.3f, 0.3f);
    const auto grad_out = noise(size.n * size.outputs, 4, -1.0f, 1.0f);
    std::vector<int32_t> frame(size.n);
    for (int64_t i = 0; i < size.n; ++i) frame[i] = static_cast<int32_t>(i * size.frames / size.n);
    frame[0] = -7;  // taken as 0
    frame.back() = 1 << 30;
    dfanerf::ConditionLayer layer;
    layer.features = features.data(), layer.rows = rows.data(), layer.frame = frame.data(),
    layer.weight = weight.data();
    layer.n = size.n, layer.n_features = size.features, layer.n_frames = size.frames, layer.n_outputs = size.outputs;

    // In the order of the definition, in double precision.
    std::vector<float> out(size.n * size.outputs), grad_features(features.size()), grad_rows(rows.size()),
        grad_weight(weight.size());
    std::vector<double> by_weight(weight.size()), by_rows(rows.size());
    for (int64_t i = 0; i < size.n; ++i) {
      const int row = std::clamp(frame[i], 0, size.frames - 1);
      std::vector<double> by_features(size.features);
      for (int h = 0; h < size.outputs; ++h) {
        double sum = rows[row * size.outputs + h];
        for (int d = 0; d < size.features; ++d)
          sum += static_cast<double>(weight[h * size.features + d]) * features[i * size.features + d];
        out[i * size.outputs + h] = sum > 0.0 ? static_cast<float>(sum) : 0.0f;
        const double g = sum > 0.0 ? grad_out[i * size.outputs + h] : 0.0;
        by_rows[row * size.outputs + h] += g;
        for (int d = 0; d < size.features; ++d) {
          by_features[d] += g * weight[h * size.features + d];
          by_weight[h * size.features + d] += g * features[i * size.features + d];
        }
      }
      for (int d = 0; d < size.features; ++d) grad_features[i * size.features + d] = static_cast<float>(by_features[d]);
    }
    std::copy(by_rows.begin(), by_rows.end(), grad_rows.begin());
    std::copy(by_weight.begin(), by_weight.end(), grad_weight.begin());

    std::vector<float> found(out.size(), NAN), found_features(features.size(), NAN), found_rows(rows.size(), 0.0f),
        found_weight(weight.size(), 0.0f);
    dfanerf::ConditionLayerGradients gradients;
    gradients.out = found.data(), gradients.grad_out = grad_out.data();
    gradients.features = found_features.data(), gradients.rows = found_rows.data(),
    gradients.weight = found_weight.data();
    const int threads = emulated::kLayerThreads, shared = emulated::kLayerSharedBytes;
    for (int h = 0; h < size.outputs; h += emulated::kTileColumns)
      emulated::run(blocks(size.n, emulated::kTileRows), threads, shared,
                    [&] { emulated::layer_block(layer, h, found.data()); });
    for (int d = 0; d < size.features; d += emulated::kTileColumns)
      emulated::run(blocks(size.n, emulated::kTileRows), threads, shared,
                    [&] { emulated::layer_features_gradient(layer, gradients, d); });
    const int64_t part = 50;  // samples a block, of which the last has fewer
    for (int h = 0; h < size.outputs; h += emulated::kTileRows)
      for (int d = 0; d < std::max(size.features, 1); d += emulated::kTileColumns)
        emulated::run(blocks(size.n, part), threads, shared,
                      [&] { emulated::layer_weight_gradient(layer, gradients, part, h, d); });
    CHECK(apart(found, out) < 1e-5);
    CHECK(apart(found_features, grad_features) < 1e-5);
    CHECK(apart(found_rows, grad_rows) < 1e-5);
    CHECK(apart(found_weight, grad_weight) < 1e-5);
  }
}
