#include <random>
#include <vector>

#include "dfanerf/hash_encode.h"
#include "tests/test.h"

using dfanerf::HashGrid;

namespace {

// A dense level of 4 grid points an axis and a hashed one of 16 in 32 entries.
HashGrid two_levels(int n_features) {
  HashGrid grid;
  grid.n_levels = 2;
  grid.n_features = n_features;
  grid.n_entries = 64 + 32;
  grid.levels[0] = {3.0f, 4, 64, 0, 0};
  grid.levels[1] = {15.0f, 16, 32, 64, 1};
  return grid;
}

std::vector<float> noise(size_t count, unsigned seed, float low, float high) {
  std::mt19937 generator(seed);
  std::uniform_real_distribution<float> uniform(low, high);
  std::vector<float> values(count);
  for (float& value : values) value = uniform(generator);
  return values;
}

}  // namespace

TEST(entries_of_grid_points) {
  const HashGrid grid = two_levels(1);
  uint32_t entry[8];
  const uint32_t middle[3] = {1, 2, 3};
  dfanerf::math::corner_entries(grid.levels[0], middle, entry);
  CHECK(entry[0] == 1 + 4 * 2 + 16 * 3);
  CHECK(entry[1] == 2 + 4 * 2 + 16 * 3);
  const uint32_t face[3] = {3, 3, 3};
  dfanerf::math::corner_entries(grid.levels[0], face, entry);
  CHECK(entry[1] == 0);  // 4 + 12 + 48 wraps at 64
  // 3 ^ 2654435761 ^ 805459861: the low five bits are 00011 ^ 10001 ^ 10101 = 00111.
  const uint32_t far[3] = {3, 1, 1};
  dfanerf::math::corner_entries(grid.levels[1], far, entry);
  CHECK(entry[0] == 7);
}

TEST(a_dense_sample_by_hand) {
  const HashGrid grid = two_levels(1);
  std::vector<float> table(96, 0.0f);
  for (int i = 0; i < 64; ++i) table[static_cast<size_t>(i)] = static_cast<float>(i * i);
  const float position[3] = {0.25f, 0.5f, 0.75f};  // cell (1, 2, 2), fraction (0.25, 0, 0.75)
  float out[2];
  dfanerf::cpu::hash_encode_forward(grid, position, 1, table.data(), out, 1);
  CHECK_NEAR(out[0], 0.1875 * 41 * 41 + 0.0625 * 42 * 42 + 0.5625 * 57 * 57 + 0.1875 * 58 * 58, 1e-3);
  CHECK_NEAR(out[1], 0.0, 0.0);
}

// The encoding is linear in the table: <grad, encode(table)> = <backward(grad), table>.
TEST(backward_is_the_adjoint_of_forward) {
  for (int features : {1, 2, 4, 8}) {
    const HashGrid grid = two_levels(features);
    const int64_t n = 1003;
    const auto positions = noise(3 * n, 1, 0.0f, 1.0f);
    const auto table = noise(static_cast<size_t>(grid.n_entries) * features, 2, -1.0f, 1.0f);
    const auto grad = noise(static_cast<size_t>(n) * grid.n_output(), 3, -1.0f, 1.0f);
    std::vector<float> out(grad.size(), NAN), grad_table(table.size(), NAN);
    dfanerf::cpu::hash_encode_forward(grid, positions.data(), n, table.data(), out.data(), 2);
    dfanerf::cpu::hash_encode_backward(grid, positions.data(), n, table.data(), grad.data(), grad_table.data(), nullptr,
                                       2);
    double forward = 0.0, backward = 0.0;
    for (size_t i = 0; i < out.size(); ++i) forward += static_cast<double>(out[i]) * grad[i];
    for (size_t i = 0; i < table.size(); ++i) backward += static_cast<double>(grad_table[i]) * table[i];
    CHECK_NEAR(forward, backward, 1e-2);
  }
}
