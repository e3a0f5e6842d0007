// Bytes that requests hold before the engine knows of them, bounded over all of them.
#pragma once
#include <cstdint>
#include <mutex>
#include <utility>

namespace xylem {

// Any thread.
class MemoryBudget {
 public:
  explicit MemoryBudget(int64_t bytes) : limit_(bytes) {}
  bool take(int64_t bytes) {
    std::lock_guard lock(mu_);
    if (bytes > limit_ - used_) return false;
    used_ += bytes;
    return true;
  }
  void give(int64_t bytes) {
    std::lock_guard lock(mu_);
    used_ -= bytes;
  }
  int64_t used() const {
    std::lock_guard lock(mu_);
    return used_;
  }

 private:
  const int64_t limit_;
  mutable std::mutex mu_;
  int64_t used_ = 0;
};

// A request's part of a budget, given back with it. One thread at a time; the budget lives longer.
class MemoryLease {
 public:
  MemoryLease() = default;
  explicit MemoryLease(MemoryBudget& budget) : budget_(&budget) {}
  MemoryLease(MemoryLease&& other) noexcept
      : budget_(std::exchange(other.budget_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}
  MemoryLease& operator=(MemoryLease&& other) noexcept {
    std::swap(budget_, other.budget_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  ~MemoryLease() {
    if (budget_) budget_->give(bytes_);
  }
  bool grow(int64_t bytes) {  // false: the budget does not allow it
    if (!budget_->take(bytes)) return false;
    bytes_ += bytes;
    return true;
  }

 private:
  MemoryBudget* budget_ = nullptr;
  int64_t bytes_ = 0;
};

}  // namespace xylem
