#include "server/worker_pool.h"

#include <sys/resource.h>

#include <algorithm>
#include <utility>

namespace xylem {
namespace {

constexpr int kNiceness = 5;

int default_threads() { return std::clamp(static_cast<int>(std::thread::hardware_concurrency()) / 4, 2, 8); }

}  // namespace

WorkerPool::WorkerPool(int threads, size_t max_jobs)
    : count_(threads > 0 ? threads : default_threads()), max_jobs_(max_jobs) {}

Status WorkerPool::submit(std::shared_ptr<PoolJob> job, size_t pieces) {
  if (pieces == 0) return {};
  {
    std::lock_guard lock(mu_);
    if (stopped_) return unavailable("The server is shutting down.");
    if (queue_.size() >= max_jobs_)
      return unavailable("Too many requests with images or large bodies are waiting. Try again later.");
    queue_.push_back({std::move(job), 0, pieces});
    while (static_cast<int>(threads_.size()) < count_) threads_.emplace_back([this] { work(); });
  }
  cv_.notify_all();
  return {};
}

void WorkerPool::drop(const PoolJob& job) {
  std::deque<Entry> dropped;  // destroyed without the lock
  std::lock_guard lock(mu_);
  const auto of_job = [&](const Entry& e) { return e.job.get() == &job; };
  for (Entry& e : queue_)
    if (of_job(e)) dropped.push_back(e);
  std::erase_if(queue_, of_job);
}

void WorkerPool::stop() {
  std::deque<Entry> dropped;
  std::vector<std::thread> threads;
  {
    std::lock_guard lock(mu_);
    stopped_ = true;
    dropped.swap(queue_);
    threads.swap(threads_);
  }
  cv_.notify_all();
  for (std::thread& t : threads) t.join();
}

size_t WorkerPool::waiting() const {
  std::lock_guard lock(mu_);
  return queue_.size();
}

void WorkerPool::work() {
  // Of this thread alone, as Linux has it: where all cores compute, the tokens of running requests come first.
  setpriority(PRIO_PROCESS, 0, kNiceness);
  std::unique_lock lock(mu_);
  while (true) {
    cv_.wait(lock, [&] { return stopped_ || !queue_.empty(); });
    if (stopped_) return;
    Entry entry = std::move(queue_.front());
    queue_.pop_front();
    const size_t piece = entry.next++;
    std::shared_ptr<PoolJob> job = entry.job;
    if (entry.next < entry.pieces) queue_.push_back(std::move(entry));
    lock.unlock();
    job->run(piece);
    entry = {};
    job.reset();
    lock.lock();
  }
}

}  // namespace xylem
