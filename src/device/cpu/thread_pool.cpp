#include "device/cpu/thread_pool.h"

#include <chrono>

#include "base/check.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace xylem {
namespace {

constexpr uint64_t kThreadsMask = 0xffff;
constexpr auto kAwake = std::chrono::milliseconds(1);

inline void pause() {
#if defined(__x86_64__)
  _mm_pause();
#endif
}

// Whether a worker has anything to do with a region that it has not seen: it takes part, or the pool ends.
bool concerns(uint64_t region, uint64_t seen, int thread) {
  const auto n = int(region & kThreadsMask);
  return region != seen && (n == 0 || thread < n);
}

}  // namespace

ThreadPool::ThreadPool(int threads) : sleepers_(std::make_unique<Sleeper[]>(size_t(threads > 1 ? threads : 1))) {
  CHECK(threads <= int(kThreadsMask), threads);
  // A pause takes 15 to 60 ns. With more threads than cores, spinning only keeps those away that have work.
  const unsigned cores = std::thread::hardware_concurrency();
  spins_ = cores != 0 && unsigned(threads) > cores ? 50 : 2000;
  for (int i = 1; i < threads; i++) workers_.emplace_back([this, i] { worker(i); });
}

ThreadPool::~ThreadPool() {
  publish(0);
  for (std::thread& t : workers_) t.join();
}

template <class F>
void ThreadPool::wait_until(F&& done) const {
  for (int i = 0; !done(); i++) {
    if (i < spins_) pause();
    else std::this_thread::yield();
  }
}

// Announces a region of n threads, 0: the end, and wakes those of it that sleep. Either this sees a sleeper's mark or the
// sleeper sees the region: both are written before the other is read, in one order for all.
void ThreadPool::publish(int n) {
  region_.store(((region_.load(std::memory_order_relaxed) >> 16) + 1) << 16 | uint64_t(n), std::memory_order_seq_cst);
  for (int i = 1; i < (n ? n : size()); i++) {
    std::atomic<uint32_t>& asleep = sleepers_[size_t(i)].asleep;
    if (!asleep.load(std::memory_order_seq_cst)) continue;
    asleep.store(0, std::memory_order_seq_cst);
    asleep.notify_one();
  }
}

void ThreadPool::start(int n, Call call, void* ctx) {
  call_ = call, ctx_ = ctx;
  next_item_.store(0, std::memory_order_relaxed);
  pending_.store(n - 1, std::memory_order_relaxed);
  publish(n);
  call(ctx, {0, n, this});
  wait_until([&] { return pending_.load(std::memory_order_acquire) == 0; });
}

void ThreadPool::worker(int thread) {
  uint64_t seen = 0;
  for (;;) {
    // A region is over only when all its workers have left it, so none that concerns this worker is ever missed.
    seen = wait_for_region(thread, seen);
    const auto n = int(seen & kThreadsMask);
    if (n == 0) return;
    call_(ctx_, {thread, n, this});
    pending_.fetch_sub(1, std::memory_order_acq_rel);
  }
}

uint64_t ThreadPool::wait_for_region(int thread, uint64_t seen) {
  uint64_t region = 0;
  auto found = [&] { return concerns(region = region_.load(std::memory_order_acquire), seen, thread); };
  for (;;) {
    for (int i = 0; i < spins_; i++) {
      if (found()) return region;
      pause();
    }
    for (const auto until = std::chrono::steady_clock::now() + kAwake; std::chrono::steady_clock::now() < until;) {
      if (found()) return region;
      std::this_thread::yield();
    }
    sleep(thread, seen);
  }
}

void ThreadPool::sleep(int thread, uint64_t seen) {
  std::atomic<uint32_t>& asleep = sleepers_[size_t(thread)].asleep;
  asleep.store(1, std::memory_order_seq_cst);
  if (concerns(region_.load(std::memory_order_seq_cst), seen, thread)) asleep.store(0, std::memory_order_relaxed);
  else asleep.wait(1, std::memory_order_acquire);
}

void ThreadPool::barrier(int n) {
  const uint32_t phase = phase_.load(std::memory_order_relaxed);
  if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == n) {
    arrived_.store(0, std::memory_order_relaxed);
    phase_.fetch_add(1, std::memory_order_release);
  } else {
    wait_until([&] { return phase_.load(std::memory_order_acquire) != phase; });
  }
}

}  // namespace xylem
