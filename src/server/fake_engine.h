// For tests: an Engine without a model. Tokens are a function of seed and position, one for every running request per
// step.
#pragma once
#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <map>
#include <mutex>
#include <thread>

#include "runtime/engine.h"

namespace xylem {

struct FakeEngineOptions {
  std::string script;                 // the answer's bytes, then EOS; empty: random lower-case letters without end
  std::vector<TokenId> tokens;        // likewise, by ids; used instead of script
  std::chrono::microseconds step{1};  // pause before each step
  size_t max_queued = 100000;
  int64_t context_length = 4096, max_total_tokens = 1 << 20, vocab_size = 260;
};

class FakeEngine : public Engine {
 public:
  static constexpr TokenId kEos = 257;
  static constexpr TokenId kPoison = 1;  // a prompt that starts with it fails in the loop

  explicit FakeEngine(FakeEngineOptions options = {}) : options_(std::move(options)) {
    info_ = {
        .model = "fake", .architecture = "FakeForCausalLM", .model_type = "fake", .dtype = "float32", .device = "cpu"};
    info_.vocab_size = options_.vocab_size;
    info_.context_length = options_.context_length;
    info_.max_total_tokens = options_.max_total_tokens;
    info_.page_size = 16;
    thread_ = std::thread([this] { loop(); });
  }
  ~FakeEngine() override {
    {
      std::lock_guard lock(mu_);
      quit_ = true;
    }
    cv_.notify_all();
    thread_.join();
  }

  RequestId next_id() override { return ++last_id_; }
  Status submit(GenerateRequest request, std::shared_ptr<EventSink> sink) override {
    {
      std::lock_guard lock(mu_);
      if (quit_ || running_.size() >= options_.max_queued) return unavailable("The request queue is full.");
      ++submitted_;
      const RequestId id = request.id;
      running_.emplace(id, Running{std::move(request), std::move(sink)});
    }
    cv_.notify_all();
    return {};
  }
  void cancel(RequestId id) override {
    {
      std::lock_guard lock(mu_);
      if (const auto it = running_.find(id); it != running_.end()) it->second.cancelled = true;
    }
    cv_.notify_all();
  }
  bool flush_cache() override {
    std::lock_guard lock(mu_);
    return running_.empty();
  }
  void drain() override {}
  const EngineInfo& info() const override { return info_; }
  EngineStats stats() const override {
    std::lock_guard lock(mu_);
    EngineStats s;
    s.running = static_cast<int>(running_.size());
    s.steps = steps_;
    s.aborted = aborted_;
    s.finished = finished_;
    return s;
  }
  EngineHealth health() const override {
    std::lock_guard lock(mu_);
    return health_;
  }
  void set_health(EngineHealth health) {
    std::lock_guard lock(mu_);
    health_ = std::move(health);
  }
  uint64_t submitted() const {
    std::lock_guard lock(mu_);
    return submitted_;
  }
  GenerateRequest last_request() const {
    std::lock_guard lock(mu_);
    return last_;
  }
  void hold(bool on) {  // a stuck or very slow engine: no steps while on, except that cancelled requests leave
    {
      std::lock_guard lock(mu_);
      hold_ = on;
    }
    cv_.notify_all();
  }

 private:
  struct Running {
    GenerateRequest request;
    std::shared_ptr<EventSink> sink;
    int produced = 0;
    bool cancelled = false;
  };

  bool can_step() const {
    if (!hold_) return !running_.empty();
    for (const auto& [id, r] : running_)
      if (r.cancelled) return true;
    return false;
  }

  void loop() {
    std::unique_lock lock(mu_);
    while (true) {
      cv_.wait(lock, [&] { return quit_ || can_step(); });
      lock.unlock();  // always a pause: others get at the lock only here
      std::this_thread::sleep_for(options_.step);
      lock.lock();
      if (!hold_) ++steps_;
      for (auto it = running_.begin(); it != running_.end();) {
        if (hold_ && !it->second.cancelled && !quit_) {
          ++it;
          continue;
        }
        EngineEvent event = step(it->second);
        const bool over = event.finish != Finish::kNone;
        it->second.sink->on_event(std::move(event));
        it = over ? running_.erase(it) : std::next(it);
      }
      if (quit_) return;
    }
  }

  TokenId token_at(const GenerateRequest& r, int i) const {
    if (!options_.tokens.empty()) return i < static_cast<int>(options_.tokens.size()) ? options_.tokens[i] : kEos;
    if (!options_.script.empty())
      return i < static_cast<int>(options_.script.size()) ? static_cast<unsigned char>(options_.script[i]) : kEos;
    uint64_t h = (r.sampling.seed + 1) * 0x9e3779b97f4a7c15 + static_cast<uint64_t>(i) * 0xbf58476d1ce4e5b9;
    h ^= h >> 29;
    return 'a' + static_cast<TokenId>((h * 0x94d049bb133111eb >> 40) % 26);
  }

  static TokenLogprob logprob_of(const GenerateRequest& r, TokenId token) {
    TokenLogprob p{.token = token, .logprob = -0.5f};
    for (int k = 0; k < r.top_logprobs; ++k) p.top.emplace_back((token + k) % 256, -0.5f - static_cast<float>(k));
    for (const TokenId id : r.logprob_ids) p.chosen.emplace_back(id, -2.0f);
    return p;
  }

  EngineEvent step(Running& r) {
    last_ = r.request;
    EngineEvent event{.id = r.request.id};
    if (r.cancelled || quit_) {
      event.finish = Finish::kAbort;
      ++aborted_;
      return event;
    }
    if (r.request.prompt[0] == kPoison) {
      event.finish = Finish::kError;
      event.error = internal_error("poisoned");
      return event;
    }
    event.token = token_at(r.request, r.produced);
    if (r.produced == 0) {
      event.cached_tokens = static_cast<int>(r.request.prompt.size()) / 2;
      for (size_t i = r.request.prompt_logprobs_from + 1;
           r.request.prompt_logprobs_from >= 0 && i < r.request.prompt.size(); ++i)
        event.prompt_logprobs.push_back(logprob_of(r.request, r.request.prompt[i]));
    }
    if (r.request.logprobs) event.logprob = logprob_of(r.request, event.token);
    ++r.produced;
    const auto& stops = r.request.stop_ids;
    if (std::find(stops.begin(), stops.end(), event.token) != stops.end())
      event.finish = Finish::kStop;
    else if (r.produced >= r.request.max_new_tokens)
      event.finish = Finish::kLength;
    if (event.finish != Finish::kNone) ++finished_;
    return event;
  }

  const FakeEngineOptions options_;
  EngineInfo info_;
  std::atomic<RequestId> last_id_{0};
  mutable std::mutex mu_;
  std::condition_variable cv_;
  std::map<RequestId, Running> running_;
  GenerateRequest last_;
  EngineHealth health_;
  uint64_t steps_ = 0, aborted_ = 0, finished_ = 0, submitted_ = 0;
  bool quit_ = false, hold_ = false;
  std::thread thread_;
};

}  // namespace xylem
