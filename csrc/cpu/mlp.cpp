// The field's network in training on the CPU: padded copies of its weights, choice of the SIMD variant, and the split
// among threads.
#include "dfanerf/mlp.h"

#include <algorithm>
#include <new>
#include <utility>
#include <vector>

#include "cpu/mlp_rows.h"
#include "dfanerf/cpu_features.h"
#include "dfanerf/thread_pool.h"

namespace dfanerf::cpu {

#define DFANERF_DECLARE(variant)                                                                                       \
  namespace variant {                                                                                                  \
  void mlp_forward_range(const MlpLayers&, const PaddedLayers&, const float*, int64_t, int64_t, float*, float*);       \
  void mlp_backward_range(const MlpLayers&, const PaddedLayers&, const float*, int64_t, int64_t, const float*, float*, \
                          const PaddedGradients&, float*);                                                             \
  }
DFANERF_DECLARE(portable)
DFANERF_DECLARE(avx2)
DFANERF_DECLARE(avx512)
#undef DFANERF_DECLARE

namespace {

constexpr int64_t kSamplesPerChunk = 24 * kBlockRows;
constexpr std::size_t kCacheLine = 64;

// Zeroed floats that begin on a cache line.
class Floats {
 public:
  explicit Floats(int64_t count)
      : data_(static_cast<float*>(
            ::operator new(sizeof(float) * std::max<int64_t>(count, 1), std::align_val_t{kCacheLine}))) {
    std::fill(data_, data_ + count, 0.0f);
  }
  Floats(Floats&& other) noexcept : data_(std::exchange(other.data_, nullptr)) {}
  Floats(const Floats&) = delete;
  ~Floats() { ::operator delete(data_, std::align_val_t{kCacheLine}); }
  float* get() const { return data_; }

 private:
  float* data_;
};

// (n_out, n_in) into rows of padded outputs, or transposed.
Floats pad(const float* weights, int n_out, int n_in, bool transpose) {
  const int rows = padded(transpose ? n_in : n_out), columns = padded(transpose ? n_out : n_in);
  Floats copy(int64_t{rows} * columns);
  for (int o = 0; o < n_out; ++o)
    for (int k = 0; k < n_in; ++k)
      copy.get()[transpose ? int64_t{k} * columns + o : int64_t{o} * columns + k] = weights[int64_t{o} * n_in + k];
  return copy;
}

// The sum of a padded gradient's parts, without the padding.
void gather(const std::vector<Floats>& parts, int64_t offset, int n_out, int n_in, float* target) {
  const int columns = padded(n_in);
  for (int o = 0; o < n_out; ++o)
    for (int k = 0; k < n_in; ++k) {
      float sum = 0.0f;
      for (const Floats& part : parts) sum += part.get()[offset + int64_t{o} * columns + k];
      target[int64_t{o} * n_in + k] = sum;
    }
}

class Padded {
 public:
  explicit Padded(const MlpLayers& m)
      : copies_{pad(m.w1, m.hidden, m.n_in, true),  pad(m.w2, m.hidden, m.hidden, true),
                pad(m.w3, m.n_out, m.hidden, true), pad(m.b1, 1, m.hidden, false),
                pad(m.b2, 1, m.hidden, false),      pad(m.b3, 1, m.n_out, false),
                pad(m.w1, m.hidden, m.n_in, false), pad(m.w2, m.hidden, m.hidden, false),
                pad(m.w3, m.n_out, m.hidden, false)},
        layers{padded(m.n_in),   padded(m.hidden), padded(m.n_out),  copies_[0].get(),
               copies_[1].get(), copies_[2].get(), copies_[3].get(), copies_[4].get(),
               copies_[5].get(), copies_[6].get(), copies_[7].get(), copies_[8].get()} {}

 private:
  Floats copies_[9];

 public:
  const PaddedLayers layers;
};

}  // namespace

void mlp_forward(const MlpLayers& layers, const float* features, int64_t n, float* out, int n_threads) {
  auto* run = DFANERF_SIMD_SELECT(mlp_forward_range);
  const Padded copies(layers);
  parallel_for(n, kSamplesPerChunk, n_threads, [&](int64_t begin, int64_t end) {
    const Floats scratch(forward_scratch(copies.layers));
    run(layers, copies.layers, features, begin, end, out, scratch.get());
  });
}

void mlp_backward(const MlpLayers& layers, const float* features, int64_t n, const float* grad_out,
                  const MlpGradients& gradients, int n_threads) {
  auto* run = DFANERF_SIMD_SELECT(mlp_backward_range);
  const Padded copies(layers);
  const PaddedLayers& p = copies.layers;
  const int64_t w1 = int64_t{p.hidden} * p.n_in, w2 = int64_t{p.hidden} * p.hidden, w3 = int64_t{p.n_out} * p.hidden;
  const int64_t offset[] = {
      0, w1, w1 + p.hidden, w1 + p.hidden + w2, w1 + 2 * p.hidden + w2, w1 + 2 * p.hidden + w2 + w3};
  // A part of the samples and sums of its own for each thread, so that the order of addition is fixed.
  const int64_t n_blocks = (n + kBlockRows - 1) / kBlockRows;
  const auto n_parts =
      static_cast<int>(std::clamp<int64_t>(std::min<int64_t>(n_threads, n_blocks), 1, ThreadPool::kMaxThreads));
  std::vector<Floats> parts;
  for (int part = 0; part < n_parts; ++part) parts.emplace_back(offset[5] + p.n_out);
  parallel_for(n_parts, 1, n_parts, [&](int64_t first, int64_t last) {
    for (int64_t part = first; part < last; ++part) {
      float* sums = parts[static_cast<std::size_t>(part)].get();
      const Floats scratch(backward_scratch(p));
      run(layers, p, features, n_blocks * part / n_parts * kBlockRows,
          std::min(n, n_blocks * (part + 1) / n_parts * kBlockRows), grad_out, gradients.features,
          {sums + offset[0], sums + offset[1], sums + offset[2], sums + offset[3], sums + offset[4], sums + offset[5]},
          scratch.get());
    }
  });
  gather(parts, offset[0], layers.hidden, layers.n_in, gradients.w1);
  gather(parts, offset[1], 1, layers.hidden, gradients.b1);
  gather(parts, offset[2], layers.hidden, layers.hidden, gradients.w2);
  gather(parts, offset[3], 1, layers.hidden, gradients.b2);
  gather(parts, offset[4], layers.n_out, layers.hidden, gradients.w3);
  gather(parts, offset[5], 1, layers.n_out, gradients.b3);
}

}  // namespace dfanerf::cpu
