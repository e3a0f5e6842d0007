#include "runtime/pipe.h"

#include <pthread.h>

#include <algorithm>

#include "base/clock.h"

namespace xylem {

StepPipe::StepPipe(Runner& runner, const StepLimits& limits, int depth) : runner_(runner), depth_(depth), steps_(size_t(depth) + 1) {
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
    begin(next_);
  } else {
    {
      std::lock_guard lock(mu_);
      steps_[next_].begun = false;
      todo_.push_back(next_);
    }
    cv_.notify_all();
  }
  running_.push_back(next_);
  next_ = (next_ + 1) % slabs_.size();
}

void StepPipe::begin(size_t i) {
  const double t0 = now_seconds();
  slabs_[i]->status = runner_.begin(*slabs_[i]);
  const double t1 = now_seconds();
  std::lock_guard lock(mu_);
  steps_[i] = {t0, t1, true};
}

StepSlab& StepPipe::finish() {
  CHECK(!empty());
  const size_t i = running_.front();
  running_.pop_front();
  StepSlab& s = *slabs_[i];
  std::unique_lock lock(mu_);
  cv_.wait(lock, [&] { return steps_[i].begun; });
  const Progress step = steps_[i];
  lock.unlock();
  double end = step.end;
  if (s.status.ok() && s.done) s.status = runner_.end(s), end = now_seconds();
  last_seconds_ = end - std::max(step.start, last_end_);
  last_end_ = end;
  return s;
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
    begin(i);
    cv_.notify_all();
    lock.lock();
  }
}

}  // namespace xylem
