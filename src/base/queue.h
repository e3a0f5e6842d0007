// An unbounded queue from many threads to one. The consumer takes everything at once.
#pragma once
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <vector>

namespace xylem {

template <class T>
class Queue {
 public:
  // Any thread. False when the queue is closed and the item was not taken.
  bool push(T item) {
    {
      std::lock_guard lock(mu_);
      if (closed_) return false;
      items_.push_back(std::move(item));
    }
    cv_.notify_one();
    return true;
  }
  // One thread. Moves all items into out (cleared first). With block, waits until there is one or the queue is closed.
  // False when the queue is closed and empty.
  bool drain(std::vector<T>& out, bool block) {
    out.clear();
    std::unique_lock lock(mu_);
    if (block) cv_.wait(lock, [&] { return closed_ || !items_.empty(); });
    std::swap(out, items_);
    return !out.empty() || !closed_;
  }
  void close() {
    {
      std::lock_guard lock(mu_);
      closed_ = true;
    }
    cv_.notify_all();
  }

 private:
  std::mutex mu_;
  std::condition_variable cv_;
  std::vector<T> items_;
  bool closed_ = false;
};

}  // namespace xylem
