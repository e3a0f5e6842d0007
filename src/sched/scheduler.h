// Decides what runs next. Host only, one thread, deterministic: no device, no model, no text, no clock.
#pragma once
#include <climits>
#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/token.h"
#include "cache/block_pool.h"
#include "cache/block_table.h"
#include "cache/layout.h"
#include "cache/prefix_index.h"
#include "sched/policy.h"
#include "sched/request.h"

namespace xylem {

struct SchedulerConfig {
  std::vector<CacheGroup> groups;
  std::vector<int> pool_blocks;  // per group
  int block_tokens = 16;
  int chunk_tokens = 2048;   // prefill tokens of one step, at most
  int max_whole_tokens = 0;  // of a MediaSpan that is computed whole: a step may have as many prefill tokens, if that is more
  int pack_tokens = 512;     // prompts after the first of a step get tokens only up to this many in all
  int max_running = 64;      // requests that hold a slot, and so rows of a step
  int max_logit_rows = 512;  // prompt positions whose logits one step gives, at most
  // Tokens of prompt and output together. No larger than what the pools hold, and long requests end by kLength, not
  // kError.
  int max_context = INT_MAX;
  Policy policy = Policy::kFcfs;
  bool prefix_cache = true;
  int state_snapshot_interval = 256;  // tokens, a multiple of block_tokens
};

// A request between submit() and its last event. Progress is arithmetic:
// tokens [0, computed) are in the cache, [computed, computed + inflight) are submitted, and
// known() = tokens on the host + tokens that submitted steps will sample, whose ids are still on the device.
struct Request {
  RequestId id = 0;
  Rank rank;
  int priority = 0;
  uint64_t cache_key = 0;
  int prompt_tokens = 0;
  int min_new_tokens = 0;
  int limit_tokens = 0;           // ends by kLength with this many tokens
  std::vector<TokenId> stop_ids;  // sorted
  std::vector<TokenId> tokens;    // prompt and output
  std::vector<MediaSpan> media;   // of the prompt
  int most_whole_tokens = 0;      // of its whole spans
  int last_boundary = 0;          // the last one within the prompt from which it can be resumed

  int computed = 0;
  int inflight = 0;                // tokens of submitted rows
  int inflight_new = 0;            // submitted rows that sample
  int logits_next = -1;            // prompt logits are owed from this position on; -1: none
  int cached_tokens = 0;           // of the first admission
  int slot = -1;                   // >= 0 while it runs
  std::vector<BlockTable> tables;  // per group

  bool admitted = false;  // has run, perhaps before a preemption
  bool retiring = false;  // ended; freed when nothing in flight refers to it
  bool publish = true;    // its blocks may enter the index
  PrefixPath path;
  NodeId awaited = kNoNode;   // waits until a running request has computed this prefix; pinned
  uint64_t held_in_plan = 0;  // gets no row in the plan of this number

  int begin() const { return computed + inflight; }
  int known() const { return int(tokens.size()) + inflight_new; }
  int remaining() const { return known() - begin(); }
  bool decoding() const { return begin() >= prompt_tokens && remaining() == 1; }
  bool wants_row() const { return !retiring && known() < limit_tokens; }
  Prefix prefix(size_t tokens_of_it) const { return {cache_key, {tokens.data(), tokens_of_it}, media}; }
};

struct SchedulerTotals {  // since the start
  uint64_t steps = 0, submitted = 0, finished = 0, aborted = 0, failed = 0, preemptions = 0;
  uint64_t prompt_tokens = 0, cached_prompt_tokens = 0;  // of first admissions
  uint64_t computed_tokens = 0, generated_tokens = 0;
};

// plan() and commit() in the order of submission; plan(k + 1) may come before commit(k), but no further ahead. The
// steps run on the device in the order planned: a block freed by commit(k) may still be read by step k + 1, never by
// later ones. plan() uses no result of a step that is not committed, and gives the same tokens either way.
//
// Order of a step: running decodes, running prefills, then waiting requests; each by rank. Decodes are never held back
// by prefills. When blocks are short, those that only the index keeps go first; then the lowest-ranked running request
// that nothing in flight refers to is preempted: it waits again with its tokens known and recomputes them, as far as
// the index has not kept them. A request is given up (kError) only when it cannot go on with the whole cache to itself:
// at once if its known tokens exceed a pool, else when its output has grown to that.
//
// A waiting request whose prefix a running one is about to compute waits for that; those behind it may go first.
// A waiting request starts only when the blocks of its known tokens fit beside what the running ones are known to need.
//
// No row and no prefix hit ends strictly inside a whole span: a row that would ends before it, and a row that begins
// with a span has all of it. If that is more than the step's prefills may still have, the span waits until it is the
// first of them, and then has a row of its own, which may exceed chunk_tokens. It waits likewise if its last token
// owes logits, the only one that can, and the step gives no more of them. A span whose blocks cannot all be had is
// treated like a row that gets no block.
//
// In state groups a request needs one block, its live state: the last entry of its table. It is overwritten in place
// from step to step, unless it is a snapshot: then the next row reads it and writes to a block of its own. Snapshots,
// and they alone, enter the index. They are made where the prompt's last boundary is, every state_snapshot_interval
// tokens, and where a chunk of the prompt ends, which therefore is at a boundary if it can be; never inside a whole
// span. They are best effort: those inside a row take blocks that no running request is about to need, when all rows
// are chosen; and a request that finds no block to go on with overwrites the snapshot that it stands on, unless others
// use that.
class Scheduler {
 public:
  explicit Scheduler(SchedulerConfig config);

  // The prompt is not empty and the id is new. Never fails: what cannot run ends with kError in a later plan().
  void submit(NewRequest request);
  // How many tokens of the prompt the request would take from the prefix cache if it were submitted and started now. The
  // request is as for submit(). Changes nothing, and keeps nothing: until the request does start, blocks may be evicted
  // or added.
  int cached_tokens(const NewRequest& request);
  // The request ends with kAbort now; its blocks are free once no submitted step refers to it. Unknown ids are ignored.
  void cancel(RequestId id, std::vector<Event>* events);
  // Events are of requests that cannot go on. An empty plan while nothing is in flight has ended one: call again.
  StepPlan plan(std::vector<Event>* events);
  // sampled: one token for each row with sample, in the order of the plan; < 0 if the row's logits were not finite.
  void commit(const StepPlan& plan, std::span<const TokenId> sampled, std::vector<Event>* events);
  // Instead of commit, when the step could not be computed: all its requests end with kError, and nothing that they computed is
  // kept. error: a sentence for the client.
  void fail(const StepPlan& plan, const std::string& error, std::vector<Event>* events);
  // Ends every request, running or waiting, with kError. Nothing is in flight.
  void fail_all(const std::string& error, std::vector<Event>* events);

  bool idle() const { return requests_.empty(); }
  // Of a request in a plan not yet committed, or not yet ended.
  const Request& request(RequestId id) const;
  // Forgets the whole cache. False, and nothing done, when a request runs or waits.
  bool flush();

  int running() const { return int(running_.size()); }
  int waiting() const { return int(waiting_.size()); }
  int used_blocks(int group) const { return pools_[size_t(group)].used_blocks(); }
  int evictable_blocks(int group) const { return pools_[size_t(group)].evictable_blocks(); }
  const BlockPool& pool(int group) const { return pools_[size_t(group)]; }
  const SchedulerTotals& totals() const { return totals_; }
  const SchedulerConfig& config() const { return config_; }

  // CHECKs that tables and index hold exactly the references the pools count, and free + held == total. Walks
  // everything.
  void check_conservation() const;

 private:
  struct ByRank {
    bool operator()(const Request* a, const Request* b) const { return a->rank < b->rank; }
  };
  struct Step {
    StepPlan plan;
    int prefill_tokens = 0;
    int logit_rows = 0;
  };
  enum class Start { kStarted, kLater, kNoRoom };

  // scheduler_plan.cpp: choosing rows
  void plan_decodes(Step& step);
  void plan_prefills(Step& step);
  void plan_waiting(Step& step, std::vector<Event>* events);
  void displace_for_urgent();
  const std::vector<Request*>& candidates();
  Start try_start(Request& r, Step& step);
  bool awaits_prefix(Request& r);
  PrefixHit find_prefix(Prefix known, int logits_from);
  PrefixHit find_prefix(const Request& r) { return find_prefix(r.prefix(r.tokens.size()), r.logits_next); }
  bool room_to_start(const Request& r) const;
  bool lacks_only_room(Request& r);
  int prefill_allowance(const Step& step) const;
  int row_tokens(const Request& r, int max_tokens, const Step& step) const;
  bool add_row(Request& r, int max_tokens, Step& step);
  bool add_row_or_preempt(Request& r, int max_tokens, Step& step);
  int cut_for_logits(const Request& r, int count, const Step& step) const;
  int cut_for_media(const Request& r, int count) const;
  int first_wanted_logit(const Request& r) const;
  bool preempt_junior_of(const Request& r);
  void preempt(Request& r);
  // scheduler_states.cpp: states
  int end_at_boundary(const Request& r, int count) const;
  bool keeps_state(const Request& r, int boundary) const;
  bool owns_state(const Request& r, size_t group) const;
  void grow_state(Request& r, size_t group, int end);
  void take_snapshots(const Step& step);
  bool spare_state(size_t group) const;
  void promise_kept_states(Request& r);
  // scheduler.cpp: blocks and life
  void take_media(Request& r, std::vector<MediaSpan> media);
  int64_t fitting_tokens(const Request& r) const;
  BlockId take_block(size_t group);
  void grow(Request& r, int end);
  int blocks_to_take(const Request& r, size_t group) const;
  int64_t most_at_once(const Request& r, const CacheGroup& group) const;
  std::optional<std::string> never_fits(const Request& r) const;
  void give_up_one(std::vector<Event>* events);
  Request& take_row(const Row& row);
  void take_token(Request& r, TokenId token, int row, std::vector<Event>* events);
  void distrust(Request& r);
  void keep_computed(Request& r);
  void end(Request& r, int row, TokenId token, Finish finish, std::string error, std::vector<Event>* events);
  void release(Request& r);
  void free_if_retired(Request& r);
  void check_idle() const;

  SchedulerConfig config_;
  std::vector<BlockPool> pools_;  // per group; never resized: tables and index point to it
  PrefixIndex index_;
  const bool snapshots_;                                              // there are state groups, and prefixes are kept
  std::unordered_map<RequestId, std::unique_ptr<Request>> requests_;  // never iterated where order matters
  std::vector<Request*> running_;                                     // by rank
  std::vector<Request*> slots_;                                       // [max_running]
  std::set<Request*, ByRank> waiting_;
  std::vector<Request*> candidates_;
  uint64_t arrivals_ = 0, plan_number_ = 0;
  int inflight_rows_ = 0;
  SchedulerTotals totals_;
};

}  // namespace xylem
