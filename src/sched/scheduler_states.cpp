// Live states and snapshots of requests, for groups that keep a state.
#include <algorithm>

#include "base/check.h"
#include "sched/scheduler.h"

namespace xylem {

// A row of so many tokens, or somewhat less, so that a chunk of the prompt leaves a snapshot. It ends at a whole span
// all the same, and never inside one.
int Scheduler::end_at_boundary(const Request& r, int count) const {
  const int end = r.begin() + count, boundary = end / config_.block_tokens * config_.block_tokens;
  if (!snapshots_ || end >= r.prompt_tokens || boundary <= r.begin()) return count;
  const bool span_follows = split_span(r.media, end + 1) != nullptr;
  return span_follows || split_span(r.media, boundary) ? count : boundary - r.begin();
}

// Whether there is to be a snapshot wherever rows end.
bool Scheduler::keeps_state(const Request& r, int boundary) const {
  if (split_span(r.media, boundary)) return false;
  return boundary == r.last_boundary || boundary % config_.state_snapshot_interval == 0;
}

// Whether the state that r continues from is its own, so that it needs no other block to go on.
bool Scheduler::owns_state(const Request& r, size_t group) const {
  const BlockTable& t = r.tables[group];
  return t.size() > 0 && pools_[group].refs(t[t.size() - 1]) == 1;
}

void Scheduler::grow_state(Request& r, size_t group, int end) {
  BlockTable& t = r.tables[group];
  const int last = t.size() - 1, to = (end - 1) / config_.block_tokens;
  if (!t.overwrites_last() && pools_[group].available_blocks() == 0) {  // a snapshot is given up
    CHECK(owns_state(r, group), r.id, group);
    if (pools_[group].indexed(t[last])) index_.forget(int(group), t[last]);
    index_.withdraw(r.path, last);
    t.set_overwrites_last(true);
  }
  if (t.overwrites_last())
    t.move_last(to);
  else
    t.put(to, take_block(group));
  const bool snapshot = snapshots_ && end % config_.block_tokens == 0 && (end < r.prompt_tokens || keeps_state(r, end));
  t.set_overwrites_last(!snapshot);
}

// Inside the rows; their ends have a block. The deepest come first: the end of the prompt is the likeliest to be asked
// for.
void Scheduler::take_snapshots(const Step& step) {
  const int block_tokens = config_.block_tokens;
  for (const Row& row : step.plan.rows) {
    Request& r = *slots_[size_t(row.slot)];
    for (int p = (row.begin + row.count - 1) / block_tokens * block_tokens; p > row.begin; p -= block_tokens) {
      if (!keeps_state(r, p)) continue;
      bool room = true;
      for (size_t g = 0; g < pools_.size(); g++) room &= !config_.groups[g].is_state() || spare_state(g);
      if (!room) index_.withdraw(r.path, p / block_tokens - 1);
      for (size_t g = 0; room && g < pools_.size(); g++)
        if (config_.groups[g].is_state()) r.tables[g].put(p / block_tokens - 1, take_block(g));
    }
  }
}

// Whether a block can be had that no running request needs for its next row, which may be planned before the blocks of
// this step's snapshots become evictable.
bool Scheduler::spare_state(size_t group) const {
  const auto needs = [&](const Request* r) { return r->wants_row() && !r->tables[group].overwrites_last(); };
  return pools_[group].available_blocks() > std::count_if(running_.begin(), running_.end(), needs);
}

// Nobody waits for a boundary at which no snapshot will be, or may be only by chance.
void Scheduler::promise_kept_states(Request& r) {
  for (int i = r.path.blocks; i < int(r.path.promised.size()); i++)
    if (!keeps_state(r, (i + 1) * config_.block_tokens)) index_.withdraw(r.path, i);
}

}  // namespace xylem
