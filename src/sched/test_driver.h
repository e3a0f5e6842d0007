// For tests: a scheduler, what samples its tokens, and the events so far.
#pragma once
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <vector>

#include "sched/scheduler.h"

namespace xylem {

using Tokens = std::vector<TokenId>;

inline constexpr TokenId kToken = 7;  // that every row samples unless told otherwise

inline Tokens counting(int n, TokenId first = 100) {
  Tokens t(static_cast<size_t>(n));
  std::iota(t.begin(), t.end(), first);
  return t;
}

inline const Row* row_of(const StepPlan& p, RequestId id) {
  for (const Row& row : p.rows)
    if (row.id == id) return &row;
  return nullptr;
}

struct TestDriver {
  Scheduler s;
  std::map<RequestId, TokenId> next;  // what a request's rows sample; -1: their logits are not finite
  std::vector<Event> events;

  explicit TestDriver(SchedulerConfig c) : s(std::move(c)) {}

  StepPlan plan() {
    StepPlan p = s.plan(&events);
    s.check_conservation();
    return p;
  }
  void commit(const StepPlan& p) {
    Tokens sampled;
    for (const Row& row : p.rows)
      if (row.sample) sampled.push_back(next.contains(row.id) ? next[row.id] : kToken);
    s.commit(p, sampled, &events);
    s.check_conservation();
  }
  StepPlan step() {
    StepPlan p = plan();
    if (!p.rows.empty()) commit(p);
    return p;
  }
  void finish_all() {
    for (int i = 0; i < 10000 && !s.idle(); i++) step();
    EXPECT_TRUE(s.idle());
  }
  void cancel(RequestId id) { s.cancel(id, &events); }
  const Event* end_of(RequestId id) const {
    for (const Event& e : events)
      if (e.id == id && e.finish != Finish::kNone) return &e;
    return nullptr;
  }
  int tokens_of(RequestId id) const {
    return int(std::count_if(events.begin(), events.end(), [&](const Event& e) { return e.id == id && e.token >= 0; }));
  }
};

}  // namespace xylem
