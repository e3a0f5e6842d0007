// Steps on their way through the device. At depth 1 a step runs on the caller's thread inside start(); at depth 2 it begins on a
// thread of its own, so that the next one is planned meanwhile, and comes into the queue of a device that works by itself before
// the step ahead of it has ended. Tokens are the same: what a step feeds comes from the token pool on the device.
#pragma once
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "runtime/runner.h"

namespace xylem {

class StepPipe {
 public:
  StepPipe(Runner& runner, const StepLimits& limits, int depth);
  ~StepPipe();
  // Engine thread, all of these.
  bool empty() const { return running_.empty(); }
  bool full() const { return int(running_.size()) == depth_; }
  StepSlab& next_slab();         // to be filled; not full()
  void start(StepSlab& s);       // s: of next_slab()
  StepSlab& finish();            // waits for the oldest step; its slab stays untouched until the next start(); not empty()
  double last_seconds() const { return last_seconds_; }  // of the step of the last finish(), since the one ahead of it had ended

 private:
  void begin(size_t slab);
  void worker();
  Runner& runner_;
  const int depth_;
  std::vector<std::unique_ptr<StepSlab>> slabs_;  // one more than depth: one may be read while the others run
  std::deque<size_t> running_;
  size_t next_ = 0;
  double last_seconds_ = 0, last_end_ = 0;

  std::mutex mu_;                // guards what follows
  std::condition_variable cv_;
  std::deque<size_t> todo_;
  struct Progress {
    double start = 0, end = 0;   // end: of what begin() did
    bool begun = false;
  };
  std::vector<Progress> steps_;  // per slab
  bool stop_ = false;
  std::thread thread_;
};

}  // namespace xylem
