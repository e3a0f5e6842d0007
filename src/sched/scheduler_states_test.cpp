// Requests whose model keeps a recurrent state: one live block each, and snapshots at few boundaries.
#include "sched/test_driver.h"

namespace xylem {
namespace {

constexpr int kBlock = 4, kInterval = 16;

SchedulerConfig config(int state_blocks, int full_blocks = 1000) {
  SchedulerConfig c;
  c.groups = {CacheGroup{}, CacheGroup{.window_tokens = -1}};
  c.pool_blocks = {full_blocks, state_blocks};
  c.block_tokens = kBlock;
  c.chunk_tokens = c.pack_tokens = 1000;
  c.state_snapshot_interval = kInterval;
  return c;
}

// The first `shared` tokens as counting(n) has them, the others its own.
Tokens fork(int shared, int n, TokenId own) {
  Tokens t = counting(shared), rest = counting(n - shared, own);
  t.insert(t.end(), rest.begin(), rest.end());
  return t;
}

struct Driver : TestDriver {
  using TestDriver::TestDriver;

  void submit(RequestId id, Tokens prompt, int max_new = 100) {
    NewRequest r;
    r.id = id, r.prompt = std::move(prompt), r.max_new_tokens = max_new;
    s.submit(std::move(r));
  }
  // Until all have ended, with so many steps in flight; planned(p) after each plan that has rows.
  template <class Planned>
  void run(size_t depth, Planned planned) {
    std::vector<StepPlan> pipe;
    for (int i = 0; i < 10000 && !s.idle(); i++) {
      StepPlan p = plan();
      const bool empty = p.rows.empty();
      if (!empty) {
        planned(p);
        pipe.push_back(std::move(p));
      }
      if (pipe.size() == depth || (empty && !pipe.empty())) {
        commit(pipe.front());
        pipe.erase(pipe.begin());
      }
    }
    EXPECT_TRUE(s.idle());
  }
  const BlockTable& states(RequestId id) const { return s.request(id).tables[1]; }
  // Positions after which the request holds a state.
  std::vector<int> kept(RequestId id) const {
    std::vector<int> at;
    for (int i = 0; i < states(id).size() - 1; i++)
      if (states(id)[i] != kHole) at.push_back((i + 1) * kBlock);
    at.push_back(s.request(id).begin());
    return at;
  }
  // Where a request with these tokens would begin.
  int hit(Tokens prompt) {
    submit(999, std::move(prompt), 1);
    const StepPlan p = step();
    EXPECT_EQ(p.rows.back().id, 999u);
    return p.rows.back().begin;
  }
};

using Positions = std::vector<int>;

TEST(SchedulerStates, OneBlockIsOverwrittenInPlaceBetweenSnapshots) {
  for (size_t depth : {1, 2}) {
    Driver d(config(10));
    d.submit(1, counting(6), 40);
    BlockId live = kHole;
    d.run(depth, [&](const StepPlan& p) {
      const int begin = p.rows[0].begin, end = begin + p.rows[0].count;
      const BlockTable& t = d.states(1);
      EXPECT_EQ(t.size(), (end - 1) / kBlock + 1);
      const BlockId now = t[t.size() - 1];
      if (begin > 0) {
        EXPECT_EQ(now != live, begin % kInterval == 0) << begin;
        EXPECT_EQ(t.state_in(begin, end, kBlock), live) << begin;
      }
      live = now;
      EXPECT_LE(d.s.used_blocks(1), 3);
    });
    EXPECT_EQ(d.s.evictable_blocks(1), 3) << "depth " << depth;  // after 4 (the prompt), 16 and 32 tokens
  }
}

TEST(SchedulerStates, SnapshotsAreAtTheIntervalAndThePromptsLastBoundary) {
  Driver d(config(10));
  d.submit(1, counting(42), 1);
  const StepPlan p = d.plan();
  EXPECT_EQ(p.rows[0].count, 42);
  EXPECT_EQ(d.kept(1), (Positions{16, 32, 40, 42}));
  EXPECT_EQ(d.states(1).state_in(0, 42, kBlock), kHole);
  EXPECT_EQ(d.s.used_blocks(1), 4);
  d.commit(p);
  EXPECT_EQ(d.s.evictable_blocks(1), 3);
  EXPECT_EQ(d.hit(counting(42)), 40);
  EXPECT_EQ(d.hit(fork(39, 100, 5000)), 32);
  EXPECT_EQ(d.hit(fork(31, 60, 7000)), 16);
  EXPECT_EQ(d.hit(fork(15, 60, 8000)), 0);
}

TEST(SchedulerStates, ChunksOfThePromptEndAtBoundariesAndLeaveSnapshots) {
  SchedulerConfig c = config(20);
  c.chunk_tokens = 11;
  Driver d(c);
  d.submit(1, counting(30), 2);
  for (int begin : {0, 8, 16, 24}) {
    const StepPlan p = d.step();
    EXPECT_EQ(p.rows[0].begin, begin);
    EXPECT_EQ(p.rows[0].count, begin == 24 ? 6 : 8);
  }
  d.finish_all();
  EXPECT_EQ(d.s.evictable_blocks(1), 4);  // 8, 16, 24, 28
  EXPECT_EQ(d.hit(fork(11, 30, 5000)), 8);

  c.chunk_tokens = 3;  // less than a block: rows end where they must
  Driver small(c);
  small.submit(1, counting(10), 1);
  for (int begin : {0, 3, 4, 7}) EXPECT_EQ(small.step().rows[0].begin, begin);
}

TEST(SchedulerStates, WithoutThePrefixCacheThereAreNoSnapshots) {
  SchedulerConfig c = config(1);
  c.chunk_tokens = 10;
  c.prefix_cache = false;
  Driver d(c);
  d.submit(1, counting(42), 30);
  EXPECT_EQ(d.step().rows[0].count, 10);
  const BlockId live = d.states(1)[2];
  d.run(1, [&](const StepPlan&) {
    EXPECT_EQ(d.kept(1).size(), 1u);
    EXPECT_EQ(d.states(1)[d.states(1).size() - 1], live);
  });
  EXPECT_EQ(d.tokens_of(1), 30);
}

TEST(SchedulerStates, ALiveStateAtABoundaryIsNotIndexed) {
  Driver d(config(10));
  d.submit(1, counting(6), 3);  // ends with 8 tokens computed: a boundary, no snapshot
  d.finish_all();
  EXPECT_EQ(d.s.evictable_blocks(1), 1);
  EXPECT_EQ(d.s.evictable_blocks(0), 2);
  EXPECT_EQ(d.s.pool(1).free_blocks(), 9);
}

TEST(SchedulerStates, OneBlockIsEnough) {
  for (size_t depth : {1, 2}) {
    Driver d(config(1));
    d.submit(1, counting(42), 50);
    d.submit(2, counting(42), 50);
    d.submit(3, fork(20, 42, 900), 50);
    d.run(depth, [](const StepPlan&) {});
    for (RequestId id : {1, 2, 3}) EXPECT_EQ(d.tokens_of(id), 50);
    EXPECT_EQ(d.s.totals().preemptions, 0u);
    EXPECT_EQ(d.s.totals().failed, 0u);
  }
}

TEST(SchedulerStates, AHitIsTakenOverWhenThereIsNoOtherBlock) {
  Driver d(config(2));
  d.submit(1, counting(42), 1);
  d.finish_all();
  EXPECT_EQ(d.s.evictable_blocks(1), 1);  // the only spare block got the likeliest state
  d.submit(2, counting(50, 900), 100);
  d.step();
  EXPECT_EQ(d.s.evictable_blocks(1), 1);  // of the second prompt: the first one's made room
  d.submit(3, counting(50, 900), 100);
  const StepPlan p = d.plan();
  ASSERT_NE(row_of(p, 3), nullptr);
  EXPECT_EQ(row_of(p, 3)->begin, 48);
  EXPECT_EQ(d.kept(3), (Positions{50}));
  EXPECT_EQ(d.states(3).state_in(48, 50, kBlock), d.states(3)[12]);
  d.commit(p);
  d.finish_all();
  EXPECT_EQ(d.s.totals().preemptions, 0u);
}

TEST(SchedulerStates, SnapshotsNeverTakeTheBlockThatARunningRequestIsAboutToNeed) {
  Driver d(config(4));
  d.submit(1, counting(13), 100);
  while (!d.s.running() || d.s.request(1).begin() < 15) d.step();
  d.submit(2, counting(42, 900), 100);
  const StepPlan first = d.plan();  // the first request reaches its snapshot at 16: it needs a block next
  EXPECT_EQ(d.s.request(1).begin(), 16);
  EXPECT_EQ(d.kept(2), (Positions{40, 42}));
  const BlockId snapshot = d.states(1)[3];
  const StepPlan second = d.plan();
  EXPECT_NE(d.states(1)[4], snapshot);
  EXPECT_EQ(d.states(1)[3], snapshot);
  d.commit(first);
  d.commit(second);
  EXPECT_TRUE(d.s.pool(1).indexed(snapshot));
}

TEST(SchedulerStates, AllRunThatHaveABlock) {
  SchedulerConfig c = config(3);
  Driver d(c);
  for (RequestId id : {1, 2, 3, 4}) d.submit(id, counting(18, TokenId(id) * 1000), 60);
  d.step();
  EXPECT_EQ(d.s.running(), 3);
  d.finish_all();
  for (RequestId id : {1, 2, 3, 4}) EXPECT_EQ(d.tokens_of(id), 60);
  EXPECT_EQ(d.s.totals().preemptions, 0u);
}

TEST(SchedulerStates, APreemptedRequestResumesFromASnapshot) {
  Driver d(config(20, 16));
  d.submit(1, counting(20, 1000), 14);  // ends soon after it has pushed out the other one
  d.submit(2, counting(20, 5000), 40);
  d.step();
  while (d.s.totals().preemptions == 0) ASSERT_FALSE(d.step().rows.empty());
  EXPECT_EQ(d.s.waiting(), 1);
  const int known = d.s.request(2).known();
  EXPECT_EQ(d.s.request(2).tables[1].size(), 0);
  StepPlan p = d.plan();
  while (!row_of(p, 2)) d.commit(p), p = d.plan();
  EXPECT_EQ(row_of(p, 2)->begin % kBlock, 0);
  EXPECT_GE(row_of(p, 2)->begin, 16);
  EXPECT_EQ(row_of(p, 2)->begin + row_of(p, 2)->count, known);
  d.commit(p);
  d.finish_all();
  EXPECT_EQ(d.tokens_of(1), 14);
  EXPECT_EQ(d.tokens_of(2), 40);
}

TEST(SchedulerStates, EightIdenticalPromptsComputeThePrefixOnce) {
  for (size_t depth : {1, 2}) {
    SchedulerConfig c = config(30);
    c.chunk_tokens = 128;
    Driver d(c);
    for (RequestId id = 1; id <= 8; id++) d.submit(id, counting(487), 4);
    d.run(depth, [](const StepPlan&) {});
    EXPECT_EQ(d.s.totals().cached_prompt_tokens, 7u * 484) << "depth " << depth;
  }
}

TEST(SchedulerStates, WaitsOnlyForSnapshotsThatWillBe) {
  Driver d(config(30));
  d.submit(1, counting(36), 50);
  d.submit(2, fork(15, 30, 900), 50);   // no snapshot within what it shares
  d.submit(3, fork(20, 30, 3000), 50);  // one after 16
  d.submit(4, counting(33), 50);        // and one after 32
  StepPlan p = d.step();
  EXPECT_NE(row_of(p, 1), nullptr);
  EXPECT_NE(row_of(p, 2), nullptr);
  EXPECT_EQ(p.rows.size(), 2u);
  p = d.step();
  ASSERT_NE(row_of(p, 3), nullptr);
  EXPECT_EQ(row_of(p, 3)->begin, 16);
  ASSERT_NE(row_of(p, 4), nullptr);
  EXPECT_EQ(row_of(p, 4)->begin, 32);
}

TEST(SchedulerStates, SnapshotsOfAFailedRequestAreForgotten) {
  Driver d(config(10));
  d.submit(1, counting(42), 3);
  d.next[1] = -1;
  d.step();
  EXPECT_TRUE(d.s.idle());
  EXPECT_EQ(d.s.pool(1).free_blocks(), 10);
  EXPECT_EQ(d.hit(counting(42)), 0);
}

TEST(SchedulerStates, ACancelledChunkKeepsWhatItHadComputed) {
  SchedulerConfig c = config(10);
  c.chunk_tokens = 12;
  Driver d(c);
  d.submit(1, counting(42), 3);
  d.step();
  const StepPlan p = d.plan();
  d.s.cancel(1, &d.events);
  EXPECT_GT(d.s.used_blocks(1), 0);
  d.commit(p);
  EXPECT_TRUE(d.s.idle());
  EXPECT_EQ(d.s.used_blocks(1), 0);
  EXPECT_EQ(d.hit(counting(42)), 24);
}

TEST(SchedulerStates, EndsOfPromptsOutliveOtherSnapshots) {
  SchedulerConfig c = config(8);
  c.chunk_tokens = 32;
  Driver d(c);
  d.submit(1, counting(18, 1000), 20);
  d.finish_all();
  d.submit(2, counting(200, 5000), 1);  // 12 snapshots by the interval, its end
  d.finish_all();
  EXPECT_EQ(d.hit(counting(18, 1000)), 16);
  EXPECT_EQ(d.hit(counting(200, 5000)), 196);
}

TEST(SchedulerStates, FlushForgetsSnapshots) {
  Driver d(config(10));
  d.submit(1, counting(42), 3);
  d.finish_all();
  EXPECT_EQ(d.s.evictable_blocks(1), 3);
  EXPECT_TRUE(d.s.flush());
  EXPECT_EQ(d.s.pool(1).free_blocks(), 10);
  EXPECT_EQ(d.hit(counting(42)), 0);
}

}  // namespace
}  // namespace xylem
