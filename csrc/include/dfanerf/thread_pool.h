// A persistent pool of threads and a parallel loop over chunks, handed out dynamically.
#pragma once

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <thread>
#include <type_traits>
#include <vector>

namespace dfanerf {

class ThreadPool {
 public:
  static constexpr int kMaxThreads = 256;

  // The pool of this process. It starts no thread until a loop asks for one; a forked child gets its own.
  static ThreadPool& global() {
    static std::mutex guard;
    static ThreadPool* pool = nullptr;
    static pid_t owner = 0;
    std::lock_guard<std::mutex> lock(guard);
    if (pool == nullptr || owner != getpid()) {
      pool = new ThreadPool();  // never destroyed: its threads may outlive static destructors
      owner = getpid();
    }
    return *pool;
  }

  // Calls body(begin, end) for chunks that together cover [0, count), on at most n_threads threads (1 to kMaxThreads,
  // whatever is asked for), the caller among them. The first exception stops the handing out of chunks and is thrown
  // again here. A loop started while another runs, from another thread or from inside a body, is run by its caller
  // alone.
  template <typename Body>
  void parallel_for(int64_t count, int64_t chunk, int n_threads, Body&& body) {
    if (count <= 0) return;
    chunk = std::max<int64_t>(chunk, 1);
    const int64_t n_chunks = (count + chunk - 1) / chunk;
    n_threads = static_cast<int>(std::min<int64_t>(std::clamp(n_threads, 1, kMaxThreads), n_chunks));
    Turn turn{n_threads == 1 || taken_.exchange(true) ? nullptr : &taken_};
    if (!turn.taken) {
      for (int64_t begin = 0; begin < count; begin += chunk) body(begin, std::min(begin + chunk, count));
      return;
    }
    using Plain = std::remove_reference_t<Body>;
    Loop job;
    job.count = count;
    job.chunk = chunk;
    job.body = const_cast<void*>(static_cast<const void*>(std::addressof(body)));
    job.call = [](void* stored, int64_t begin, int64_t end) { (*static_cast<Plain*>(stored))(begin, end); };
    {
      std::lock_guard<std::mutex> lock(mutex_);
      while (static_cast<int>(threads_.size()) < n_threads - 1) threads_.emplace_back([this] { work(); });
      job_ = &job;
      seats_ = n_threads - 1;
    }
    wake_.notify_all();
    job.run();
    {
      std::unique_lock<std::mutex> lock(mutex_);
      seats_ = 0;  // a thread that has not sat down by now is not needed
      idle_.wait(lock, [this] { return busy_ == 0; });
      job_ = nullptr;
    }
    if (job.fault) std::rethrow_exception(job.fault);
  }

 private:
  struct Turn {  // the threads serve one loop at a time
    std::atomic<bool>* taken;
    ~Turn() {
      if (taken) taken->store(false);
    }
  };

  struct Loop {
    int64_t count = 0, chunk = 1;
    void* body = nullptr;
    void (*call)(void*, int64_t, int64_t) = nullptr;
    std::atomic<int64_t> next{0};
    std::mutex fault_mutex;
    std::exception_ptr fault;

    void run() {
      try {
        for (;;) {
          const int64_t begin = next.fetch_add(chunk, std::memory_order_relaxed);
          if (begin >= count) return;
          call(body, begin, std::min(begin + chunk, count));
        }
      } catch (...) {
        std::lock_guard<std::mutex> lock(fault_mutex);
        if (!fault) fault = std::current_exception();
        next.store(count, std::memory_order_relaxed);
      }
    }
  };

  void work() {
    std::unique_lock<std::mutex> lock(mutex_);
    for (;;) {
      wake_.wait(lock, [this] { return seats_ > 0; });
      --seats_;
      ++busy_;
      Loop* job = job_;
      lock.unlock();
      job->run();
      lock.lock();
      if (--busy_ == 0) idle_.notify_one();
    }
  }

  std::atomic<bool> taken_{false};
  std::mutex mutex_;
  std::condition_variable wake_, idle_;
  std::vector<std::thread> threads_;
  Loop* job_ = nullptr;
  int seats_ = 0, busy_ = 0;
};

// body(begin, end) over [0, count) on the pool of this process; see ThreadPool::parallel_for.
template <typename Body>
void parallel_for(int64_t count, int64_t chunk, int n_threads, Body&& body) {
  ThreadPool::global().parallel_for(count, chunk, n_threads, static_cast<Body&&>(body));
}

}  // namespace dfanerf
