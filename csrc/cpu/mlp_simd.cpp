// The field's network in training, a block of samples at a time. Rows are samples and lanes are neighbouring columns,
// so that features, weights and gradients are read as they lie in memory. Compiled once a SIMD variant; see
// dfanerf/cpu_features.h.
#include <cstdint>
#include <cstring>

#include "cpu/mlp_rows.h"
#include "math/numbers.h"

namespace dfanerf::cpu::DFANERF_SIMD_NAMESPACE {
namespace {

#ifdef __AVX512F__
constexpr int kVectors = 4;  // columns of a tile, in vectors: with kRows it fills the registers
#else
constexpr int kVectors = 2;
#endif
constexpr int kRows = 6;
constexpr int kOuterRows = 4;

// out[r] = start + sum over k of a[r][k] b[k], for kRows rows and V vectors of columns; relu, or cut off where `keep`
// is not positive.
template <int V>
DFANERF_HD void product_tile(const float* a, int a_stride, int n_k, const float* b, int b_stride, const float* bias,
                             bool relu, const float* keep, float* out, int out_stride) {
  F sum[kRows][V];
  for (int v = 0; v < V; ++v) {
    const F start = bias ? load<F>(bias + v * kLanes) : splat(0.0f);
    for (int r = 0; r < kRows; ++r) sum[r][v] = start;
  }
  for (int k = 0; k < n_k; ++k) {
    F column[V];
    for (int v = 0; v < V; ++v) column[v] = load<F>(b + k * b_stride + v * kLanes);
    for (int r = 0; r < kRows; ++r) {
      const F x = splat(a[r * a_stride + k]);
      for (int v = 0; v < V; ++v) sum[r][v] = mul_add(x, column[v], sum[r][v]);
    }
  }
  for (int r = 0; r < kRows; ++r)
    for (int v = 0; v < V; ++v) {
      F value = sum[r][v];
      if (relu) value = maximum(value, splat(0.0f));
      if (keep) value = select(mask(load<F>(keep + r * out_stride + v * kLanes) > splat(0.0f)), value, splat(0.0f));
      store(out + r * out_stride + v * kLanes, value);
    }
}

// out (rows, n_columns) = a (rows, n_k) b (n_k, n_columns), for kBlockRows rows.
void product(const float* a, int a_stride, int n_k, const float* b, int n_columns, const float* bias, bool relu,
             const float* keep, float* out) {
  constexpr int wide = kVectors * kLanes;
  for (int r = 0; r < kBlockRows; r += kRows) {
    const float* rows = a + r * a_stride;
    const auto at = [&](const float* rest, int c) { return rest ? rest + c : nullptr; };
    int c = 0;
    for (; c + wide <= n_columns; c += wide)
      product_tile<kVectors>(rows, a_stride, n_k, b + c, n_columns, at(bias, c), relu, at(keep, r * n_columns + c),
                             out + r * n_columns + c, n_columns);
    for (; c < n_columns; c += kLanes)
      product_tile<1>(rows, a_stride, n_k, b + c, n_columns, at(bias, c), relu, at(keep, r * n_columns + c),
                      out + r * n_columns + c, n_columns);
  }
}

// sum (kOuterRows, V vectors) += transposed g (rows, kOuterRows) x (rows, V vectors).
template <int V>
DFANERF_HD void outer_tile(const float* g, int g_stride, const float* x, int x_stride, float* sum, int sum_stride) {
  F total[kOuterRows][V];
  for (int o = 0; o < kOuterRows; ++o)
    for (int v = 0; v < V; ++v) total[o][v] = load<F>(sum + o * sum_stride + v * kLanes);
  for (int r = 0; r < kBlockRows; ++r) {
    F row[V];
    for (int v = 0; v < V; ++v) row[v] = load<F>(x + r * x_stride + v * kLanes);
    for (int o = 0; o < kOuterRows; ++o) {
      const F weight = splat(g[r * g_stride + o]);
      for (int v = 0; v < V; ++v) total[o][v] = mul_add(weight, row[v], total[o][v]);
    }
  }
  for (int o = 0; o < kOuterRows; ++o)
    for (int v = 0; v < V; ++v) store(sum + o * sum_stride + v * kLanes, total[o][v]);
}

// sum (n_g, n_x) += transposed g (rows, n_g) x (rows, n_x); bias (n_g,) += g summed over rows.
void outer(const float* g, int n_g, const float* x, int n_x, float* sum, float* bias) {
  constexpr int wide = kVectors * kLanes;
  for (int o = 0; o < n_g; o += kOuterRows) {
    int c = 0;
    for (; c + wide <= n_x; c += wide) outer_tile<kVectors>(g + o, n_g, x + c, n_x, sum + o * n_x + c, n_x);
    for (; c < n_x; c += kLanes) outer_tile<1>(g + o, n_g, x + c, n_x, sum + o * n_x + c, n_x);
  }
  for (int c = 0; c < n_g; c += kLanes) {
    F total = load<F>(bias + c);
    for (int r = 0; r < kBlockRows; ++r) total = total + load<F>(g + r * n_g + c);
    store(bias + c, total);
  }
}

// Rows of `width` numbers to rows of `padded_width`; what is missing becomes zero.
void load_rows(const float* source, int width, int count, float* target, int padded_width) {
  if (count < kBlockRows || width < padded_width)
    std::memset(target, 0, sizeof(float) * kBlockRows * static_cast<size_t>(padded_width));
  for (int r = 0; r < count; ++r)
    std::memcpy(target + r * padded_width, source + static_cast<int64_t>(r) * width, sizeof(float) * width);
}

void store_rows(const float* source, int padded_width, int count, float* target, int width) {
  for (int r = 0; r < count; ++r)
    std::memcpy(target + static_cast<int64_t>(r) * width, source + r * padded_width, sizeof(float) * width);
}

int rows_from(int64_t begin, int64_t end) {
  return end - begin < kBlockRows ? static_cast<int>(end - begin) : kBlockRows;
}

}  // namespace

void mlp_forward_range(const MlpLayers& layers, const PaddedLayers& p, const float* features, int64_t begin,
                       int64_t end, float* out, float* scratch) {
  float* x = scratch;
  float* h1 = x + kBlockRows * p.n_in;
  float* h2 = h1 + kBlockRows * p.hidden;
  float* y = h2 + kBlockRows * p.hidden;
  for (; begin < end; begin += kBlockRows) {
    const int count = rows_from(begin, end);
    load_rows(features + begin * layers.n_in, layers.n_in, count, x, p.n_in);
    product(x, p.n_in, p.n_in, p.w1_in, p.hidden, p.b1, true, nullptr, h1);
    product(h1, p.hidden, p.hidden, p.w2_in, p.hidden, p.b2, true, nullptr, h2);
    product(h2, p.hidden, p.hidden, p.w3_in, p.n_out, p.b3, false, nullptr, y);
    store_rows(y, p.n_out, count, out + begin * layers.n_out, layers.n_out);
  }
}

void mlp_backward_range(const MlpLayers& layers, const PaddedLayers& p, const float* features, int64_t begin,
                        int64_t end, const float* grad_out, float* grad_features, const PaddedGradients& sums,
                        float* scratch) {
  float* x = scratch;
  float* gx = x + kBlockRows * p.n_in;
  float* h1 = gx + kBlockRows * p.n_in;
  float* h2 = h1 + kBlockRows * p.hidden;
  float* g1 = h2 + kBlockRows * p.hidden;
  float* g2 = g1 + kBlockRows * p.hidden;
  float* g3 = g2 + kBlockRows * p.hidden;
  for (; begin < end; begin += kBlockRows) {
    const int count = rows_from(begin, end);
    load_rows(features + begin * layers.n_in, layers.n_in, count, x, p.n_in);
    load_rows(grad_out + begin * layers.n_out, layers.n_out, count, g3, p.n_out);
    product(x, p.n_in, p.n_in, p.w1_in, p.hidden, p.b1, true, nullptr, h1);
    product(h1, p.hidden, p.hidden, p.w2_in, p.hidden, p.b2, true, nullptr, h2);
    outer(g3, p.n_out, h2, p.hidden, sums.w3, sums.b3);
    product(g3, p.n_out, layers.n_out, p.w3_out, p.hidden, nullptr, false, h2, g2);
    outer(g2, p.hidden, h1, p.hidden, sums.w2, sums.b2);
    product(g2, p.hidden, p.hidden, p.w2_out, p.hidden, nullptr, false, h1, g1);
    outer(g1, p.hidden, x, p.n_in, sums.w1, sums.b1);
    if (grad_features == nullptr) continue;
    product(g1, p.hidden, p.hidden, p.w1_out, p.n_in, nullptr, false, nullptr, gx);
    store_rows(gx, p.n_in, count, grad_features + begin * layers.n_in, layers.n_in);
  }
}

}  // namespace dfanerf::cpu::DFANERF_SIMD_NAMESPACE
