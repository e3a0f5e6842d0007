// Threads for what would hold up an HTTP thread: fetching and decoding images, parsing large bodies.
#pragma once
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "base/result.h"

namespace xylem {

class PoolJob {
 public:
  virtual ~PoolJob() = default;
  virtual void run(size_t piece) noexcept = 0;  // worker threads, several at once; each piece at most once
};

// Jobs take turns by the piece, so that one of many pieces holds up no other. Any thread.
class WorkerPool {
 public:
  // Threads start with the first job. max_jobs: that may wait; 0 threads: by the machine.
  WorkerPool(int threads, size_t max_jobs);
  ~WorkerPool() { stop(); }
  WorkerPool(const WorkerPool&) = delete;

  Status submit(std::shared_ptr<PoolJob> job, size_t pieces);  // kUnavailable when too many jobs wait
  void drop(const PoolJob& job);                               // pieces that have not begun never will
  void stop();                                                 // drops all jobs, refuses more, waits for running pieces
  int threads() const { return count_; }
  size_t waiting() const;  // jobs with pieces that have not begun

 private:
  struct Entry {
    std::shared_ptr<PoolJob> job;
    size_t next, pieces;
  };
  void work();

  const int count_;
  const size_t max_jobs_;
  mutable std::mutex mu_;
  std::condition_variable cv_;
  std::deque<Entry> queue_;
  std::vector<std::thread> threads_;
  bool stopped_ = false;
};

}  // namespace xylem
