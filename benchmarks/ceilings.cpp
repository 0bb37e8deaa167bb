// What this processor can do at most: multiply-adds in registers, and gathers of 4-byte words from a table. Compiled
// by ceilings.py for the processor at hand; each function runs n_threads threads for about `seconds` of processor time
// each, which other programs do not shorten, and returns operations a second.
#include <time.h>

#include <cstdint>
#include <thread>
#include <vector>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace {

double thread_seconds() {
  timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

// work(repeats) does a known number of operations and returns something that depends on all of them.
template <typename Work>
double rate(int n_threads, double seconds, double operations_a_repeat, Work work) {
  std::vector<double> rates(n_threads);
  std::vector<float> kept(n_threads);
  std::vector<std::thread> threads;
  for (int i = 0; i < n_threads; ++i) {
    threads.emplace_back([&, i] {
      work(2000);
      const double start = thread_seconds();
      double passed = 0.0, repeats = 0.0;
      while (passed < seconds) {
        kept[i] += work(2000);
        repeats += 2000.0;
        passed = thread_seconds() - start;
      }
      rates[i] = repeats * operations_a_repeat / passed;
    });
  }
  double sum = 0.0;
  for (int i = 0; i < n_threads; ++i) {
    threads[i].join();
    volatile float sink = kept[i];
    (void)sink;
    sum += rates[i];
  }
  return sum;
}

typedef float Lanes __attribute__((vector_size(64)));
constexpr int kChains = 12;  // enough to fill two pipelines of a latency of four to five cycles

float multiply_add(int repeats) {
  Lanes sum[kChains] = {};
  Lanes factor = sum[0] + 0.999f, term = sum[0] + 1e-3f;
  asm volatile("" : "+m"(factor), "+m"(term));
  for (int i = 0; i < repeats; ++i) {
    for (int c = 0; c < kChains; ++c) sum[c] = sum[c] * factor + term;
  }
  for (int c = 1; c < kChains; ++c) sum[0] += sum[c];
  return sum[0][0];
}

#if defined(__AVX512BF16__)
float multiply_add_bfloat16(int repeats) {
  __m512 sum[kChains];
  for (auto& chain : sum) chain = _mm512_setzero_ps();
  __m512i one = _mm512_set1_epi32(0x3f803f80);
  asm volatile("" : "+v"(one));
  const auto factor = reinterpret_cast<__m512bh>(one);
  for (int i = 0; i < repeats; ++i) {
    for (auto& chain : sum) chain = _mm512_dpbf16_ps(chain, factor, factor);
  }
  for (int c = 1; c < kChains; ++c) sum[0] = _mm512_add_ps(sum[0], sum[c]);
  return _mm512_cvtss_f32(sum[0]);
}
#endif

constexpr int kStreams = 4;  // of indices by a linear congruence, so that making them costs little

#if defined(__AVX512F__)
constexpr int kWords = 16;
float gather(int repeats, const float* table, uint32_t mask) {
  __m512i index[kStreams];
  __m512 sum = _mm512_setzero_ps();
  const __m512i lane = _mm512_setr_epi32(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16);
  for (int s = 0; s < kStreams; ++s) index[s] = _mm512_mullo_epi32(lane, _mm512_set1_epi32(7919 * (2 * s + 1)));
  for (int i = 0; i < repeats; ++i) {
    for (auto& at : index) {
      at = _mm512_add_epi32(_mm512_mullo_epi32(at, _mm512_set1_epi32(1664525)), _mm512_set1_epi32(1013904223));
      const __m512i place = _mm512_and_si512(_mm512_srli_epi32(at, 8), _mm512_set1_epi32(mask));
      sum = _mm512_add_ps(sum, _mm512_i32gather_ps(place, table, 4));
    }
  }
  return _mm512_cvtss_f32(sum);
}
#elif defined(__AVX2__)
constexpr int kWords = 8;
float gather(int repeats, const float* table, uint32_t mask) {
  __m256i index[kStreams];
  __m256 sum = _mm256_setzero_ps();
  const __m256i lane = _mm256_setr_epi32(1, 2, 3, 4, 5, 6, 7, 8);
  for (int s = 0; s < kStreams; ++s) index[s] = _mm256_mullo_epi32(lane, _mm256_set1_epi32(7919 * (2 * s + 1)));
  for (int i = 0; i < repeats; ++i) {
    for (auto& at : index) {
      at = _mm256_add_epi32(_mm256_mullo_epi32(at, _mm256_set1_epi32(1664525)), _mm256_set1_epi32(1013904223));
      const __m256i place = _mm256_and_si256(_mm256_srli_epi32(at, 8), _mm256_set1_epi32(mask));
      sum = _mm256_add_ps(sum, _mm256_i32gather_ps(table, place, 4));
    }
  }
  return _mm256_cvtss_f32(sum);
}
#else
constexpr int kWords = 1;
float gather(int repeats, const float* table, uint32_t mask) {
  uint32_t index[kStreams] = {1, 7919, 104729, 1299709};
  float sum = 0.0f;
  for (int i = 0; i < repeats; ++i) {
    for (auto& at : index) {
      at = at * 1664525u + 1013904223u;
      sum += table[(at >> 8) & mask];
    }
  }
  return sum;
}
#endif

}  // namespace

extern "C" {

double ceiling_float32(int n_threads, double seconds) {
  return rate(n_threads, seconds, 16.0 * kChains, multiply_add);
}

// 0 where the processor has no bfloat16 dot products.
double ceiling_bfloat16(int n_threads, double seconds) {
#if defined(__AVX512BF16__)
  return rate(n_threads, seconds, 32.0 * kChains, multiply_add_bfloat16);
#else
  (void)n_threads, (void)seconds;
  return 0.0;
#endif
}

// Random places in a table of 2^log2_words words, at most 2^24; each thread reads the same table.
double ceiling_gather(int n_threads, double seconds, int log2_words) {
  std::vector<float> table(size_t{1} << log2_words, 1.0f);
  const uint32_t mask = static_cast<uint32_t>(table.size() - 1);
  return rate(n_threads, seconds, static_cast<double>(kStreams) * kWords,
              [&](int repeats) { return gather(repeats, table.data(), mask); });
}
}
