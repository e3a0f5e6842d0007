#include "sched/scheduler.h"

#include "sched/test_driver.h"

namespace xylem {
namespace {

using Driver = TestDriver;

constexpr TokenId kEos = 9;

SchedulerConfig config(int blocks = 1000, int block_tokens = 4) {
  SchedulerConfig c;
  c.groups = {CacheGroup{}};
  c.pool_blocks = {blocks};
  c.block_tokens = block_tokens;
  c.chunk_tokens = 1000;
  c.pack_tokens = 1000;
  return c;
}

NewRequest request(RequestId id, Tokens prompt, int max_new = 100) {
  NewRequest r;
  r.id = id;
  r.prompt = std::move(prompt);
  r.max_new_tokens = max_new;
  return r;
}

std::vector<RequestId> ids(const StepPlan& p) {
  std::vector<RequestId> out;
  for (const Row& row : p.rows) out.push_back(row.id);
  return out;
}

using Ids = std::vector<RequestId>;

TEST(Scheduler, RunsARequestToItsLimit) {
  Driver d(config());
  d.s.submit(request(1, counting(6), 3));
  StepPlan p = d.step();
  ASSERT_EQ(p.rows.size(), 1u);
  EXPECT_EQ(p.rows[0].count, 6);
  EXPECT_TRUE(p.rows[0].sample);
  EXPECT_EQ(p.rows[0].logits_from, 5);
  p = d.step();
  EXPECT_EQ(p.rows[0].begin, 6);
  EXPECT_EQ(p.rows[0].count, 1);
  d.step();
  EXPECT_TRUE(d.s.idle());
  EXPECT_EQ(d.tokens_of(1), 3);
  EXPECT_EQ(d.end_of(1)->finish, Finish::kLength);
  EXPECT_EQ(d.end_of(1)->row, 0);
  EXPECT_TRUE(d.step().rows.empty());
}

TEST(Scheduler, CutsAPromptIntoChunksWhileDecodesRideAlong) {
  SchedulerConfig c = config();
  c.chunk_tokens = 10;
  Driver d(c);
  d.s.submit(request(1, counting(5)));
  d.step();
  d.s.submit(request(2, counting(24, 500)));
  for (int begin : {0, 10, 20}) {
    const StepPlan p = d.step();
    EXPECT_EQ(ids(p), (Ids{1, 2}));
    EXPECT_EQ(p.rows[0].count, 1);
    EXPECT_EQ(p.rows[1].begin, begin);
    EXPECT_EQ(p.rows[1].count, begin == 20 ? 4 : 10);
    EXPECT_EQ(p.rows[1].sample, begin == 20);
    EXPECT_EQ(p.rows[1].logits_from, begin == 20 ? 23 : -1);
  }
  EXPECT_EQ(d.tokens_of(2), 1);
}

TEST(Scheduler, ChunksOfRunningPromptsComeBeforeNewOnes) {
  SchedulerConfig c = config();
  c.chunk_tokens = 10;
  Driver d(c);
  d.s.submit(request(1, counting(14)));
  d.s.submit(request(2, counting(14, 500)));
  EXPECT_EQ(ids(d.step()), (Ids{1}));
  const StepPlan p = d.step();
  EXPECT_EQ(ids(p), (Ids{1, 2}));
  EXPECT_EQ(p.rows[0].count, 4);
  EXPECT_EQ(p.rows[1].count, 6);
}

TEST(Scheduler, PackTokensKeepsTheFirstPromptOfABurstFromWaiting) {
  SchedulerConfig c = config();
  c.chunk_tokens = 100;
  c.pack_tokens = 20;
  Driver d(c);
  d.s.submit(request(1, counting(50)));
  d.s.submit(request(2, counting(12, 500)));
  d.s.submit(request(3, counting(12, 900)));
  EXPECT_EQ(ids(d.step()), (Ids{1}));  // more than pack_tokens already
  const StepPlan p = d.step();
  EXPECT_EQ(ids(p), (Ids{1, 2, 3}));
  EXPECT_EQ(row_of(p, 3)->count, 8);  // up to pack_tokens
}

TEST(Scheduler, EightIdenticalPromptsComputeThePrefixOnce) {
  for (int depth : {1, 2}) {
    SchedulerConfig c = config(1000, 16);
    c.chunk_tokens = 128;
    Driver d(c);
    for (RequestId id = 1; id <= 8; id++) d.s.submit(request(id, counting(488), 4));
    std::vector<StepPlan> pipe;
    int computed = 0;
    while (!d.s.idle()) {
      StepPlan p = d.plan();
      const bool empty = p.rows.empty();
      for (const Row& row : p.rows)
        if (row.begin < 488) computed += row.count;
      if (!empty) pipe.push_back(std::move(p));
      if (int(pipe.size()) == depth || (empty && !pipe.empty())) {
        d.commit(pipe.front());
        pipe.erase(pipe.begin());
      }
    }
    EXPECT_EQ(computed, 488 + 7 * 8) << "depth " << depth;
    EXPECT_EQ(d.s.totals().cached_prompt_tokens, 7u * 480);
    EXPECT_EQ(d.end_of(8)->cached_tokens, 480);
  }
}

TEST(Scheduler, OthersPassARequestThatWaitsForItsPrefix) {
  SchedulerConfig c = config();
  c.chunk_tokens = 40;
  Driver d(c);
  d.s.submit(request(1, counting(32)));
  d.s.submit(request(2, counting(30)));
  d.s.submit(request(3, counting(8, 900)));
  EXPECT_EQ(ids(d.step()), (Ids{1, 3}));
  const StepPlan p = d.step();
  EXPECT_EQ(ids(p), (Ids{1, 3, 2}));
  EXPECT_EQ(row_of(p, 2)->begin, 28);
}

TEST(Scheduler, AFollowerGoesOnWhenItsLeaderIsCancelled) {
  SchedulerConfig c = config();
  c.chunk_tokens = 8;
  Driver d(c);
  d.s.submit(request(1, counting(40)));
  d.s.submit(request(2, counting(40)));
  d.step();
  EXPECT_EQ(ids(d.step()), (Ids{1}));
  d.cancel(1);
  const StepPlan p = d.step();
  EXPECT_EQ(ids(p), (Ids{2}));
  EXPECT_EQ(p.rows[0].begin, 16);  // with what the leader had computed
  d.finish_all();
}

TEST(Scheduler, AFollowerGoesOnWhenItsLeaderFails) {
  SchedulerConfig c = config();
  Driver d(c);
  d.s.submit(request(1, counting(40)));
  d.s.submit(request(2, counting(40), 5));
  d.next[1] = -1;
  d.step();
  EXPECT_EQ(d.end_of(1)->finish, Finish::kError);
  const StepPlan p = d.step();
  EXPECT_EQ(ids(p), (Ids{2}));
  EXPECT_EQ(p.rows[0].begin, 0);  // nothing of a failed request is trusted
  d.finish_all();
  EXPECT_EQ(d.tokens_of(2), 5);
}

TEST(Scheduler, ReusesThePrefixButComputesAtLeastOneToken) {
  Driver d(config());
  d.s.submit(request(1, counting(16), 1));
  d.finish_all();
  d.s.submit(request(2, counting(16), 1));
  const StepPlan p = d.step();
  EXPECT_EQ(p.rows[0].begin, 12);
  EXPECT_EQ(d.end_of(2)->cached_tokens, 12);
  EXPECT_EQ(d.s.used_blocks(0), 0);
  EXPECT_EQ(d.s.evictable_blocks(0), 4);  // the fourth block was computed twice and is kept once
}

TEST(Scheduler, ContinuesAConversationFromItsOutput) {
  Driver d(config());
  d.s.submit(request(1, counting(10), 7));
  d.finish_all();
  Tokens next_turn = counting(10);
  next_turn.insert(next_turn.end(), 7, kToken);
  next_turn.push_back(1);
  d.s.submit(request(2, next_turn, 1));
  EXPECT_EQ(d.step().rows[0].begin, 16);
}

TEST(Scheduler, KeysAndADisabledCacheDoNotShare) {
  Driver d(config());
  d.s.submit(request(1, counting(16), 1));
  d.finish_all();
  NewRequest other = request(2, counting(16), 1);
  other.cache_key = 5;
  d.s.submit(other);
  EXPECT_EQ(d.step().rows[0].begin, 0);

  SchedulerConfig c = config();
  c.prefix_cache = false;
  Driver off(c);
  for (RequestId id : {1, 2}) {
    off.s.submit(request(id, counting(16), 1));
    EXPECT_EQ(off.step().rows[0].begin, 0);
    EXPECT_EQ(off.s.evictable_blocks(0), 0);
  }
}

TEST(Scheduler, WindowBlocksLeaveDuringChunkedPrefill) {
  SchedulerConfig c = config();
  c.groups = {CacheGroup{}, CacheGroup{.window_tokens = 6}};
  c.pool_blocks = {100, 6};
  c.chunk_tokens = 8;
  c.prefix_cache = false;
  Driver d(c);
  d.s.submit(request(1, counting(60), 20));
  while (d.tokens_of(1) == 0) {
    const StepPlan p = d.plan();
    ASSERT_FALSE(p.rows.empty());
    const BlockTable& window = d.s.request(1).tables[1];
    for (int b = 0; b < window.size(); b++)
      EXPECT_EQ(window[b] == kHole, (b + 1) * 4 <= p.rows[0].begin - 5) << b << " " << p.rows[0].begin;
    d.commit(p);
    EXPECT_LE(d.s.used_blocks(1), 3);
  }
  EXPECT_EQ(d.s.used_blocks(0), 15);
  d.finish_all();
}

TEST(Scheduler, WindowsInsideALongPromptDoNotDriveOutTheEndsOfOthers) {
  SchedulerConfig c = config();
  c.groups = {CacheGroup{}, CacheGroup{.window_tokens = 6}};
  c.pool_blocks = {100, 12};
  c.chunk_tokens = 8;
  Driver d(c);
  d.s.submit(request(1, counting(17, 100), 10));
  d.finish_all();
  d.s.submit(request(2, counting(150, 500), 1));
  d.finish_all();
  d.s.submit(
      request(3, counting(17, 100), 1));  // the same prompt again: its end is still there, though the first went on
  EXPECT_EQ(d.step().rows[0].begin, 16);
}

TEST(Scheduler, TakesASmallerChunkWhenBlocksAreShort) {
  SchedulerConfig c = config();
  c.groups = {CacheGroup{}, CacheGroup{.window_tokens = 6}};
  c.pool_blocks = {100, 5};
  Driver d(c);
  d.s.submit(request(1, counting(60), 2));
  EXPECT_EQ(d.step().rows[0].count, 20);  // the window's whole pool
  d.finish_all();
  EXPECT_EQ(d.tokens_of(1), 2);
}

TEST(Scheduler, PreemptsTheYoungestAndRecomputesWhatIsNotCached) {
  Driver d(config(12));
  d.s.submit(request(1, counting(16, 100), 20));
  d.s.submit(request(2, counting(16, 500), 20));
  d.step();
  while (d.s.totals().preemptions == 0) EXPECT_FALSE(d.step().rows.empty());
  EXPECT_EQ(d.s.running(), 1);
  EXPECT_EQ(d.s.waiting(), 1);
  const int known = d.s.request(2).known();
  EXPECT_GT(known, 16);
  StepPlan p;
  while (!row_of(p, 2)) p = d.step();
  EXPECT_EQ(d.end_of(1)->finish, Finish::kLength);
  EXPECT_EQ(row_of(p, 2)->begin + row_of(p, 2)->count, known);
  EXPECT_TRUE(row_of(p, 2)->sample);
  d.finish_all();
  EXPECT_EQ(d.tokens_of(1), 20);
  EXPECT_EQ(d.tokens_of(2), 20);
  EXPECT_EQ(d.end_of(2)->cached_tokens, 0);  // of the first admission
}

TEST(Scheduler, AtDepthTwoAnOlderRequestIsStalledNoLongerThanTheStepInFlight) {
  Driver d(config(3, 16));
  d.s.submit(request(1, counting(6, 100), 20));   // 10 tokens until it needs a second block
  d.s.submit(request(2, counting(11, 500), 30));  // 5 tokens: takes the last free block, and has room for long
  StepPlan flying;
  int missed = 0;
  while (!d.s.idle()) {
    const StepPlan p = d.plan();
    missed = row_of(p, 1) || d.end_of(1) || d.tokens_of(1) >= 18 ? 0 : missed + 1;
    EXPECT_LE(missed, 2);
    if (!flying.rows.empty()) d.commit(flying);
    flying = p;
  }
  EXPECT_GT(d.s.totals().preemptions, 0u);
  EXPECT_EQ(d.tokens_of(1), 20);
  EXPECT_EQ(d.tokens_of(2), 30);
}

TEST(Scheduler, ADecodeTakesBlocksOnlyTheIndexKeepsBeforeItPreempts) {
  Driver d(config(12));
  d.s.submit(request(1, counting(16, 100), 1));
  d.finish_all();
  d.s.submit(request(2, counting(16, 500), 24));
  d.s.submit(request(3, counting(4, 900), 4));
  d.finish_all();
  EXPECT_EQ(d.s.totals().preemptions, 0u);
  EXPECT_EQ(d.tokens_of(2), 24);
}

TEST(Scheduler, ARequestDoesNotStartWhereTheNextTokensOfOthersWouldPreemptIt) {
  for (int blocks : {10, 11}) {
    Driver d(config(blocks));
    d.s.submit(request(1, counting(16, 100), 20));  // 4 blocks, and at once a fifth and a sixth
    d.s.submit(request(2, counting(20, 500), 4));   // 5 blocks
    d.step();
    EXPECT_EQ(d.s.running(), blocks - 9);
    d.finish_all();
    EXPECT_EQ(d.tokens_of(2), 4);
  }
}

TEST(Scheduler, ARequestThatOutgrowsTheCacheAloneFailsWithAClearText) {
  Driver d(config(6));
  d.s.submit(request(1, counting(16), 100));
  d.finish_all();
  const Event* end = d.end_of(1);
  EXPECT_EQ(end->finish, Finish::kError);
  EXPECT_EQ(d.tokens_of(1), 9);  // 24 cached tokens, and one sampled after them
  EXPECT_NE(end->error.find("116 tokens"), std::string::npos) << end->error;
  EXPECT_NE(end->error.find("only 24 fit"), std::string::npos) << end->error;
  EXPECT_NE(end->error.find("--kv-memory"), std::string::npos) << end->error;
}

TEST(Scheduler, APromptLargerThanTheCacheFailsAtOnceAndHarmsNobody) {
  Driver d(config(6));
  d.s.submit(request(1, counting(8), 4));
  d.s.submit(request(2, counting(25), 1));
  d.s.submit(request(3, counting(8, 900), 4));
  d.step();
  ASSERT_NE(d.end_of(2), nullptr);
  EXPECT_NE(d.end_of(2)->error.find("25 tokens"), std::string::npos) << d.end_of(2)->error;
  EXPECT_NE(d.end_of(2)->error.find("only 24 fit"), std::string::npos);
  d.finish_all();
  EXPECT_EQ(d.tokens_of(1), 4);
  EXPECT_EQ(d.tokens_of(3), 4);
}

TEST(Scheduler, TheContextLimitEndsByLength) {
  SchedulerConfig c = config();
  c.max_context = 20;
  Driver d(c);
  d.s.submit(request(1, counting(16), 100));
  d.s.submit(request(2, counting(20, 500), 100));
  d.finish_all();
  EXPECT_EQ(d.end_of(1)->finish, Finish::kLength);
  EXPECT_EQ(d.tokens_of(1), 4);
  EXPECT_EQ(d.end_of(2)->finish, Finish::kError);
  EXPECT_NE(d.end_of(2)->error.find("--context-length"), std::string::npos);
}

TEST(Scheduler, StopIdsEndOnlyAfterMinNewTokens) {
  Driver d(config());
  NewRequest r = request(1, counting(4), 10);
  r.stop_ids = {kEos, 3};
  r.min_new_tokens = 2;
  d.next[1] = kEos;
  d.s.submit(r);
  d.finish_all();
  EXPECT_EQ(d.tokens_of(1), 3);
  EXPECT_EQ(d.end_of(1)->finish, Finish::kStop);
  EXPECT_EQ(d.end_of(1)->token, kEos);
}

TEST(Scheduler, DropsTheTokenSampledAfterTheEnd) {
  Driver d(config());
  NewRequest r = request(1, counting(4), 10);
  r.stop_ids = {kEos};
  d.s.submit(r);
  const StepPlan first = d.plan(), second = d.plan();
  ASSERT_EQ(second.rows.size(), 1u);
  EXPECT_EQ(second.rows[0].begin, 4);  // the token at position 4 is not known yet
  d.next[1] = kEos;
  d.commit(first);
  EXPECT_EQ(d.end_of(1)->finish, Finish::kStop);
  EXPECT_FALSE(d.s.idle());
  EXPECT_TRUE(d.plan().rows.empty());
  d.commit(second);
  EXPECT_TRUE(d.s.idle());
  EXPECT_EQ(d.tokens_of(1), 1);
}

TEST(Scheduler, CancelsWaitingRunningInFlightAndUnknownRequests) {
  SchedulerConfig c = config();
  c.max_running = 2;
  Driver d(c);
  for (RequestId id : {1, 2, 3}) d.s.submit(request(id, counting(8, TokenId(id) * 100)));
  d.step();
  d.cancel(99);
  EXPECT_TRUE(d.end_of(99) == nullptr);
  d.cancel(3);  // waiting
  EXPECT_EQ(d.s.waiting(), 0);
  d.cancel(1);  // running
  EXPECT_EQ(d.s.running(), 1);
  const StepPlan p = d.plan();
  d.cancel(2);  // in flight
  d.cancel(2);
  EXPECT_EQ(d.s.running(), 1);
  EXPECT_GT(d.s.used_blocks(0), 0);
  d.commit(p);
  EXPECT_TRUE(d.s.idle());
  EXPECT_EQ(d.s.used_blocks(0), 0);
  for (RequestId id : {1, 2, 3}) EXPECT_EQ(d.end_of(id)->finish, Finish::kAbort);
  EXPECT_EQ(std::count_if(d.events.begin(), d.events.end(), [](const Event& e) { return e.finish == Finish::kAbort; }),
            3);
  EXPECT_EQ(d.s.totals().aborted, 3u);
}

TEST(Scheduler, ANotFiniteRowEndsOnlyItsRequestAndLeavesNothingInTheCache) {
  Driver d(config());
  d.s.submit(request(1, counting(8, 100), 3));
  d.s.submit(request(2, counting(8, 500), 3));
  d.next[1] = -1;
  d.step();
  EXPECT_EQ(d.end_of(1)->finish, Finish::kError);
  EXPECT_EQ(d.end_of(1)->token, -1);
  EXPECT_FALSE(d.end_of(1)->error.empty());
  d.finish_all();
  EXPECT_EQ(d.tokens_of(2), 3);
  d.next.clear();
  d.s.submit(request(3, counting(8, 100), 1));
  EXPECT_EQ(d.step().rows[0].begin, 0);
}

TEST(Scheduler, ARowThatFailsAfterItsRequestWasCancelledLeavesNothingInTheCache) {
  Driver d(config());
  d.s.submit(request(1, counting(8, 100), 3));
  const StepPlan p = d.plan();
  d.cancel(1);
  d.next[1] = -1;
  d.commit(p);
  EXPECT_EQ(d.s.evictable_blocks(0), 0);
}

TEST(Scheduler, AFailedStepEndsItsRequestsAndLeavesNothingInTheCache) {
  SchedulerConfig c = config();
  c.chunk_tokens = 8;
  Driver d(c);
  d.s.submit(request(1, counting(8), 3));
  d.step();
  d.s.submit(request(2, counting(20, 500)));  // its first chunk samples nothing
  d.s.submit(request(3, counting(20, 500)));  // waits for that prefix
  const StepPlan failed = d.plan();
  ASSERT_TRUE(row_of(failed, 1) && row_of(failed, 2) && !row_of(failed, 3));
  const StepPlan beside = d.plan();  // in flight at the same time
  d.s.fail(failed, "A step failed.", &d.events);
  d.s.check_conservation();
  for (const RequestId id : {1, 2}) {
    ASSERT_TRUE(d.end_of(id)) << id;
    EXPECT_EQ(d.end_of(id)->finish, Finish::kError);
    EXPECT_EQ(d.end_of(id)->error, "A step failed.");
  }
  d.s.fail(beside, "A step failed.", &d.events);
  d.s.check_conservation();
  EXPECT_EQ(std::count_if(d.events.begin(), d.events.end(), [](const Event& e) { return e.finish == Finish::kError && e.id < 3; }), 2);
  d.finish_all();
  EXPECT_EQ(d.end_of(3)->finish, Finish::kLength);
  EXPECT_EQ(d.end_of(3)->cached_tokens, 0);
  d.s.submit(request(4, counting(8), 1));
  d.finish_all();
  EXPECT_EQ(d.end_of(4)->cached_tokens, 0);
}

TEST(Scheduler, FailAllEndsRunningAndWaitingRequests) {
  SchedulerConfig c = config();
  c.max_running = 2;
  Driver d(c);
  for (RequestId id = 1; id <= 4; id++) d.s.submit(request(id, counting(10, TokenId(100 * id))));
  d.step();
  d.s.fail_all("The device is lost.", &d.events);
  EXPECT_TRUE(d.s.idle());
  d.s.check_conservation();
  for (RequestId id = 1; id <= 4; id++) {
    ASSERT_TRUE(d.end_of(id)) << id;
    EXPECT_EQ(d.end_of(id)->error, "The device is lost.");
  }
}

TEST(Scheduler, PromptLogitsComeOnceInChunksOfAtMostSoManyRows) {
  SchedulerConfig c = config();
  c.max_logit_rows = 5;
  Driver d(c);
  d.s.submit(request(1, counting(32), 1));
  d.finish_all();
  NewRequest r = request(2, counting(32), 2);
  r.logits_from = 18;
  d.s.submit(r);
  StepPlan p = d.step();
  EXPECT_EQ(p.rows[0].begin, 16);  // the cached prefix reaches no further
  EXPECT_EQ(p.rows[0].logits_from, 18);
  EXPECT_EQ(p.rows[0].count, 7);
  p = d.step();
  EXPECT_EQ(p.rows[0].begin, 23);
  EXPECT_EQ(p.rows[0].logits_from, 23);
  EXPECT_EQ(p.rows[0].count, 5);
  p = d.step();
  EXPECT_EQ(p.rows[0].logits_from, 28);
  EXPECT_TRUE(p.rows[0].sample);
  p = d.step();
  EXPECT_EQ(p.rows[0].logits_from, 32);  // decoding: only to sample
}

TEST(Scheduler, PromptLogitsOfOneStepShareTheLimit) {
  SchedulerConfig c = config();
  c.max_logit_rows = 8;
  Driver d(c);
  for (RequestId id : {1, 2, 3}) {
    NewRequest r = request(id, counting(6, TokenId(id) * 100), 1);
    r.logits_from = 0;
    d.s.submit(r);
  }
  StepPlan p = d.step();
  EXPECT_EQ(row_of(p, 1)->count, 6);
  EXPECT_EQ(row_of(p, 2)->count, 2);
  EXPECT_EQ(row_of(p, 3), nullptr);
  d.finish_all();
  EXPECT_EQ(d.s.totals().computed_tokens, 18u);
}

TEST(Scheduler, SlotsAreDenseAndReused) {
  SchedulerConfig c = config();
  c.max_running = 2;
  Driver d(c);
  for (RequestId id : {1, 2, 3}) d.s.submit(request(id, counting(4, TokenId(id) * 100), id == 1 ? 1 : 9));
  StepPlan p = d.step();
  EXPECT_EQ(row_of(p, 1)->slot, 0);
  EXPECT_EQ(row_of(p, 2)->slot, 1);
  EXPECT_EQ(row_of(p, 3), nullptr);
  p = d.step();
  EXPECT_EQ(row_of(p, 2)->slot, 1);
  EXPECT_EQ(row_of(p, 3)->slot, 0);
}

NewRequest urgent(RequestId id, int priority, Tokens prompt, int max_new = 50) {
  NewRequest r = request(id, std::move(prompt), max_new);
  r.priority = priority;
  return r;
}

TEST(SchedulerPriority, LargerFirstThenByArrival) {
  SchedulerConfig c = config();
  c.policy = Policy::kPriority;
  Driver d(c);
  d.s.submit(urgent(1, 0, counting(4, 100)));
  d.s.submit(urgent(2, 5, counting(4, 200)));
  d.s.submit(urgent(3, 5, counting(4, 300)));
  EXPECT_EQ(ids(d.step()), (Ids{2, 3, 1}));
}

TEST(SchedulerPriority, DisplacesOnlyAcrossALargeGapAndOnlyWhenShort) {
  SchedulerConfig c = config();
  c.policy = Policy::kPriority;
  c.max_running = 2;
  Driver d(c);
  d.s.submit(urgent(1, 1, counting(4, 100)));
  d.s.submit(urgent(2, 0, counting(4, 200)));
  d.step();
  d.s.submit(urgent(3, 9, counting(4, 300)));
  EXPECT_EQ(ids(d.step()), (Ids{1, 2}));
  d.s.submit(urgent(4, 10, counting(4, 400)));
  EXPECT_EQ(ids(d.step()), (Ids{1, 4}));  // a gap of 9 to the first one
  EXPECT_EQ(d.s.totals().preemptions, 1u);
  d.finish_all();
  for (RequestId id : {1, 2, 3, 4}) EXPECT_EQ(d.tokens_of(id), 50);
}

TEST(SchedulerPriority, DisplacesForBlocksAndAtDepthTwo) {
  SchedulerConfig c = config(10);
  c.policy = Policy::kPriority;
  Driver d(c);
  d.s.submit(urgent(1, 0, counting(30, 100), 4));
  StepPlan flying = d.plan();
  d.s.submit(urgent(2, 20, counting(24, 500), 4));
  std::vector<RequestId> order;
  while (!d.s.idle()) {
    const StepPlan p = d.plan();
    if (!flying.rows.empty()) d.commit(flying);
    flying = p;
  }
  for (const Event& e : d.events)
    if (e.finish != Finish::kNone) order.push_back(e.id);
  EXPECT_EQ(order, (Ids{2, 1}));
  EXPECT_EQ(d.s.totals().preemptions, 1u);
}

TEST(SchedulerLpm, LongestCachedPrefixFirstUntilTooManyWait) {
  SchedulerConfig c = config();
  c.policy = Policy::kLpm;
  c.chunk_tokens = 12;
  for (int waiting : {3, int(kLpmMaxWaiting) + 1}) {
    Driver d(c);
    d.s.submit(request(1, counting(12), 1));
    d.finish_all();
    d.s.submit(request(2, counting(12, 500)));
    Tokens longer = counting(24);
    longer[12] = 1;
    d.s.submit(request(3, longer));
    for (int i = 2; i < waiting; i++) d.s.submit(request(RequestId(i + 2), counting(12, 600 + 100 * i)));
    EXPECT_EQ(ids(d.step()), waiting == 3 ? (Ids{3}) : (Ids{2}));
  }
}

TEST(Scheduler, FlushForgetsTheCacheWhenIdle) {
  Driver d(config());
  d.s.submit(request(1, counting(16), 2));
  EXPECT_FALSE(d.s.flush());
  d.finish_all();
  EXPECT_EQ(d.s.evictable_blocks(0), 4);
  EXPECT_TRUE(d.s.flush());
  EXPECT_EQ(d.s.evictable_blocks(0), 0);
  d.s.submit(request(2, counting(16), 2));
  EXPECT_EQ(d.step().rows[0].begin, 0);
}

TEST(Scheduler, CountsWhatItDid) {
  Driver d(config());
  d.s.submit(request(1, counting(16), 2));
  d.finish_all();
  d.s.submit(request(2, counting(16), 2));
  d.finish_all();
  const SchedulerTotals& t = d.s.totals();
  EXPECT_EQ(t.submitted, 2u);
  EXPECT_EQ(t.finished, 2u);
  EXPECT_EQ(t.prompt_tokens, 32u);
  EXPECT_EQ(t.cached_prompt_tokens, 12u);
  EXPECT_EQ(t.generated_tokens, 4u);
  EXPECT_EQ(t.computed_tokens, 16u + 1 + 4 + 1);
  EXPECT_EQ(t.steps, 4u);
}

TEST(Policy, HasNames) {
  EXPECT_EQ(policy_named("fcfs"), Policy::kFcfs);
  EXPECT_EQ(policy_named("lpm"), Policy::kLpm);
  EXPECT_EQ(policy_named("priority"), Policy::kPriority);
  EXPECT_EQ(policy_named("random"), std::nullopt);
}

}  // namespace
}  // namespace xylem
