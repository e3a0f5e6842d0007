// The compute threads. One parallel region at a time, started by one thread, which takes part as thread 0.
#pragma once
#include <atomic>
#include <cstdint>
#include <memory>
#include <thread>
#include <type_traits>
#include <vector>

namespace xylem {

// What a CPU kernel knows of the region it runs in.
struct CpuThread {
  int thread = 0, n_threads = 1;
  class ThreadPool* pool = nullptr;
  void barrier() const;  // all threads of the region; memory written before it is seen after it
  // Items [begin, end) of n for this thread, in equal parts; multiples of `unit` where n allows it.
  struct Range { int64_t begin, end; };
  Range range(int64_t n, int64_t unit = 1) const {
    const int64_t units = (n + unit - 1) / unit;
    const int64_t b = units * thread / n_threads * unit, e = units * (thread + 1) / n_threads * unit;
    return {b < n ? b : n, e < n ? e : n};
  }
};

// Workers spin for a while after a region, since a step's ops follow each other within microseconds; then they look again
// between giving the core away, and after about a millisecond without work they sleep until a region needs them. A region
// touches only the workers it has, so that a small one does not wait for sleepers it does not use.
class ThreadPool {
 public:
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;
  int size() const { return int(workers_.size()) + 1; }

  // Runs f(CpuThread) on n threads (clamped to size()); returns when all have. Not reentrant; one caller at a time.
  template <class F>
  void run(int n, F&& f) {
    if (n > size()) n = size();
    if (n <= 1) {
      next_item_.store(0, std::memory_order_relaxed);
      f(CpuThread{0, 1, this});
      return;
    }
    using Fn = std::remove_reference_t<F>;
    start(n, [](void* ctx, CpuThread t) { (*static_cast<Fn*>(ctx))(t); }, const_cast<void*>(static_cast<const void*>(&f)));
  }
  // A counter that starts at 0 in every region: threads take work items from it.
  std::atomic<int64_t>& next_item() { return next_item_; }

 private:
  friend struct CpuThread;
  using Call = void (*)(void*, CpuThread);
  struct alignas(64) Sleeper { std::atomic<uint32_t> asleep{0}; };
  void start(int n, Call call, void* ctx);
  void publish(int n);
  void worker(int thread);
  uint64_t wait_for_region(int thread, uint64_t seen);
  void sleep(int thread, uint64_t seen);
  void barrier(int n);
  template <class F>
  void wait_until(F&& done) const;

  int spins_ = 0;  // looks before the core is given away between them
  std::vector<std::thread> workers_;
  std::unique_ptr<Sleeper[]> sleepers_;            // one of each thread
  Call call_ = nullptr;                            // these two are read by the region's workers only
  void* ctx_ = nullptr;
  alignas(64) std::atomic<uint64_t> region_{0};    // number of the region << 16 | its threads; threads 0: the end
  alignas(64) std::atomic<int> pending_{0};        // workers still in the region
  alignas(64) std::atomic<int> arrived_{0};        // of the barrier inside a region
  alignas(64) std::atomic<uint32_t> phase_{0};
  alignas(64) std::atomic<int64_t> next_item_{0};
};

inline void CpuThread::barrier() const {
  if (n_threads > 1) pool->barrier(n_threads);
}

}  // namespace xylem
