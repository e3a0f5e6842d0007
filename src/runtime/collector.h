// A sink that gathers a request's events for a caller who waits: command lines and tests.
#pragma once
#include <condition_variable>
#include <mutex>
#include <vector>

#include "runtime/engine.h"

namespace xylem {

class Collector final : public EventSink {
 public:
  void on_event(EngineEvent e) override {
    std::lock_guard lock(mu_);
    events_.push_back(std::move(e));
    cv_.notify_all();
  }
  // The next event; waits for it.
  EngineEvent next() {
    std::unique_lock lock(mu_);
    cv_.wait(lock, [&] { return read_ < events_.size(); });
    return events_[read_++];
  }

  struct All {
    std::vector<TokenId> tokens;
    std::vector<TokenLogprob> logprobs, prompt_logprobs;
    Finish finish = Finish::kNone;
    Error error;
    int cached_tokens = 0;
  };
  // Waits for the last event.
  All wait() {
    All all;
    while (all.finish == Finish::kNone) {
      EngineEvent e = next();
      if (e.token >= 0) all.tokens.push_back(e.token);
      if (e.logprob) all.logprobs.push_back(std::move(*e.logprob));
      for (auto& l : e.prompt_logprobs) all.prompt_logprobs.push_back(std::move(l));
      if (e.cached_tokens) all.cached_tokens = e.cached_tokens;
      all.finish = e.finish, all.error = e.error;
    }
    return all;
  }

 private:
  std::mutex mu_;
  std::condition_variable cv_;
  std::vector<EngineEvent> events_;
  size_t read_ = 0;
};

}  // namespace xylem
