#include "runtime/engine.h"

#include <fmt/format.h>
#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <future>
#include <mutex>
#include <thread>
#include <unordered_map>
#include <variant>

#include "base/clock.h"
#include "base/log.h"
#include "base/queue.h"
#include "runtime/image_waits.h"
#include "runtime/load.h"
#include "runtime/pipe.h"
#include "runtime/probe.h"
#include "runtime/request_check.h"

namespace xylem {
namespace {

struct Submit { GenerateRequest request; std::shared_ptr<EventSink> sink; };
struct Cancel { RequestId id; };
struct Flush { std::promise<bool>* done; };
using Message = std::variant<Submit, Cancel, Flush>;

// A request between its arrival and its last event.
struct Live {
  GenerateRequest request;
  std::shared_ptr<EventSink> sink;
  std::vector<TokenLogprob> prompt_logprobs;  // kept until the first token
  bool started = false;
};

class EngineImpl final : public Engine {
 public:
  explicit EngineImpl(LoadedEngine loaded)
      : info_(std::move(loaded.info)), runner_(std::move(loaded.runner)), sched_(std::move(loaded.sched)),
        longest_group_(longest_group(sched_->config().groups)), builder_(loaded.limits, runner_->model().caches(), runner_->token_pool()), pipe_(*runner_, loaded.limits, info_.pipeline_depth),
        probe_(runner_->device()), thread_([this] { loop(); }) {}

  ~EngineImpl() override {
    stopping_ = true;
    inbox_.close();
    thread_.join();
  }

  RequestId next_id() override { return next_id_.fetch_add(1); }
  const EngineInfo& info() const override { return info_; }

  Status submit(GenerateRequest r, std::shared_ptr<EventSink> sink) override {
    TRY_VOID(check_request(r, info_, runner_->model()));
    std::erase_if(r.stop_ids, [this](TokenId id) { return id < 0 || id >= info_.vocab_size; });  // can never come, and must not index the logits
    std::lock_guard lock(submit_mutex_);  // the count and the message belong together
    if (stopping_) return unavailable("The server is shutting down.");
    if (const EngineHealth h = health(); h.lost) return unavailable(h.text);
    const int free_slots = std::max(0, info_.max_running_requests - running_.load());
    if (pending_.load() >= info_.max_queued_requests + free_slots) return unavailable("The request queue is full.");
    pending_++;  // before the push: the engine thread may start it at once
    if (inbox_.push(Submit{std::move(r), std::move(sink)})) return {};
    pending_--;
    return unavailable("The server is shutting down.");
  }
  void cancel(RequestId id) override { inbox_.push(Cancel{id}); }
  bool flush_cache() override {
    std::promise<bool> done;
    auto result = done.get_future();
    return inbox_.push(Flush{&done}) && result.get();
  }
  void drain() override {
    {
      std::lock_guard lock(submit_mutex_);
      stopping_ = true;
    }
    while (live_count_.load() > 0 || pending_.load() > 0) std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  EngineStats stats() const override {
    std::lock_guard lock(stats_mutex_);
    EngineStats s = stats_;
    if (s.running == 0) s.gen_throughput = 0;  // an idle loop does not measure
    return s;
  }
  EngineHealth health() const override {
    std::lock_guard lock(stats_mutex_);
    return health_;
  }

 private:
  // The engine thread. Everything below runs on it alone.
  void loop() {
    pthread_setname_np(pthread_self(), "xylem-engine");
    std::vector<Message> messages;
    std::vector<Event> events;
    while (inbox_.drain(messages, /*block=*/sched_->idle() && pipe_.empty() && image_waits_.empty() && !suspect_)) {
      for (Message& m : messages) std::visit([&](auto& x) { apply(x, events); }, m);
      if (suspect_) examine(events);
      if (health_.lost) fail_all(events);
      publish(events, nullptr);
      const double t0 = now_seconds();
      StepPlan plan = sched_->plan(&events);
      const bool planned = !plan.rows.empty() || !image_waits_.empty();
      if (planned) {
        StepSlab& slab = pipe_.next_slab();
        build(plan, slab);
        schedule_seconds_ += now_seconds() - t0;
        pipe_.start(slab);
      }
      publish(events, nullptr);
      if (pipe_.full() || (!planned && !pipe_.empty())) commit(events);
      update_stats();
    }
    while (!pipe_.empty()) commit(events);
    for (auto& [id, live] : live_) live.sink->on_event(aborted(id));
  }

  static EngineEvent aborted(RequestId id) {
    EngineEvent e;
    e.id = id, e.finish = Finish::kAbort;
    return e;
  }

  // The group that keeps most: the one whose use is reported.
  static int longest_group(const std::vector<CacheGroup>& groups) {
    for (size_t g = 0; g < groups.size(); g++)
      if (groups[g].window_tokens == 0) return int(g);
    return 0;
  }

  void apply(Submit& m, std::vector<Event>&) {
    const GenerateRequest& r = m.request;
    std::vector<MediaSpan> media;
    for (const ImageInput& image : r.images)
      media.push_back({image.first_token, image.patches->tokens(), image.patches->hash.lo ^ std::rotl(image.patches->hash.hi, 1), runner_->model().whole_images()});
    NewRequest request{r.id, r.prompt, r.max_new_tokens, r.min_new_tokens, r.stop_ids, r.priority, r.cache_key, r.prompt_logprobs_from, std::move(media)};
    if (ImageList images = images_to_encode(r, request); images.empty()) sched_->submit(std::move(request));
    else image_waits_.push(std::move(request), std::move(images));
    live_.emplace(r.id, Live{std::move(m.request), std::move(m.sink), {}, false});
    live_count_ = int(live_.size());
  }
  void apply(Cancel& m, std::vector<Event>& events) {
    if (image_waits_.cancel(m.id)) events.push_back({m.id, -1, -1, Finish::kAbort, 0, ""});
    else sched_->cancel(m.id, &events);
  }
  void apply(Flush& m, std::vector<Event>&) { m.done->set_value(image_waits_.empty() && sched_->flush()); }

  // Those that the prefix cache does not stand for.
  ImageList images_to_encode(const GenerateRequest& r, const NewRequest& request) {
    ImageList list;
    const int cached = r.images.empty() ? 0 : sched_->cached_tokens(request);
    for (const ImageInput& image : r.images)
      if (image.first_token + image.patches->tokens() > cached) list.push_back(image.patches);
    return list;
  }

  // The plan's step, and before it a piece of work on the images of the request that waits longest for them.
  void build(const StepPlan& plan, StepSlab& slab) {
    slab.plan = plan, slab.encode = image_waits_.next();
    if (plan.rows.empty()) return;
    builder_.build(plan, *sched_, [this](RequestId id) -> const GenerateRequest& { return live_.at(id).request; }, slab);
    note_started(plan);
  }

  void note_encoded(const StepSlab& s) {
    encode_steps_ += s.plan.rows.empty();
    if (auto request = image_waits_.take_encoded(s.encode)) sched_->submit(*std::move(request));
  }

  void note_started(const StepPlan& plan) {
    for (const Row& row : plan.rows) {
      Live& live = live_.at(row.id);
      if (!live.started) live.started = true, pending_--;
    }
  }

  void commit(std::vector<Event>& events) {
    StepSlab& s = pipe_.finish();
    forward_seconds_ += pipe_.last_seconds();
    note_host_time(s);
    if (!s.status.ok() || suspect_) return fail(s, events);
    if (!health_.ok) set_health({});
    note_encoded(s);
    if (s.plan.rows.empty()) return;
    sampled_.clear();
    for (size_t i = 0; i < s.logit_rows.size(); i++) {
      if (s.logit_rows[i].sample) sampled_.push_back(s.result.tokens.as<int32_t>()[i]);
      else if (auto it = live_.find(s.plan.rows[size_t(s.logit_rows[i].row)].id); it != live_.end()) it->second.prompt_logprobs.push_back(logprob(s, i, it->second.request));
    }
    const double t0 = now_seconds();
    sched_->commit(s.plan, sampled_, &events);
    schedule_seconds_ += now_seconds() - t0;
    publish(events, &s);
  }

  // What the step computed is not to be trusted: its requests end with an error. So do those of a step that was in flight beside
  // it, which may have read what was not written.
  void fail(StepSlab& s, std::vector<Event>& events) {
    suspect_ = true, failed_steps_++;
    if (!s.status.ok()) {
      log::error("a step failed: {}", s.status.error().text);
      set_health({false, false, "A step failed on the device: " + s.status.error().text + "."});
    }
    sched_->fail(s.plan, health_.text, &events);
    if (auto request = image_waits_.take_waiting_for(s.encode)) events.push_back(failed(request->id));
    publish(events, nullptr);
  }
  Event failed(RequestId id) const { return {id, -1, -1, Finish::kError, 0, health_.text}; }
  void fail_all(std::vector<Event>& events) {
    while (auto request = image_waits_.take()) events.push_back(failed(request->id));
    sched_->fail_all(health_.text, &events);
  }

  // Whether the device is of use after a failed step.
  void examine(std::vector<Event>& events) {
    while (!pipe_.empty()) commit(events);
    suspect_ = false;
    if (const Status s = probe_.run(); s.ok()) return log::warn("the device still computes: going on");
    else log::error("the device does not compute any more: {}", s.error().text);
    set_health({false, true, health_.text + " The device is lost; the server must be started anew."});
  }

  void set_health(EngineHealth h) {
    std::lock_guard lock(stats_mutex_);
    health_ = std::move(h);
  }

  void note_host_time(const StepSlab& s) {
    if (s.plan.rows.empty() || s.batch.tokens.numel() != s.batch.kv_len.numel()) return;
    std::lock_guard lock(stats_mutex_);
    if (s.host.form == StepSlab::Host::kReplayed) stats_.replayed_steps++, stats_.replayed_host_seconds += s.host.seconds, stats_.replayed_launches = s.host.launches;
    if (s.host.form == StepSlab::Host::kEager) stats_.eager_steps++, stats_.eager_host_seconds += s.host.seconds;
  }

  static TokenLogprob logprob(const StepSlab& s, size_t i, const GenerateRequest& r) {
    const SampleRow& p = s.result.rows.as<const SampleRow>()[i];
    TokenLogprob l;
    l.token = s.result.tokens.as<int32_t>()[i], l.logprob = s.result.logprobs.as()[i];
    for (int k = 0; k < r.top_logprobs; k++) {
      const TokenId id = s.result.top_ids.as<int32_t>()[i * kMaxTopLogprobs + size_t(k)];
      if (id >= 0) l.top.emplace_back(id, s.result.top_logprobs.as()[i * kMaxTopLogprobs + size_t(k)]);
    }
    for (int32_t k = p.chosen_begin; k < p.chosen_end; k++) l.chosen.emplace_back(s.result.chosen_ids.as<int32_t>()[k], s.result.chosen_logprobs.as()[k]);
    return l;
  }

  // Hands events to their sinks. s: the committed step they came of, if any.
  void publish(std::vector<Event>& events, const StepSlab* s) {
    for (Event& e : events) {
      const auto it = live_.find(e.id);
      if (it == live_.end()) continue;
      Live& live = it->second;
      EngineEvent out;
      out.id = e.id, out.token = e.token, out.finish = e.finish, out.cached_tokens = e.cached_tokens;
      if (e.finish == Finish::kError) out.error = internal_error(std::move(e.error));
      if (s && e.row >= 0 && e.token >= 0 && wants_logprob(live.request))
        for (size_t i = 0; i < s->logit_rows.size(); i++)
          if (s->logit_rows[i].sample && s->logit_rows[i].row == e.row) out.logprob = logprob(*s, i, live.request);
      if (e.token >= 0 || e.finish != Finish::kNone) out.prompt_logprobs = std::exchange(live.prompt_logprobs, {});
      live.sink->on_event(std::move(out));
      if (e.finish == Finish::kNone) continue;
      if (!live.started) pending_--;
      live_.erase(it);
      live_count_ = int(live_.size());
    }
    events.clear();
  }
  static bool wants_logprob(const GenerateRequest& r) { return r.logprobs || r.top_logprobs > 0 || !r.logprob_ids.empty(); }

  void update_stats() {
    running_ = sched_->running();
    const SchedulerTotals& t = sched_->totals();
    const double now = now_seconds();
    std::lock_guard lock(stats_mutex_);
    stats_.running = sched_->running(), stats_.queued = sched_->waiting() + int(image_waits_.size());
    stats_.used_tokens = int64_t(sched_->used_blocks(longest_group_)) * info_.page_size;
    stats_.cached_tokens_evictable = int64_t(sched_->evictable_blocks(longest_group_)) * info_.page_size;
    stats_.steps = t.steps + encode_steps_, stats_.prompt_tokens = t.prompt_tokens, stats_.cached_prompt_tokens = t.cached_prompt_tokens;
    stats_.generated_tokens = t.generated_tokens, stats_.finished = t.finished, stats_.aborted = t.aborted, stats_.preemptions = t.preemptions;
    stats_.failed_steps = failed_steps_;
    const ImageEncoder::Totals images = runner_->image_totals();
    stats_.images_encoded = images.encoded, stats_.images_cached = images.found, stats_.vision_seconds = images.seconds;
    stats_.schedule_seconds = schedule_seconds_, stats_.forward_seconds = forward_seconds_;
    if (now - rate_time_ >= 1.0) {
      stats_.gen_throughput = double(t.generated_tokens - rate_tokens_) / (now - rate_time_);
      rate_time_ = now, rate_tokens_ = t.generated_tokens;
    }
  }

  EngineInfo info_;
  std::unique_ptr<Runner> runner_;
  std::unique_ptr<Scheduler> sched_;
  const int longest_group_;
  BatchBuilder builder_;
  StepPipe pipe_;
  DeviceProbe probe_;
  bool suspect_ = false;             // a step failed, and the device was not examined since
  uint64_t failed_steps_ = 0, encode_steps_ = 0;
  std::unordered_map<RequestId, Live> live_;
  ImageWaits image_waits_;
  std::vector<TokenId> sampled_;
  double schedule_seconds_ = 0, forward_seconds_ = 0, rate_time_ = 0;
  uint64_t rate_tokens_ = 0;

  Queue<Message> inbox_;
  std::mutex submit_mutex_;
  std::atomic<bool> stopping_{false};
  std::atomic<int> pending_{0};      // submitted, not yet in a step
  std::atomic<int> running_{0}, live_count_{0};
  std::atomic<RequestId> next_id_{1};
  mutable std::mutex stats_mutex_;
  EngineStats stats_;
  EngineHealth health_;              // written by the engine thread
  std::thread thread_;               // last: it uses everything above
};

}  // namespace

Result<std::unique_ptr<Engine>> Engine::create(const EngineConfig& config) {
  TRY(LoadedEngine loaded, load_engine(config));
  return std::unique_ptr<Engine>(std::make_unique<EngineImpl>(std::move(loaded)));
}

}  // namespace xylem
