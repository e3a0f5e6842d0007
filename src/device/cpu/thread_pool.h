// The compute threads. One parallel region at a time, started by one thread, which takes part as thread 0.
#pragma once
#include <atomic>
#include <cstdint>
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
  void start(int n, Call call, void* ctx);
  void worker(int thread);
  void barrier(int n);

  std::vector<std::thread> workers_;
  Call call_ = nullptr;
  void* ctx_ = nullptr;
  int n_ = 0;
  alignas(64) std::atomic<uint32_t> epoch_{0};     // a new region
  alignas(64) std::atomic<int> pending_{0};        // workers still in the region
  alignas(64) std::atomic<int> arrived_{0};        // of the barrier inside a region
  alignas(64) std::atomic<uint32_t> phase_{0};
  alignas(64) std::atomic<int64_t> next_item_{0};
  alignas(64) std::atomic<int> sleepers_{0};
  std::atomic<bool> stop_{false};
};

inline void CpuThread::barrier() const {
  if (n_threads > 1) pool->barrier(n_threads);
}

}  // namespace xylem
