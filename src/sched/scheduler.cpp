#include "sched/scheduler.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace xylem {
namespace {

constexpr int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

std::vector<BlockPool> make_pools(const SchedulerConfig& c) {
  CHECK(!c.groups.empty() && c.pool_blocks.size() == c.groups.size(), c.groups.size(), c.pool_blocks.size());
  return {c.pool_blocks.begin(), c.pool_blocks.end()};
}

std::string too_large(int64_t needs, int64_t fit) {
  return "The request needs " + std::to_string(needs) + " tokens of cache, but only " + std::to_string(fit) +
         " fit. Shorten the prompt or max_tokens, or start the server with a larger --kv-memory.";
}

}  // namespace

Scheduler::Scheduler(SchedulerConfig config)
    : config_(std::move(config)),
      pools_(make_pools(config_)),
      index_(config_.groups, config_.block_tokens, pools_),
      snapshots_(config_.prefix_cache && std::any_of(config_.groups.begin(), config_.groups.end(),
                                                     [](const auto& g) { return g.is_state(); })) {
  CHECK(config_.chunk_tokens > 0 && config_.pack_tokens > 0, config_.chunk_tokens, config_.pack_tokens);
  CHECK(config_.max_running > 0 && config_.max_logit_rows > 0, config_.max_running, config_.max_logit_rows);
  CHECK(config_.max_whole_tokens >= 0, config_.max_whole_tokens);
  const int interval = config_.state_snapshot_interval;
  CHECK(!snapshots_ || (interval > 0 && interval % config_.block_tokens == 0), interval, config_.block_tokens);
  slots_.resize(size_t(config_.max_running));
}

void Scheduler::submit(NewRequest request) {
  CHECK(!request.prompt.empty() && request.max_new_tokens > 0, request.id, request.max_new_tokens);
  auto owned = std::make_unique<Request>();
  Request& r = *owned;
  r.id = request.id;
  r.rank = rank_of(config_.policy, request.priority, ++arrivals_);
  r.priority = request.priority;
  r.cache_key = request.cache_key;
  r.prompt_tokens = int(request.prompt.size());
  r.min_new_tokens = request.min_new_tokens;
  r.limit_tokens = int(std::min<int64_t>(int64_t(r.prompt_tokens) + request.max_new_tokens, config_.max_context));
  r.stop_ids = std::move(request.stop_ids);
  std::sort(r.stop_ids.begin(), r.stop_ids.end());
  r.tokens = std::move(request.prompt);
  r.logits_next = request.logits_from < r.prompt_tokens ? request.logits_from : -1;
  take_media(r, std::move(request.media));
  r.tables.reserve(pools_.size());
  for (BlockPool& pool : pools_) r.tables.emplace_back(&pool);
  CHECK(requests_.emplace(r.id, std::move(owned)).second, r.id);
  waiting_.insert(&r);
  totals_.submitted++;
}

void Scheduler::take_media(Request& r, std::vector<MediaSpan> media) {
  int end = 0;
  for (const MediaSpan& s : media) {
    CHECK(s.first >= end && s.count > 0 && s.count <= r.prompt_tokens - s.first, r.id, s.first, s.count, end);
    CHECK(!s.whole || s.count <= config_.max_whole_tokens, r.id, s.count, config_.max_whole_tokens);
    end = s.first + s.count;
    CHECK(!s.whole || r.logits_next < 0 || r.logits_next >= end - 1, r.id, r.logits_next, end);
    if (s.whole) r.most_whole_tokens = std::max(r.most_whole_tokens, s.count);
  }
  r.media = std::move(media);
  const auto boundary_before = [&](int position) { return position / config_.block_tokens * config_.block_tokens; };
  r.last_boundary = boundary_before(r.prompt_tokens - 1);
  while (const MediaSpan* s = split_span(r.media, r.last_boundary)) r.last_boundary = boundary_before(s->first);
}

void Scheduler::cancel(RequestId id, std::vector<Event>* events) {
  const auto it = requests_.find(id);
  if (it == requests_.end() || it->second->retiring) return;
  Request& r = *it->second;
  end(r, -1, -1, Finish::kAbort, "", events);
  free_if_retired(r);
}

const Request& Scheduler::request(RequestId id) const {
  const auto it = requests_.find(id);
  CHECK(it != requests_.end(), id);
  return *it->second;
}

bool Scheduler::flush() {
  if (!idle()) return false;
  index_.clear();
  CHECK(index_.nodes() == 0, index_.nodes());
  return true;
}

// The request of a row that is no longer in flight.
Request& Scheduler::take_row(const Row& row) {
  Request& r = *slots_[size_t(row.slot)];
  CHECK(r.id == row.id && r.computed == row.begin, r.id, row.id, r.computed, row.begin);
  inflight_rows_--;
  r.inflight -= row.count;
  r.inflight_new -= row.sample;
  r.computed += row.count;
  return r;
}

void Scheduler::commit(const StepPlan& plan, std::span<const TokenId> sampled, std::vector<Event>* events) {
  size_t next = 0;
  for (size_t i = 0; i < plan.rows.size(); i++) {
    const Row& row = plan.rows[i];
    Request& r = take_row(row);
    if (r.logits_next >= 0) r.logits_next = r.computed < r.prompt_tokens ? std::max(r.logits_next, r.computed) : -1;
    if (row.sample) {
      CHECK(next < sampled.size(), next);
      const TokenId token = sampled[next++];
      if (token < 0) distrust(r);
      if (!r.retiring) take_token(r, token, int(i), events);
    }
    keep_computed(r);
    free_if_retired(r);
  }
  CHECK(next == sampled.size(), next, sampled.size());
  totals_.steps++;
#ifndef NDEBUG
  check_conservation();
#endif
}

void Scheduler::fail(const StepPlan& plan, const std::string& error, std::vector<Event>* events) {
  for (size_t i = 0; i < plan.rows.size(); i++) {
    Request& r = take_row(plan.rows[i]);
    distrust(r);
    if (!r.retiring) end(r, int(i), -1, Finish::kError, error, events);
    free_if_retired(r);
  }
#ifndef NDEBUG
  check_conservation();
#endif
}

void Scheduler::fail_all(const std::string& error, std::vector<Event>* events) {
  CHECK(inflight_rows_ == 0, inflight_rows_);
  std::vector<Request*> all(running_);
  all.insert(all.end(), waiting_.begin(), waiting_.end());
  for (Request* r : all) {
    end(*r, -1, -1, Finish::kError, error, events);
    free_if_retired(*r);
  }
}

void Scheduler::take_token(Request& r, TokenId token, int row, std::vector<Event>* events) {
  if (token < 0) {
    end(r, row, -1, Finish::kError, "The model gave logits that are not finite numbers for this request.", events);
    return;
  }
  const int generated_before = int(r.tokens.size()) - r.prompt_tokens;
  r.tokens.push_back(token);
  totals_.generated_tokens++;
  const bool stop =
      generated_before >= r.min_new_tokens && std::binary_search(r.stop_ids.begin(), r.stop_ids.end(), token);
  if (stop) {
    end(r, row, token, Finish::kStop, "", events);
  } else if (int(r.tokens.size()) >= r.limit_tokens) {
    end(r, row, token, Finish::kLength, "", events);
  } else {
    events->push_back({r.id, row, token, Finish::kNone, r.cached_tokens, ""});
  }
}

// What r computed may be wrong from anywhere on: none of it stays in the index.
void Scheduler::distrust(Request& r) {
  index_.forget(r.path);
  r.publish = false;
}

void Scheduler::keep_computed(Request& r) {
  if (config_.prefix_cache && r.publish) {
    // A submitted row may have computed a token that the host never learnt: one sampled after the end.
    const size_t known = std::min(r.tokens.size(), size_t(r.computed));
    index_.advance(r.path, r.prefix(known), r.tables);
  }
  // The end of a prompt is where the same prompt, or the next turn without this output, will continue. What lies within
  // the prompt or the output would serve only those that differ from there on, and must not drive others' ends out.
  const int block_tokens = config_.block_tokens;
  for (size_t g = 0; g < r.tables.size(); g++) {
    const CacheGroup& group = config_.groups[g];
    r.tables[g].drop_before(group.first_needed_block(r.computed, block_tokens),
                            group.first_needed_block(r.last_boundary, block_tokens), r.last_boundary / block_tokens);
  }
}

void Scheduler::end(Request& r, int row, TokenId token, Finish finish, std::string error, std::vector<Event>* events) {
  r.retiring = true;
  events->push_back({r.id, row, token, finish, r.cached_tokens, std::move(error)});
  (finish == Finish::kAbort ? totals_.aborted : finish == Finish::kError ? totals_.failed : totals_.finished)++;
}

void Scheduler::free_if_retired(Request& r) {
  if (!r.retiring || r.inflight > 0) return;
  if (r.slot < 0) waiting_.erase(&r);
  release(r);
  requests_.erase(r.id);
  if (idle()) check_idle();
}

// Gives back everything it holds: blocks, its place in the index, its slot.
void Scheduler::release(Request& r) {
  for (BlockTable& t : r.tables) t.clear();
  index_.leave(r.path);
  r.computed = 0;
  if (r.awaited != kNoNode) index_.unpin(std::exchange(r.awaited, kNoNode));
  if (r.slot < 0) return;
  slots_[size_t(std::exchange(r.slot, -1))] = nullptr;
  running_.erase(std::lower_bound(running_.begin(), running_.end(), &r, ByRank{}));
}

// How many tokens from r.begin() on the blocks in its tables and those that can be had hold.
int64_t Scheduler::fitting_tokens(const Request& r) const {
  int64_t blocks = INT_MAX;
  for (size_t g = 0; g < pools_.size(); g++) {
    if (!config_.groups[g].is_state())
      blocks = std::min(blocks, int64_t(r.tables[g].size()) + pools_[g].available_blocks());
    else if (!owns_state(r, g) && pools_[g].available_blocks() == 0)
      return 0;
  }
  return blocks * config_.block_tokens - r.begin();
}

// There is one that is free or evictable.
BlockId Scheduler::take_block(size_t group) {
  if (pools_[group].free_blocks() == 0) CHECK(index_.evict_one(int(group)), group);
  return pools_[group].take();
}

void Scheduler::grow(Request& r, int end) {
  const int blocks = int(ceil_div(end, config_.block_tokens));
  for (size_t g = 0; g < pools_.size(); g++) {
    if (config_.groups[g].is_state())
      grow_state(r, g, end);
    else
      while (r.tables[g].size() < blocks) r.tables[g].append(take_block(g));
  }
}

// Blocks of the group that r still needs until all its known tokens are computed.
int Scheduler::blocks_to_take(const Request& r, size_t group) const {
  if (config_.groups[group].is_state()) return owns_state(r, group) ? 0 : 1;
  const int64_t all = ceil_div(r.known(), config_.block_tokens) - r.tables[group].size();
  const bool keeps_all = config_.groups[group].window_tokens == 0;
  const int row = std::max(config_.chunk_tokens, r.most_whole_tokens);
  const int64_t most = keeps_all ? INT_MAX : ceil_div(row, config_.block_tokens) + 1;
  return int(std::clamp<int64_t>(all, 0, most));
}

// Blocks of the group that r must hold at some time to compute its known tokens.
int64_t Scheduler::most_at_once(const Request& r, const CacheGroup& group) const {
  if (group.is_state()) return 1;
  const int block_tokens = config_.block_tokens;
  const int64_t lookback = group.lookback_blocks(block_tokens);
  int64_t most = std::min(ceil_div(int64_t(r.tokens.size()), block_tokens), lookback + 1);
  for (const MediaSpan& s : r.media)
    if (s.whole)
      most =
          std::max(most, ceil_div(s.first + s.count, block_tokens) - group.first_needed_block(s.first, block_tokens));
  return most;
}

// Why r could not even compute its known tokens alone, if so.
std::optional<std::string> Scheduler::never_fits(const Request& r) const {
  if (r.prompt_tokens >= config_.max_context)
    return "The prompt has " + std::to_string(r.prompt_tokens) + " tokens, but prompt and output together may have " +
           std::to_string(config_.max_context) + ". Shorten it, or start the server with a larger --context-length.";
  for (size_t g = 0; g < pools_.size(); g++) {
    const int64_t at_once = most_at_once(r, config_.groups[g]);
    if (at_once > pools_[g].size())
      return too_large(std::min(int64_t(r.tokens.size()), at_once * config_.block_tokens),
                       int64_t(pools_[g].size()) * config_.block_tokens);
  }
  return std::nullopt;
}

void Scheduler::give_up_one(std::vector<Event>* events) {
  Request& r = running_.empty() ? **waiting_.begin() : *running_.front();
  end(r, -1, -1, Finish::kError, too_large(r.limit_tokens, r.begin()), events);
  free_if_retired(r);
}

void Scheduler::check_idle() const {
  CHECK(inflight_rows_ == 0 && running_.empty() && waiting_.empty() && index_.pins() == 0, index_.pins());
  for (size_t g = 0; g < pools_.size(); g++)
    CHECK(pools_[g].used_blocks() == 0 && pools_[g].evictable_blocks() == index_.held_blocks(int(g)), g,
          pools_[g].used_blocks(), pools_[g].evictable_blocks(), index_.held_blocks(int(g)));
}

void Scheduler::check_conservation() const {
  index_.check();
  for (size_t g = 0; g < pools_.size(); g++) {
    const BlockPool& pool = pools_[g];
    std::vector<int> refs(size_t(pool.size()));
    for (const auto& [id, r] : requests_)
      for (const BlockId b : r->tables[g].ids())
        if (b != kHole) refs[size_t(b)]++;
    int held = 0, indexed = 0;
    for (BlockId b = 0; b < pool.size(); b++) {
      CHECK(refs[size_t(b)] == pool.refs(b), g, b, refs[size_t(b)], pool.refs(b));
      held += refs[size_t(b)] > 0 || pool.indexed(b);
      indexed += pool.indexed(b);
    }
    CHECK(pool.free_blocks() + held == pool.size(), g, pool.free_blocks(), held, pool.size());
    CHECK(indexed == index_.held_blocks(int(g)), g, indexed, index_.held_blocks(int(g)));
  }
}

}  // namespace xylem
