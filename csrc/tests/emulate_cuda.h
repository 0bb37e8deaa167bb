// Runs the warp-level lines of csrc/cuda on the host (see cuda/warp.cuh): every CUDA thread is a fiber, all blocks of a
// launch are under way at once, and what a whole warp or block does together waits until the last of its threads has
// come. Threads go on in a random order, so that a missing barrier shows; shared memory starts out as NaN.
#pragma once

#include <ucontext.h>

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <random>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif

#define DFANERF_DEVICE inline

namespace dfanerf::emulated {

struct Group {  // a warp, or a block
  int size = 0, arrived = 0;
  uint64_t round = 0;
  const char* doing = nullptr;
  uint32_t payload[2][32][6];  // what the lanes of a warp brought, in this round and in the last
};

struct Block {
  Group all;
  std::vector<Group> warps;
  std::vector<uint64_t> shared;
};

struct Thread {
  ucontext_t context;
  std::unique_ptr<char[]> stack;
  Block* block = nullptr;
  int block_index = 0, index = 0;
  bool done = false;
  Group* waits_for = nullptr;
  uint64_t waits_round = 0;
};

struct Launch {
  int n_blocks = 0, n_threads = 0;
  const std::function<void()>* kernel = nullptr;
  std::vector<Block> blocks;
  std::vector<Thread> threads;
  ucontext_t scheduler;
  const void* bottom = nullptr;  // the scheduler's stack
  std::size_t size = 0;
  Thread* current = nullptr;
};

inline Launch*& launch() {
  static Launch* now = nullptr;
  return now;
}
inline Thread& self() {
  return *launch()->current;
}

constexpr std::size_t kStack = 128 << 10;

// Goes on with another stack; the address sanitiser has to be told.
inline void switch_stacks(ucontext_t* from, ucontext_t* to, const void* bottom, std::size_t size, bool for_good) {
#if defined(__SANITIZE_ADDRESS__)
  void* fake = nullptr;
  __sanitizer_start_switch_fiber(for_good ? nullptr : &fake, bottom, size);
  swapcontext(from, to);
  __sanitizer_finish_switch_fiber(fake, nullptr, nullptr);
#else
  static_cast<void>(bottom), static_cast<void>(size), static_cast<void>(for_good);
  swapcontext(from, to);
#endif
}

inline void to_scheduler(bool for_good) {
  Launch& now = *launch();
  switch_stacks(&now.current->context, &now.scheduler, now.bottom, now.size, for_good);
}

inline void run_thread() {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(nullptr, &launch()->bottom, &launch()->size);
#endif
  (*launch()->kernel)();
  self().done = true;
  to_scheduler(true);
}

// Waits for all of the group. Returns the round whose payloads may now be read.
inline uint64_t arrive(Group& group, const char* doing) {
  if (group.arrived == 0) group.doing = doing;
  if (std::strcmp(group.doing, doing) != 0) {
    std::printf("emulated CUDA: one thread comes to %s, while another waits at %s\n", doing, group.doing);
    std::abort();
  }
  const uint64_t round = group.round;
  if (++group.arrived == group.size) {
    group.arrived = 0;
    ++group.round;
  }
  self().waits_for = &group;
  self().waits_round = round;
  to_scheduler(false);
  return round;
}

// Runs kernel() as n_blocks blocks of n_threads threads, each block with that much shared memory.
inline void run(int n_blocks, int n_threads, std::size_t shared_bytes, const std::function<void()>& kernel) {
  Launch now;
  now.n_blocks = n_blocks;
  now.n_threads = n_threads;
  now.kernel = &kernel;
  now.blocks.resize(static_cast<std::size_t>(n_blocks));
  now.threads.resize(static_cast<std::size_t>(n_blocks) * n_threads);
  launch() = &now;
  for (Block& block : now.blocks) {
    block.all.size = n_threads;
    block.warps.resize(static_cast<std::size_t>(n_threads) / 32);
    for (Group& warp : block.warps) warp.size = 32;
    block.shared.assign(shared_bytes / 8 + 1, ~uint64_t{0});
  }
  for (std::size_t i = 0; i < now.threads.size(); ++i) {
    Thread& thread = now.threads[i];
    thread.stack.reset(new char[kStack]);
    thread.block_index = static_cast<int>(i) / n_threads;
    thread.block = &now.blocks[static_cast<std::size_t>(thread.block_index)];
    thread.index = static_cast<int>(i) % n_threads;
    getcontext(&thread.context);
    thread.context.uc_stack.ss_sp = thread.stack.get();
    thread.context.uc_stack.ss_size = kStack;
    thread.context.uc_link = nullptr;
    makecontext(&thread.context, &run_thread, 0);
  }
  // One warp after the other, at random, for a random while; its lanes in random order.
  std::minstd_rand random(1);
  const int n_warps = n_blocks * ((n_threads + 31) / 32);
  std::vector<std::vector<Thread*>> warps(static_cast<std::size_t>(n_warps));
  for (std::size_t i = 0; i < now.threads.size(); ++i) warps[i / 32].push_back(&now.threads[i]);
  int stuck = 0;
  while (!warps.empty()) {
    const std::size_t chosen = random() % warps.size();
    std::vector<Thread*>& warp = warps[chosen];
    bool moved = false;
    for (auto turns = 1 + random() % 300; turns > 0 && !warp.empty(); --turns) {
      const bool before = moved;
      moved = false;
      for (std::size_t i = 0; i < warp.size();) {
        std::swap(warp[i], warp[i + random() % (warp.size() - i)]);
        Thread& thread = *warp[i];
        if (thread.waits_for == nullptr || thread.waits_for->round != thread.waits_round) {
          thread.waits_for = nullptr;
          now.current = &thread;
          moved = true;
          switch_stacks(&now.scheduler, &thread.context, thread.stack.get(), kStack, false);
        }
        if (thread.done) {
          warp[i] = warp.back();
          warp.pop_back();
        } else {
          ++i;
        }
      }
      if (!moved) {  // all its lanes wait for other warps
        moved = before;
        break;
      }
    }
    if (warp.empty()) warps.erase(warps.begin() + static_cast<std::ptrdiff_t>(chosen));
    stuck = moved ? 0 : stuck + 1;
    if (stuck > 1000 + 100 * n_warps) {
      std::printf("emulated CUDA: threads of %zu warps wait for others that have ended or wait elsewhere\n",
                  warps.size());
      std::abort();
    }
  }
  launch() = nullptr;
}

inline int thread_index() {
  return self().index;
}
inline int lane_index() {
  return self().index % 32;
}
inline int block_index() {
  return self().block_index;
}
inline int block_threads() {
  return launch()->n_threads;
}
inline int64_t global_thread() {
  return static_cast<int64_t>(self().block_index) * launch()->n_threads + self().index;
}
inline char* shared_memory() {
  return reinterpret_cast<char*>(self().block->shared.data());
}

inline Group& warp() {
  return self().block->warps[static_cast<std::size_t>(self().index / 32)];
}

// Every lane brings n words; afterwards all lanes' words can be read, until the lane takes part in anything else.
inline const uint32_t (*exchange(const char* doing, const uint32_t* words, int n))[6] {
  Group& group = warp();
  std::memcpy(group.payload[group.round & 1][lane_index()], words, sizeof(uint32_t) * static_cast<std::size_t>(n));
  const uint64_t round = arrive(group, doing);
  return group.payload[round & 1];
}

inline uint32_t vote(bool yes) {
  const uint32_t mine = yes;
  const auto* all = exchange("vote", &mine, 1);
  uint32_t bits = 0;
  for (int lane = 0; lane < 32; ++lane) bits |= all[lane][0] << lane;
  return bits;
}
inline uint32_t from_lane(uint32_t value, int lane) {
  return exchange("from_lane", &value, 1)[lane][0];
}
inline void sync_warp() {
  arrive(warp(), "sync_warp");
}
inline void sync_block() {
  arrive(self().block->all, "sync_block");
}

inline int count_bits(uint32_t bits) {
  return __builtin_popcount(bits);
}
inline uint32_t fetch_add(uint32_t* counter, uint32_t by) {
  const uint32_t before = *counter;
  *counter += by;
  return before;
}
inline void add(unsigned long long* counter, uint32_t by) {
  *counter += by;
}
inline uint32_t load_constant(const uint32_t* address) {
  return *address;
}

inline float decode_half(uint32_t bits) {
  const int exponent = static_cast<int>(bits >> 10 & 31), fraction = static_cast<int>(bits & 1023);
  const float sign = bits & 0x8000 ? -1.0f : 1.0f;
  if (exponent == 31) return fraction ? NAN : sign * INFINITY;
  return sign * (exponent ? std::ldexp(1024.0f + fraction, exponent - 25) : std::ldexp(1.0f * fraction, -24));
}
inline float from_half(uint32_t bits) {
  static const std::vector<float> all = [] {
    std::vector<float> values(1 << 16);
    for (uint32_t i = 0; i < values.size(); ++i) values[i] = decode_half(i);
    return values;
  }();
  return all[bits];
}
inline uint32_t to_half(float value) {
  if (std::isnan(value)) return 0x7fff;
  const uint32_t sign = std::signbit(value) ? 0x8000 : 0;
  const float magnitude = std::fmin(std::fabs(value), 65504.0f);
  if (magnitude < 0x1p-14f) return sign | static_cast<uint32_t>(std::nearbyint(magnitude * 0x1p24f));
  int exponent;
  const float mantissa = std::frexp(magnitude, &exponent);  // in [0.5, 1)
  return sign |
         (static_cast<uint32_t>(std::nearbyint(mantissa * 2048.0f)) + (static_cast<uint32_t>(exponent + 13) << 10));
}
inline float low_half(uint32_t pair) {
  return from_half(pair & 0xffff);
}
inline float high_half(uint32_t pair) {
  return from_half(pair >> 16);
}
inline uint32_t pack_half(float low, float high) {
  return to_half(low) | to_half(high) << 16;
}
inline uint32_t pack_half_relu(float low, float high) {
  return pack_half(low > 0.0f || std::isnan(low) ? low : 0.0f, high > 0.0f || std::isnan(high) ? high : 0.0f);
}

// PTX ISA, "Matrix fragments for mma.m16n8k16 with floating point type": which lane's register holds which element.
inline float element_a(const uint32_t (*all)[6], int row, int column) {
  const int lane = row % 8 * 4 + column % 8 / 2, word = (row >= 8) + 2 * (column >= 8);
  return from_half(all[lane][word] >> (column % 2 * 16) & 0xffff);
}
inline float element_b(const uint32_t (*all)[6], int row, int column) {
  const int lane = column * 4 + row % 8 / 2, word = 4 + (row >= 8);
  return from_half(all[lane][word] >> (row % 2 * 16) & 0xffff);
}
inline void multiply_add(float (&sum)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  const uint32_t words[6] = {a[0], a[1], a[2], a[3], b0, b1};
  const auto* all = exchange("multiply_add", words, 6);
  for (int i = 0; i < 4; ++i) {
    const int row = lane_index() / 4 + (i >= 2 ? 8 : 0), column = lane_index() % 4 * 2 + i % 2;
    for (int k = 0; k < 16; ++k) sum[i] += element_a(all, row, k) * element_b(all, k, column);
  }
}

}  // namespace dfanerf::emulated
