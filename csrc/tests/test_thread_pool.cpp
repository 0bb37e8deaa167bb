#include <atomic>
#include <stdexcept>
#include <thread>
#include <vector>

#include "dfanerf/thread_pool.h"
#include "tests/test.h"

using dfanerf::parallel_for;

TEST(every_index_is_visited_once) {
  for (int threads : {1, 2, 5}) {
    for (int64_t count : {0, 1, 7, 1000}) {
      std::vector<std::atomic<int>> visits(static_cast<size_t>(count));
      parallel_for(count, 3, threads, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) ++visits[static_cast<size_t>(i)];
      });
      bool once = true;
      for (auto& visit : visits) once = once && visit == 1;
      CHECK(once);
    }
  }
}

TEST(an_exception_reaches_the_caller_and_the_pool_lives_on) {
  bool caught = false;
  try {
    parallel_for(1000, 1, 4, [](int64_t begin, int64_t) {
      if (begin == 500) throw std::runtime_error("500");
    });
  } catch (const std::runtime_error&) {
    caught = true;
  }
  CHECK(caught);
  std::atomic<int> sum{0};
  parallel_for(100, 1, 4, [&](int64_t, int64_t) { ++sum; });
  CHECK(sum == 100);
}

TEST(a_loop_inside_a_loop_is_run_by_its_caller) {
  std::atomic<int> sum{0};
  parallel_for(8, 1, 4, [&](int64_t, int64_t) { parallel_for(10, 1, 4, [&](int64_t, int64_t) { ++sum; }); });
  CHECK(sum == 80);
}

TEST(two_threads_may_loop_at_the_same_time) {
  std::atomic<int> sum{0};
  auto many = [&] {
    for (int k = 0; k < 500; ++k) parallel_for(16, 1, 3, [&](int64_t, int64_t) { ++sum; });
  };
  std::thread other(many);
  many();
  other.join();
  CHECK(sum == 16000);
}
