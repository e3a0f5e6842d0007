// Scheduler and cache under random load against the oracle of sim_device.h.
#include <gtest/gtest.h>

#include <deque>
#include <map>
#include <random>
#include <set>

#include "sched/sim_device.h"

namespace xylem::sim {
namespace {

// What went into a scheduler and what came out, so that it can be replayed.
struct Call {
  enum Kind { kSubmit, kCancel, kPlan, kCommit, kFlush } kind;
  NewRequest request;
  RequestId id = 0;
  StepPlan plan;
  std::vector<TokenId> sampled;
  std::vector<Event> events;
};

struct Counts {
  long steps = 0, requests = 0, tokens = 0, preemptions = 0, cached = 0, cancelled = 0, failed = 0, no_capacity = 0,
       prompt_logits = 0, spans = 0, cached_spans = 0, large_spans = 0, span_logits = 0;
  Counts& operator+=(const Counts& o) {
    steps += o.steps, requests += o.requests, tokens += o.tokens, preemptions += o.preemptions, cached += o.cached;
    cancelled += o.cancelled, failed += o.failed, no_capacity += o.no_capacity, prompt_logits += o.prompt_logits;
    spans += o.spans, cached_spans += o.cached_spans, large_spans += o.large_spans, span_logits += o.span_logits;
    return *this;
  }
};

// One scheduler under load, everything drawn from the seed.
class World {
 public:
  World(uint32_t seed, int depth)
      : rng_(seed),
        depth_(depth),
        media_(chance(2)),
        config_(draw_config()),
        scheduler_(config_),
        model_{config_.groups},
        device_(model_, config_.block_tokens, config_.pool_blocks) {}

  Counts run(int requests) {
    long guard = 0;
    while (requests > 0 || !scheduler_.idle()) {
      CHECK(++guard < 100000, scheduler_.running(), scheduler_.waiting());
      while (requests > 0 && chance(2)) submit(), requests--;
      if (chance(burst_))
        for (int n = pick(1, 8); n > 0 && requests > 0; n--) submit(), requests--;
      if (chance(60)) cancel();
      if (chance(60)) flush();
      step();
      if (chance(4)) scheduler_.check_conservation();
    }
    scheduler_.check_conservation();
    for (const auto& [id, e] : expected_) CHECK(e.ended, id);
    counts_.preemptions = long(scheduler_.totals().preemptions);
    counts_.cached = long(scheduler_.totals().cached_prompt_tokens);
    return counts_;
  }

  void replay() const {
    Scheduler again(config_);
    for (const Call& c : calls_) {
      std::vector<Event> events;
      if (c.kind == Call::kSubmit) again.submit(c.request);
      if (c.kind == Call::kCancel) again.cancel(c.id, &events);
      if (c.kind == Call::kPlan) CHECK(again.plan(&events) == c.plan);
      if (c.kind == Call::kCommit) again.commit(c.plan, c.sampled, &events);
      if (c.kind == Call::kFlush) again.flush();
      CHECK(events == c.events);
    }
    CHECK(again.idle());
  }

 private:
  struct Expected {
    NewRequest request;
    Oracle oracle;
    size_t got = 0;         // tokens
    int next_logits = -1;   // the prompt position whose logits come next
    bool poisoned = false;  // the device fails one of its rows
    bool ended = false;
  };
  struct Flight {
    StepPlan plan;
    std::vector<TokenId> sampled;
  };

  int pick(int lo, int hi) { return lo + int(rng_() % uint32_t(hi - lo + 1)); }
  bool chance(int one_in) { return rng_() % uint32_t(one_in) == 0; }

  SchedulerConfig draw_config() {
    SchedulerConfig c;
    c.block_tokens = std::vector<int>{1, 3, 4, 4, 8}[size_t(pick(0, 4))];
    CacheLayout layout(2);
    const int kinds = pick(1, 9);  // any mixture, full attention most often
    if (kinds != 2 && kinds != 4) layout.kv(1, 8);
    if (kinds >= 2 && kinds != 3) layout.window_kv(1, 8, pick(1, 13));
    if (kinds == 3 || kinds == 4 || kinds >= 7) layout.state(64);
    if (kinds == 8) layout.state(128);
    if (kinds == 9) layout.window_kv(1, 8, pick(14, 20));
    c.groups = layout.groups();
    const bool tight = chance(2);
    for (const CacheGroup& g : c.groups) {
      int least = 1, more = tight ? 3 : 30;
      if (!g.is_state()) {
        least = g.window_tokens == 0 ? 40 / c.block_tokens : std::min(40, g.lookback_blocks(c.block_tokens)) + 1;
        more = (tight ? 60 : 400) / c.block_tokens;
      }
      c.pool_blocks.push_back(least + pick(0, more));
    }
    c.chunk_tokens = pick(1, 40);
    c.pack_tokens = pick(1, 40);
    c.max_running = pick(1, 12);
    c.max_logit_rows = pick(1, 12);
    if (media_ && !chance(4)) c.max_whole_tokens = pick(1, 20);
    c.policy = Policy(pick(0, 2));
    c.prefix_cache = !chance(6);
    c.state_snapshot_interval = c.block_tokens * std::vector<int>{1, 2, 3, 5, 100}[size_t(pick(0, 4))];
    c.max_context = chance(3) ? pick(20, 60) : INT_MAX;
    return c;
  }

  void submit() {
    NewRequest r;
    r.id = ++last_id_;
    const int length = pick(1, 45);
    if (chance(2) && !expected_.empty()) {  // continue or repeat an earlier conversation
      const Expected& e = std::next(expected_.begin(), pick(0, int(expected_.size()) - 1))->second;
      r.prompt = e.request.prompt, r.media = e.request.media;
      if (chance(2)) r.prompt.insert(r.prompt.end(), e.oracle.tokens.begin(), e.oracle.tokens.end());
      if (int(r.prompt.size()) > length) r.prompt.resize(size_t(length));
    }
    std::erase_if(r.media, [&](const MediaSpan& s) { return s.first + s.count > int(r.prompt.size()); });
    if (!r.media.empty() && chance(3)) set_content(r.media[size_t(pick(0, int(r.media.size()) - 1))]);
    while (int(r.prompt.size()) < length) {
      if (media_ && chance(10)) add_span(r, length);
      if (int(r.prompt.size()) < length) r.prompt.push_back(chance(4) ? pick(0, 49) : 1);
    }
    r.max_new_tokens = pick(1, 30);
    if (chance(2)) r.stop_ids = {pick(0, 49), pick(0, 49), pick(0, 49)};
    if (chance(4)) r.min_new_tokens = pick(1, 10);
    r.priority = pick(-1, 2) * 6;
    r.cache_key = uint64_t(pick(0, 5) / 5);
    if (chance(5)) r.logits_from = draw_logits_from(r);
    CHECK(scheduler_.cached_tokens(r) < length, r.id);  // replay() does not ask: it changes nothing
    Expected e{.request = r, .oracle = oracle(model_, r, config_.max_context), .next_logits = r.logits_from};
    e.poisoned = chance(25);
    expected_.emplace(r.id, std::move(e));
    live_.insert(r.id);
    counts_.requests++;
    calls_.push_back({.kind = Call::kSubmit, .request = r});
    scheduler_.submit(std::move(r));
  }

  // Few tokens and contents, so that many prompts differ in a content alone. What is computed whole follows from what
  // the prefix key holds: the model decides it.
  void set_content(MediaSpan& s) {
    s.content = uint64_t(pick(1, 4));
    s.whole = s.content != 4 && s.count <= config_.max_whole_tokens;
  }
  void add_span(NewRequest& r, int length) {
    MediaSpan s{.first = int(r.prompt.size()), .count = std::min(pick(1, 20), length - int(r.prompt.size()))};
    set_content(s);
    r.prompt.insert(r.prompt.end(), size_t(s.count), 1);
    r.media.push_back(s);
  }

  // Of what may be asked for, often the most: then the last whole span gives logits.
  int draw_logits_from(const NewRequest& r) {
    int least = 0;
    for (const MediaSpan& s : r.media)
      if (s.whole) least = s.first + s.count - 1;
    return chance(3) ? least : pick(least, int(r.prompt.size()) - 1);
  }

  void cancel() {
    const RequestId id = live_.empty() || chance(4)
                             ? RequestId(pick(0, int(last_id_) + 3))  // ended or unknown ones too
                             : *std::next(live_.begin(), pick(0, int(live_.size()) - 1));
    Call call{.kind = Call::kCancel, .id = id};
    scheduler_.cancel(id, &call.events);
    take(call.events);
    calls_.push_back(std::move(call));
  }

  void flush() {
    calls_.push_back({.kind = Call::kFlush});
    CHECK(scheduler_.flush() == scheduler_.idle());
  }

  void step() {
    Call call{.kind = Call::kPlan};
    call.plan = scheduler_.plan(&call.events);
    take(call.events);
    const bool empty = call.plan.rows.empty();
    if (!empty) {
      check_plan(call.plan);
      std::vector<FakeDevice::PromptLogits> logits;
      auto sampled = device_.run(scheduler_, call.plan, logits, [&](const Row& row) {
        return row.sample && expected_.at(row.id).poisoned && (row.begin + row.count) % 3 == 0;
      });
      for (const auto& l : logits) take_prompt_logits(l);
      pipe_.push_back({call.plan, std::move(sampled)});
    }
    calls_.push_back(std::move(call));
    if (int(pipe_.size()) == depth_ || (empty && !pipe_.empty())) commit();
  }

  void commit() {
    Call call{
        .kind = Call::kCommit, .plan = std::move(pipe_.front().plan), .sampled = std::move(pipe_.front().sampled)};
    pipe_.pop_front();
    scheduler_.commit(call.plan, call.sampled, &call.events);
    take(call.events);
    calls_.push_back(std::move(call));
    counts_.steps++;
  }

  void check_plan(const StepPlan& plan) {
    int prefill = 0, first_prefill = 0, logit_rows = 0;
    std::set<int> slots;
    for (const Row& row : plan.rows) {
      const Request& r = scheduler_.request(row.id);
      check_spans(row, r);
      CHECK(row.count > 0 && row.slot >= 0 && row.slot < config_.max_running && slots.insert(row.slot).second,
            row.slot);
      if (row.begin < r.prompt_tokens || row.count > 1) {
        if (prefill == 0) first_prefill = row.count;
        prefill += row.count;
      }
      if (row.logits_from >= 0 && row.logits_from < r.prompt_tokens - 1)
        logit_rows += row.begin + row.count - row.logits_from;
      CHECK(row.logits_from < 0 || (row.logits_from >= row.begin && row.logits_from < row.begin + row.count));
      CHECK(!row.sample || row.logits_from >= 0);
    }
    CHECK(prefill <= std::max(first_prefill, std::min(config_.chunk_tokens, config_.pack_tokens)), prefill,
          first_prefill, config_.pack_tokens);
    CHECK(logit_rows <= config_.max_logit_rows, logit_rows, config_.max_logit_rows);
  }

  // No whole span is split, and a row exceeds a chunk by one of them alone.
  void check_spans(const Row& row, const Request& r) {
    const int end = row.begin + row.count;
    bool is_span = false;
    for (const MediaSpan& s : r.media) {
      is_span |= s.whole && row.begin == s.first && row.count == s.count;
      counts_.spans += s.first >= row.begin && s.first < end;
      counts_.span_logits += s.whole && row.logits_from >= s.first && row.logits_from < s.first + s.count;
      if (s.whole)
        for (const int cut : {row.begin, end}) CHECK(cut <= s.first || cut >= s.first + s.count, r.id, cut, s.first);
    }
    CHECK(row.count <= config_.chunk_tokens || is_span, r.id, row.begin, row.count);
    counts_.large_spans += row.count > config_.chunk_tokens;
  }

  void take_prompt_logits(const FakeDevice::PromptLogits& l) {
    Expected& e = expected_.at(l.id);
    if (e.request.logits_from < 0) return;
    CHECK(l.position == e.next_logits, l.id, l.position, e.next_logits);  // each one once, in order
    CHECK(l.logits == e.oracle.logits[size_t(l.position)], l.id, l.position);
    e.next_logits++;
    counts_.prompt_logits++;
  }

  void take(const std::vector<Event>& events) {
    for (const Event& event : events) {
      Expected& e = expected_.at(event.id);
      CHECK(!e.ended, event.id);
      if (event.token >= 0) {
        CHECK(e.got < e.oracle.tokens.size() && event.token == e.oracle.tokens[e.got], event.id, e.got, event.token);
        if (e.got == 0 && e.request.logits_from >= 0)
          CHECK(e.next_logits == int(e.request.prompt.size()), e.next_logits);
        e.got++;
        counts_.tokens++;
      }
      if (event.finish != Finish::kNone) take_end(e, event);
      if (event.finish != Finish::kNone)
        for (const MediaSpan& s : e.request.media) counts_.cached_spans += s.first + s.count <= event.cached_tokens;
    }
  }

  void take_end(Expected& e, const Event& event) {
    e.ended = true;
    live_.erase(event.id);
    device_.ended(event.id);
    if (event.finish == Finish::kAbort) {
      counts_.cancelled++;
    } else if (event.finish == Finish::kError) {
      CHECK(!event.error.empty());
      if (event.row >= 0) {
        CHECK(e.poisoned, event.id);
        counts_.failed++;
      } else {
        CHECK(cannot_fit(e.request), event.id, event.error);
        counts_.no_capacity++;
      }
    } else {
      CHECK(event.finish == e.oracle.finish && e.got == e.oracle.tokens.size(), event.id, e.got);
    }
  }

  // Even alone, the request would at its longest not fit.
  bool cannot_fit(const NewRequest& r) const {
    const int prompt = int(r.prompt.size());
    if (prompt >= config_.max_context) return true;
    const int tokens = std::min(prompt + r.max_new_tokens, config_.max_context) - 1;  // the last one is not computed
    const int blocks = (tokens + config_.block_tokens - 1) / config_.block_tokens;
    for (size_t g = 0; g < config_.groups.size(); g++) {
      if (config_.groups[g].is_state()) continue;  // one block is enough
      const int lookback = std::min(blocks, config_.groups[g].lookback_blocks(config_.block_tokens));
      if (std::min(blocks, lookback + 1) > config_.pool_blocks[g]) return true;
      for (const MediaSpan& m : r.media) {
        const int first_read = config_.groups[g].first_needed_block(m.first, config_.block_tokens);
        const int span_end = (m.first + m.count + config_.block_tokens - 1) / config_.block_tokens;
        if (m.whole && span_end - first_read > config_.pool_blocks[g]) return true;
      }
    }
    return false;
  }

  std::mt19937 rng_;
  const int depth_;
  const bool media_;  // there are spans in prompts
  const SchedulerConfig config_;
  Scheduler scheduler_;
  FakeModel model_;
  FakeDevice device_;
  const int burst_ = 10;
  std::map<RequestId, Expected> expected_;
  std::set<RequestId> live_;
  std::deque<Flight> pipe_;
  std::vector<Call> calls_;
  Counts counts_;
  RequestId last_id_ = 0;
};

// XYLEM_SIM_SEED=n moves to other seeds, XYLEM_SIM_WORLDS=n runs more of them: for fuzzing by hand.
int from_env(const char* name, int otherwise) {
  const char* value = std::getenv(name);
  return value ? std::atoi(value) : otherwise;
}

TEST(Sim, EveryTokenEqualsTheOracleAtDepthOneAndTwo) {
  const int first = from_env("XYLEM_SIM_SEED", 1), worlds = from_env("XYLEM_SIM_WORLDS", 200);
  for (int depth : {1, 2}) {
    Counts sum;
    for (int seed = first; seed < first + worlds; seed++) {
      SCOPED_TRACE(testing::Message() << "seed " << seed << " depth " << depth);
      World world{uint32_t(seed), depth};
      sum += world.run(60);
      if (seed % 10 == 0) world.replay();
      if (HasFatalFailure()) return;
    }
    std::printf(
        "depth %d: %ld requests, %ld steps, %ld tokens, %ld cached, %ld preemptions, %ld prompt logits, "
        "%ld cancelled, %ld failed, %ld without capacity, %ld spans, %ld cached, %ld larger than a chunk, %ld with logits\n",
        depth, sum.requests, sum.steps, sum.tokens, sum.cached, sum.preemptions, sum.prompt_logits, sum.cancelled,
        sum.failed, sum.no_capacity, sum.spans, sum.cached_spans, sum.large_spans,
        sum.span_logits);
    EXPECT_TRUE(worlds < 100 || (sum.preemptions > 0 && sum.cached > 0 && sum.cancelled > 0 && sum.prompt_logits > 0 &&
                                 sum.cached_spans > 0 && sum.large_spans > 0 && sum.span_logits > 0));
  }
}

}  // namespace
}  // namespace xylem::sim
