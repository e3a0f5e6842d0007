#include "runtime/pipe.h"

#include <pthread.h>

#include "base/clock.h"

namespace xylem {

StepPipe::StepPipe(Runner& runner, const StepLimits& limits, int depth) : runner_(runner), depth_(depth), seconds_(size_t(depth) + 1, 0.0) {
  for (int i = 0; i <= depth; i++) slabs_.push_back(std::make_unique<StepSlab>(runner.device(), limits, runner.model().caches(), i > 0 ? slabs_[0].get() : nullptr));
  if (depth > 1) thread_ = std::thread([this] { worker(); });
}

StepPipe::~StepPipe() {
  if (!thread_.joinable()) return;
  {
    std::lock_guard lock(mu_);
    stop_ = true;
  }
  cv_.notify_all();
  thread_.join();
}

StepSlab& StepPipe::next_slab() {
  CHECK(!full());
  return *slabs_[next_];
}

void StepPipe::start(StepSlab& s) {
  CHECK(&s == slabs_[next_].get());
  if (!thread_.joinable()) {
    const double t0 = now_seconds();
    s.status = runner_.run(s);
    seconds_[next_] = now_seconds() - t0;
  } else {
    {
      std::lock_guard lock(mu_);
      seconds_[next_] = -1;
      todo_.push_back(next_);
    }
    cv_.notify_all();
  }
  running_.push_back(next_);
  next_ = (next_ + 1) % slabs_.size();
}

StepSlab& StepPipe::finish() {
  CHECK(!empty());
  const size_t i = running_.front();
  running_.pop_front();
  std::unique_lock lock(mu_);
  cv_.wait(lock, [&] { return seconds_[i] >= 0; });
  last_seconds_ = seconds_[i];
  return *slabs_[i];
}

void StepPipe::worker() {
  pthread_setname_np(pthread_self(), "xylem-step");
  std::unique_lock lock(mu_);
  for (;;) {
    cv_.wait(lock, [&] { return stop_ || !todo_.empty(); });
    if (todo_.empty()) return;
    const size_t i = todo_.front();
    todo_.pop_front();
    lock.unlock();
    const double t0 = now_seconds();
    slabs_[i]->status = runner_.run(*slabs_[i]);
    const double t1 = now_seconds();
    lock.lock();
    seconds_[i] = t1 - t0;
    cv_.notify_all();
  }
}

}  // namespace xylem
