#include "device/cpu/thread_pool.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace xylem {
namespace {

inline void pause() {
#if defined(__x86_64__)
  _mm_pause();
#endif
}

// Spins for some microseconds, longer than the gaps between the ops of a step; then gives the core away between looks, so
// that more threads than cores still make progress.
template <class F>
void spin_until(F&& done) {
  for (int i = 0; !done(); i++) {
    if (i < 4000) pause();
    else std::this_thread::yield();
  }
}

}  // namespace

ThreadPool::ThreadPool(int threads) {
  for (int i = 1; i < threads; i++) workers_.emplace_back([this, i] { worker(i); });
}

ThreadPool::~ThreadPool() {
  stop_ = true;
  epoch_.fetch_add(1);
  epoch_.notify_all();
  for (std::thread& t : workers_) t.join();
}

void ThreadPool::start(int n, Call call, void* ctx) {
  call_ = call, ctx_ = ctx, n_ = n;
  next_item_.store(0, std::memory_order_relaxed);
  pending_.store(int(workers_.size()), std::memory_order_relaxed);
  epoch_.fetch_add(1, std::memory_order_seq_cst);
  if (sleepers_.load(std::memory_order_seq_cst)) epoch_.notify_all();
  call(ctx, {0, n, this});
  spin_until([&] { return pending_.load(std::memory_order_acquire) == 0; });
}

void ThreadPool::worker(int thread) {
  uint32_t seen = 0;
  for (;;) {
    // A step's ops follow each other within microseconds: spin first, sleep when the engine is idle.
    for (int i = 0; epoch_.load(std::memory_order_acquire) == seen; i++) {
      if (i < 20000) pause();
      else {
        sleepers_.fetch_add(1, std::memory_order_seq_cst);
        epoch_.wait(seen, std::memory_order_seq_cst);
        sleepers_.fetch_sub(1, std::memory_order_relaxed);
      }
    }
    seen++;  // regions never overlap: no epoch is skipped
    if (stop_) return;
    if (thread < n_) call_(ctx_, {thread, n_, this});
    pending_.fetch_sub(1, std::memory_order_acq_rel);
  }
}

void ThreadPool::barrier(int n) {
  const uint32_t phase = phase_.load(std::memory_order_relaxed);
  if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == n) {
    arrived_.store(0, std::memory_order_relaxed);
    phase_.fetch_add(1, std::memory_order_release);
  } else {
    spin_until([&] { return phase_.load(std::memory_order_acquire) != phase; });
  }
}

}  // namespace xylem
