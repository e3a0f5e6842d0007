// The choice of rows. States: scheduler_states.cpp. Blocks and the life of a request: scheduler.cpp.
#include <algorithm>
#include <utility>

#include "base/check.h"
#include "sched/scheduler.h"

namespace xylem {
namespace {

// Waiting requests looked at in one plan: bounds the step when many of them wait for one prefix.
constexpr size_t kMaxCandidates = 128;

}  // namespace

StepPlan Scheduler::plan(std::vector<Event>* events) {
  plan_number_++;
  const size_t events_before = events->size();
  Step step;
  step.plan.rows.reserve(running_.size() + 1);
  if (config_.policy == Policy::kPriority) displace_for_urgent();
  plan_decodes(step);
  plan_prefills(step);
  plan_waiting(step, events);
  if (snapshots_) take_snapshots(step);
  inflight_rows_ += int(step.plan.rows.size());
  if (inflight_rows_ == 0 && !idle() && events->size() == events_before) give_up_one(events);
  return std::move(step.plan);
}

void Scheduler::plan_decodes(Step& step) {
  for (size_t i = 0; i < running_.size(); i++) {  // preemption only takes requests behind i
    Request& r = *running_[i];
    if (r.wants_row() && r.decoding() && r.held_in_plan != plan_number_) add_row_or_preempt(r, 1, step);
  }
}

void Scheduler::plan_prefills(Step& step) {
  for (size_t i = 0; i < running_.size() && prefill_allowance(step) > 0; i++) {
    Request& r = *running_[i];
    if (r.wants_row() && !r.decoding() && r.held_in_plan != plan_number_)
      add_row_or_preempt(r, prefill_allowance(step), step);
  }
}

void Scheduler::plan_waiting(Step& step, std::vector<Event>* events) {
  const auto open = [&] { return running() < config_.max_running && prefill_allowance(step) > 0; };
  if (waiting_.empty() || !open()) return;
  for (Request* r : candidates()) {
    if (!open()) return;
    if (auto why = never_fits(*r)) {
      end(*r, -1, -1, Finish::kError, *std::move(why), events);
      free_if_retired(*r);
    } else if (try_start(*r, step) == Start::kNoRoom) {
      return;  // those behind it would only keep it from ever fitting
    }
  }
}

// Waiting requests in the order in which they should start.
const std::vector<Request*>& Scheduler::candidates() {
  candidates_.clear();
  for (auto it = waiting_.begin(); it != waiting_.end() && candidates_.size() < kMaxCandidates; ++it)
    candidates_.push_back(*it);
  if (config_.policy != Policy::kLpm || waiting_.size() > kLpmMaxWaiting) return candidates_;
  std::vector<std::pair<int, Request*>> by_hit;
  for (Request* r : candidates_) by_hit.emplace_back(-find_prefix(*r).blocks, r);
  std::stable_sort(by_hit.begin(), by_hit.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  std::transform(by_hit.begin(), by_hit.end(), candidates_.begin(), [](const auto& p) { return p.second; });
  return candidates_;
}

Scheduler::Start Scheduler::try_start(Request& r, Step& step) {
  if (awaits_prefix(r)) return Start::kLater;
  const PrefixHit hit = find_prefix(r);
  if (hit.promised_blocks > hit.blocks) {
    index_.pin(r.awaited = hit.promised);
    return Start::kLater;
  }
  index_.attach(hit, r.tables);
  if (hit.node != kNoNode) index_.pin(hit.node);  // the row may evict what the tables do not hold
  r.computed = hit.blocks * config_.block_tokens;
  const bool started = room_to_start(r) && add_row(r, prefill_allowance(step), step);
  if (started && config_.prefix_cache) index_.start(r.path, hit, r.prefix(r.tokens.size()));
  if (started && snapshots_) promise_kept_states(r);
  if (hit.node != kNoNode) index_.unpin(hit.node);
  if (!started) {
    for (BlockTable& t : r.tables) t.clear();
    r.computed = 0;
    return Start::kNoRoom;
  }
  waiting_.erase(&r);
  running_.insert(std::lower_bound(running_.begin(), running_.end(), &r, ByRank{}), &r);
  const auto slot = std::find(slots_.begin(), slots_.end(), nullptr);
  CHECK(slot != slots_.end());
  *slot = &r;
  r.slot = step.plan.rows.back().slot = int(slot - slots_.begin());
  if (!std::exchange(r.admitted, true)) {
    r.cached_tokens = r.computed;
    totals_.prompt_tokens += uint64_t(r.prompt_tokens);
    totals_.cached_prompt_tokens += uint64_t(r.cached_tokens);
  }
  return Start::kStarted;
}

bool Scheduler::awaits_prefix(Request& r) {
  if (r.awaited == kNoNode) return false;
  if (index_.promised(r.awaited)) return true;
  index_.unpin(std::exchange(r.awaited, kNoNode));  // computed, or its leader is gone
  return false;
}

// At least one token is left to compute, and every position from logits_from on, if that is >= 0.
PrefixHit Scheduler::find_prefix(Prefix known, int logits_from) {
  if (!config_.prefix_cache) return {};
  size_t most = known.tokens.size() - 1;
  if (logits_from >= 0) most = std::min(most, size_t(logits_from));
  known.tokens = known.tokens.first(most);
  return index_.match(known);
}

int Scheduler::cached_tokens(const NewRequest& request) {
  CHECK(!request.prompt.empty(), request.id);
  const Prefix prompt{request.cache_key, request.prompt, request.media};
  return find_prefix(prompt, request.logits_from).blocks * config_.block_tokens;
}

// The known tokens of r fit beside those of the running requests, and each of these can still grow by a block (a state
// does not grow): otherwise the start would soon be undone by preemption.
bool Scheduler::room_to_start(const Request& r) const {
  if (running_.empty()) return true;
  for (size_t g = 0; g < pools_.size(); g++) {
    int64_t need = blocks_to_take(r, g);
    for (const Request* other : running_) need += blocks_to_take(*other, g) + (config_.groups[g].is_state() ? 0 : 1);
    if (need > pools_[g].available_blocks()) return false;
  }
  return true;
}

// An urgent request at the head of the queue takes the place of much less urgent ones, if it lacks a slot or blocks.
void Scheduler::displace_for_urgent() {
  if (waiting_.empty() || std::any_of(running_.begin(), running_.end(), [](Request* r) { return r->retiring; })) return;
  Request& urgent = **waiting_.begin();
  while (!running_.empty()) {
    Request& victim = *running_.back();
    if (int64_t(urgent.priority) - victim.priority < kDisplacingGap || !lacks_only_room(urgent)) return;
    if (victim.inflight > 0) {
      victim.held_in_plan = plan_number_;  // a later plan finds it with nothing in flight
      return;
    }
    preempt(victim);
  }
}

// Whether the request would start now if there were a slot and blocks for it, and one of these is missing.
bool Scheduler::lacks_only_room(Request& r) {
  if (awaits_prefix(r) || never_fits(r)) return false;
  const PrefixHit hit = find_prefix(r);
  if (hit.promised_blocks > hit.blocks) return false;
  if (running() == config_.max_running) return true;
  index_.attach(hit, r.tables);
  const bool room = room_to_start(r);
  for (BlockTable& t : r.tables) t.clear();
  return !room;
}

// Tokens that one more prompt may take in this step.
int Scheduler::prefill_allowance(const Step& step) const {
  if (step.prefill_tokens == 0) return config_.chunk_tokens;
  return std::min(config_.chunk_tokens, config_.pack_tokens) - step.prefill_tokens;
}

bool Scheduler::add_row_or_preempt(Request& r, int max_tokens, Step& step) {
  while (!add_row(r, max_tokens, step)) {
    if (row_tokens(r, max_tokens, step) == 0 || !preempt_junior_of(r)) return false;
  }
  return true;
}

// How many tokens of r the step may compute, if there are blocks for them: at most max_tokens, or a whole span that is
// the first of the step's prefills. The logits that it may owe are those of its last token: the first prefill has them.
int Scheduler::row_tokens(const Request& r, int max_tokens, const Step& step) const {
  const int count = cut_for_media(r, cut_for_logits(r, std::min(r.remaining(), max_tokens), step));
  if (count > 0) return count;
  const MediaSpan* next = split_span(r.media, r.begin() + 1);
  return next && step.prefill_tokens == 0 ? next->count : 0;
}

// Adds a row of r with the tokens that the step may compute, or less: as many as blocks can be had for. False when that
// is none.
bool Scheduler::add_row(Request& r, int max_tokens, Step& step) {
  const int most = row_tokens(r, max_tokens, step);
  int count = cut_for_media(r, int(std::min<int64_t>(most, fitting_tokens(r))));
  if (count <= 0) return false;
  count = end_at_boundary(r, count);
  Row row{.id = r.id, .slot = r.slot, .begin = r.begin(), .count = count};
  const int end = row.begin + count;
  row.sample = end == r.known();
  if (const int wanted = first_wanted_logit(r); wanted < end) {
    row.logits_from = wanted;
    step.logit_rows += end - wanted;
  } else if (row.sample) {
    row.logits_from = end - 1;
  }
  if (!r.decoding()) step.prefill_tokens += count;
  grow(r, end);
  r.inflight += count;
  r.inflight_new += row.sample;
  totals_.computed_tokens += uint64_t(count);
  step.plan.rows.push_back(row);
  return true;
}

// The first position from r.begin() on whose prompt logits are owed; INT_MAX when none is.
int Scheduler::first_wanted_logit(const Request& r) const {
  return r.logits_next < 0 || r.begin() >= r.prompt_tokens ? INT_MAX : std::max(r.logits_next, r.begin());
}

// A row of so many tokens, or less where the step gives no more prompt logits. That splits a whole span only if none
// are left.
int Scheduler::cut_for_logits(const Request& r, int count, const Step& step) const {
  const int64_t end = int64_t(first_wanted_logit(r)) + config_.max_logit_rows - step.logit_rows;
  return int(std::min<int64_t>(count, end - r.begin()));
}

// A row of so many tokens, or of those before the whole span that it would split.
int Scheduler::cut_for_media(const Request& r, int count) const {
  const MediaSpan* s = count > 0 ? split_span(r.media, r.begin() + count) : nullptr;
  if (!s) return count;
  CHECK(s->first >= r.begin(), r.id, r.begin(), s->first);
  return s->first - r.begin();
}

// Takes the lowest-ranked running request behind r back to the queue. If all of those are in flight, none is, but the
// last one gets no further row in this plan, so that a later plan can.
bool Scheduler::preempt_junior_of(const Request& r) {
  Request* in_flight = nullptr;
  for (size_t i = running_.size(); i-- > 0 && running_[i] != &r;) {
    Request& victim = *running_[i];
    if (victim.retiring) continue;
    if (victim.inflight == 0) {
      preempt(victim);
      return true;
    }
    if (!in_flight) in_flight = &victim;
  }
  if (in_flight) in_flight->held_in_plan = plan_number_;
  return false;
}

void Scheduler::preempt(Request& r) {
  CHECK(r.inflight == 0 && r.inflight_new == 0 && !r.retiring, r.id, r.inflight);
  release(r);
  waiting_.insert(&r);
  totals_.preemptions++;
}

}  // namespace xylem
