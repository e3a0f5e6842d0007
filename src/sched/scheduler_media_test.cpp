// Prompts with media: what is shared, and spans that are computed whole.
#include "sched/test_driver.h"

namespace xylem {
namespace {

using Media = std::vector<MediaSpan>;

constexpr TokenId kImage = 3;
constexpr int kBlock = 4;

SchedulerConfig config(int blocks = 1000) {
  SchedulerConfig c;
  c.groups = {CacheGroup{}};
  c.pool_blocks = {blocks};
  c.block_tokens = kBlock;
  c.chunk_tokens = c.pack_tokens = 1000;
  c.max_whole_tokens = 40;
  return c;
}

MediaSpan whole(int first, int count, uint64_t content = 1) { return {first, count, content, true}; }

// Counts up, but for the tokens of media.
NewRequest request(RequestId id, int length, Media media, int max_new = 10) {
  NewRequest r;
  r.id = id;
  r.prompt.resize(size_t(length));
  std::iota(r.prompt.begin(), r.prompt.end(), 100);
  for (const MediaSpan& s : media) std::fill_n(r.prompt.begin() + s.first, s.count, kImage);
  r.media = std::move(media);
  r.max_new_tokens = max_new;
  return r;
}

// The same with its own tokens, so that nothing is shared.
NewRequest apart(RequestId id, int length, Media media, int max_new = 10) {
  NewRequest r = request(id, length, std::move(media), max_new);
  r.cache_key = id;
  return r;
}

using Parts = std::vector<std::pair<int, int>>;  // begin and end of rows

struct Driver : TestDriver {
  using TestDriver::TestDriver;

  // The rows of a request alone, up to its first token.
  Parts parts(NewRequest r) {
    Parts out;
    const int end = int(r.prompt.size());
    s.submit(std::move(r));
    while (out.empty() || out.back().second < end) {
      const StepPlan p = step();
      if (p.rows.empty()) break;
      out.emplace_back(p.rows[0].begin, p.rows[0].begin + p.rows[0].count);
    }
    finish_all();
    return out;
  }
  // Where the request begins.
  int hit(NewRequest r) { return parts(std::move(r)).front().first; }
};

TEST(SchedulerMedia, EqualImagesShareAndDifferentOnesDoNot) {
  for (const bool is_whole : {false, true}) {
    Driver d(config());
    const auto image = [&](uint64_t content) { return Media{{10, 12, content, is_whole}}; };
    d.s.submit(request(1, 30, image(1)));
    d.finish_all();
    EXPECT_EQ(d.hit(request(2, 30, image(1))), 28);
    EXPECT_EQ(d.hit(request(3, 30, image(2))), 8);
    EXPECT_EQ(d.hit(request(4, 30, image(2))), 28);
    EXPECT_EQ(d.hit(request(5, 30, image(1))), 28);
    NewRequest text = request(6, 30, image(1));
    text.media.clear();
    EXPECT_EQ(d.hit(std::move(text)), 8);
  }
}

TEST(SchedulerMedia, AConversationGoesOnBehindItsImage) {
  Driver d(config());
  d.s.submit(request(1, 22, {whole(6, 14)}, 7));
  d.finish_all();
  NewRequest next = request(2, 40, {whole(6, 14), whole(32, 6, 2)});
  std::fill_n(next.prompt.begin() + 22, 7, kToken);
  EXPECT_EQ(d.hit(std::move(next)), 28);
}

TEST(SchedulerMedia, AHitThatWouldEndInsideAWholeSpanEndsBeforeIt) {
  Driver d(config());
  const Media image = {whole(10, 12)};
  d.s.submit(request(1, 30, image));
  d.finish_all();
  EXPECT_EQ(d.hit(request(2, 22, image)), 8);  // its last token, which is computed, is in the span
  EXPECT_EQ(d.hit(request(3, 23, image)), 8);
  EXPECT_EQ(d.hit(request(4, 25, image)), 24);
  NewRequest logits = request(5, 30, image);
  logits.logits_from = 21;
  EXPECT_EQ(d.hit(logits), 8);
  logits.id = 8, logits.logits_from = 24;
  EXPECT_EQ(d.hit(std::move(logits)), 24);
  Media causal = {{10, 12, 1, false}};
  d.s.submit(request(6, 30, causal));
  d.finish_all();
  EXPECT_EQ(d.hit(request(7, 22, causal)), 20);
}

TEST(SchedulerMedia, CachedTokensAreThoseThatAStartWouldTake) {
  Driver d(config());
  const Media image = {whole(10, 12)};
  const NewRequest first = request(1, 30, image);
  EXPECT_EQ(d.s.cached_tokens(first), 0);
  d.s.submit(first);
  const StepPlan p = d.plan();
  EXPECT_EQ(d.s.cached_tokens(request(2, 30, image)), 0);  // promised only
  d.commit(p);
  EXPECT_EQ(d.s.cached_tokens(request(2, 30, image)), 28);  // while the first one runs
  d.finish_all();

  NewRequest at_span_end = request(3, 30, image), behind = request(4, 30, image), keyed = apart(5, 30, image);
  at_span_end.logits_from = 21, behind.logits_from = 25;
  const std::vector<std::pair<NewRequest, int>> cases = {{request(2, 30, image), 28},
                                                         {at_span_end, 8},
                                                         {behind, 24},
                                                         {keyed, 0},
                                                         {request(6, 22, image), 8},
                                                         {request(7, 29, image), 28},
                                                         {request(8, 28, image), 24},
                                                         {request(9, 30, {whole(10, 12, 2)}), 8},
                                                         {request(10, 1, {}), 0}};
  for (const auto& [r, cached] : cases) {
    EXPECT_EQ(d.s.cached_tokens(r), cached) << r.id;
    EXPECT_EQ(d.s.cached_tokens(r), cached) << r.id;
  }
  EXPECT_TRUE(d.s.idle());
  EXPECT_EQ(d.s.used_blocks(0), 0);
  d.s.check_conservation();
  for (const auto& [r, cached] : cases) EXPECT_EQ(d.hit(r), cached) << r.id;
  EXPECT_TRUE(d.s.flush());  // nothing is pinned
  EXPECT_EQ(d.s.cached_tokens(first), 0);

  SchedulerConfig c = config();
  c.prefix_cache = false;
  Driver without(c);
  without.s.submit(first);
  without.finish_all();
  EXPECT_EQ(without.s.cached_tokens(first), 0);
}

TEST(SchedulerMedia, AFollowerWaitsForNoPrefixThatEndsInsideAWholeSpan) {
  for (const int chunk : {8, 1000}) {
    SchedulerConfig c = config();
    c.chunk_tokens = chunk;
    Driver d(c);
    const Media image = {whole(10, 12)};
    d.s.submit(request(1, 30, image));
    d.s.submit(request(2, 22, image));  // may share the first 8 tokens
    d.s.submit(request(3, 30, image));  // and this one 28
    EXPECT_EQ(d.step().rows.size(), 1u);
    const StepPlan p = d.step();
    ASSERT_TRUE(row_of(p, 2));
    EXPECT_EQ(row_of(p, 2)->begin, 8);
    EXPECT_EQ(row_of(p, 3) != nullptr, chunk == 1000);
    d.finish_all();
    EXPECT_EQ(d.end_of(2)->cached_tokens, 8);
    EXPECT_EQ(d.end_of(3)->cached_tokens, 28);
  }
}

TEST(SchedulerMedia, ARowEndsBeforeAWholeSpanThatItWouldSplit) {
  SchedulerConfig c = config();
  c.chunk_tokens = 16;
  c.prefix_cache = false;
  Driver d(c);
  EXPECT_EQ(d.parts(request(1, 40, {whole(10, 12)})), (Parts{{0, 10}, {10, 26}, {26, 40}}));
  EXPECT_EQ(d.parts(request(2, 40, {{10, 12, 1, false}})), (Parts{{0, 16}, {16, 32}, {32, 40}}));
  EXPECT_EQ(d.parts(request(3, 40, {whole(4, 12)})), (Parts{{0, 16}, {16, 32}, {32, 40}}));
  EXPECT_EQ(d.parts(request(4, 40, {whole(0, 6), whole(6, 12)})), (Parts{{0, 6}, {6, 22}, {22, 38}, {38, 40}}));
  EXPECT_EQ(d.parts(request(5, 17, {whole(16, 1)})), (Parts{{0, 16}, {16, 17}}));
}

TEST(SchedulerMedia, AWholeSpanLargerThanAChunkHasARowOfItsOwn) {
  SchedulerConfig c = config();
  c.chunk_tokens = 16;
  c.prefix_cache = false;
  Driver d(c);
  EXPECT_EQ(d.parts(request(1, 60, {whole(10, 40)})), (Parts{{0, 10}, {10, 50}, {50, 60}}));
  EXPECT_EQ(d.parts(request(2, 60, {whole(0, 20), whole(20, 20), whole(40, 20)})),
            (Parts{{0, 20}, {20, 40}, {40, 60}}));
  c.chunk_tokens = 1;
  Driver small(c);
  EXPECT_EQ(small.parts(request(3, 24, {whole(1, 10), whole(12, 12)})), (Parts{{0, 1}, {1, 11}, {11, 12}, {12, 24}}));
}

TEST(SchedulerMedia, AWholeSpanBeyondTheAllowanceWaitsUntilItIsTheStepsFirstPrefill) {
  SchedulerConfig c = config();
  c.chunk_tokens = 16;
  Driver d(c);
  d.s.submit(apart(1, 4, {}));
  d.step();
  d.s.submit(apart(2, 20, {}));
  d.s.submit(apart(3, 30, {whole(0, 20)}));
  d.s.submit(apart(4, 4, {}));
  StepPlan p = d.step();
  EXPECT_TRUE(row_of(p, 1) && row_of(p, 2) && p.rows.size() == 2);
  p = d.step();  // 4 tokens of the second prompt: the span does not fit beside, and nobody passes it
  EXPECT_TRUE(row_of(p, 1) && row_of(p, 2) && p.rows.size() == 2);
  p = d.step();
  ASSERT_TRUE(row_of(p, 3) && row_of(p, 1));  // decodes ride along
  EXPECT_EQ(row_of(p, 3)->count, 20);
  EXPECT_FALSE(row_of(p, 4));
  p = d.step();
  EXPECT_EQ(row_of(p, 3)->count, 10);
  EXPECT_EQ(row_of(p, 4)->count, 4);
  d.finish_all();
}

TEST(SchedulerMedia, AWholeSpanWaitsWhenOthersHaveTheLogitsOfTheStep) {
  SchedulerConfig c = config();
  c.max_logit_rows = 10;
  for (const int before : {0, 4}) {
    Driver d(c);
    NewRequest a = apart(1, 30, {}), b = apart(2, before + 40, {whole(before, 30)});
    a.logits_from = 20, b.logits_from = before + 29;
    d.s.submit(a);
    d.s.submit(b);
    StepPlan p = d.step();
    EXPECT_EQ(row_of(p, 1)->count, 30);
    ASSERT_EQ(row_of(p, 2) != nullptr, before > 0);
    if (before > 0) {
      EXPECT_EQ(row_of(p, 2)->count, before);
    }
    p = d.step();
    ASSERT_TRUE(row_of(p, 2));
    EXPECT_EQ(row_of(p, 2)->begin, before);
    EXPECT_EQ(row_of(p, 2)->count, 39);
    EXPECT_EQ(row_of(p, 2)->logits_from, before + 29);
    p = d.step();
    EXPECT_EQ(row_of(p, 2)->count, 1);
    d.finish_all();
  }
}

TEST(SchedulerMedia, AWholeSpanThatWaitsForLogitsPreemptsNobody) {
  SchedulerConfig c = config();
  c.max_logit_rows = 10;
  c.chunk_tokens = 50;
  Driver d(c);
  NewRequest a = apart(1, 50, {}), b = apart(2, 40, {whole(4, 30)});
  a.logits_from = 0, b.logits_from = 33;
  d.s.submit(a);
  d.s.submit(b);
  d.s.submit(apart(3, 300, {}));
  for (int i = 0; i < 5; i++) {
    const StepPlan p = d.step();
    EXPECT_EQ(row_of(p, 1)->count, 10);
    EXPECT_EQ(row_of(p, 2) != nullptr, i == 0);
    ASSERT_TRUE(row_of(p, 3));  // may pass it meanwhile
    EXPECT_EQ(row_of(p, 3)->count, i == 0 ? 36 : 40);
  }
  const StepPlan p = d.step();
  ASSERT_TRUE(row_of(p, 2) && row_of(p, 3));
  EXPECT_EQ(row_of(p, 2)->count, 36);
  EXPECT_EQ(row_of(p, 3)->count, 14);
  d.finish_all();
  EXPECT_EQ(d.s.totals().preemptions, 0u);
}

TEST(SchedulerMedia, OneLogitRowIsEnoughForAWholeSpan) {
  SchedulerConfig c = config();
  c.max_logit_rows = 1;
  c.prefix_cache = false;
  for (const int chunk : {8, 1000}) {
    c.chunk_tokens = chunk;
    Driver d(c);
    NewRequest r = request(1, 24, {whole(6, 16)});
    r.logits_from = 21;
    if (chunk == 8)
      EXPECT_EQ(d.parts(r), (Parts{{0, 6}, {6, 22}, {22, 23}, {23, 24}}));
    else
      EXPECT_EQ(d.parts(r), (Parts{{0, 22}, {22, 23}, {23, 24}}));
  }
}

TEST(SchedulerMedia, PreemptsAJuniorForTheBlocksOfAWholeSpan) {
  SchedulerConfig c = config(13);
  c.chunk_tokens = 1;
  c.prefix_cache = false;
  c.policy = Policy::kPriority;
  for (const size_t depth : {1, 2}) {
    Driver d(c);
    NewRequest senior = apart(1, 36, {whole(16, 20)}, 4);
    senior.priority = 5;
    d.s.submit(apart(2, 8, {}, 40));  // there first, and grows while the senior computes what is before the span
    std::vector<StepPlan> pipe;
    Parts spans;
    for (int i = 0; i < 1000 && !d.s.idle(); i++) {
      if (i == 10) d.s.submit(senior);
      StepPlan p = d.plan();
      const bool empty = p.rows.empty();
      if (const Row* row = row_of(p, 1); row && row->count > 1) spans.emplace_back(row->begin, row->begin + row->count);
      if (!empty) pipe.push_back(std::move(p));
      if (pipe.size() == depth || (empty && !pipe.empty())) {
        d.commit(pipe.front());
        pipe.erase(pipe.begin());
      }
    }
    EXPECT_EQ(spans, (Parts{{16, 36}})) << depth;
    EXPECT_EQ(d.tokens_of(1), 4);
    EXPECT_EQ(d.tokens_of(2), 40);
    EXPECT_EQ(d.s.totals().preemptions, 1u);
  }
}

TEST(SchedulerMedia, AWholeSpanInAWindowNeedsItsBlocksAndItsLookbackAtOnce) {
  SchedulerConfig c = config();
  c.groups = {CacheGroup{}, CacheGroup{.window_tokens = 6}};
  c.chunk_tokens = 8;
  const Media image = {whole(22, 20)};  // blocks 5 to 10; its first token sees the window from token 17 on, block 4
  for (const int blocks : {6, 7}) {
    c.pool_blocks = {100, blocks};
    Driver d(c);
    d.s.submit(apart(1, 60, image));
    d.s.submit(apart(2, 60, {}));
    d.step();
    ASSERT_EQ(d.end_of(1) != nullptr, blocks == 6);
    if (blocks == 6) {
      const std::string& error = d.end_of(1)->error;
      EXPECT_NE(error.find("needs 28 tokens"), std::string::npos) << error;
      EXPECT_NE(error.find("only 24 fit"), std::string::npos) << error;
    }
    d.finish_all();
    EXPECT_EQ(d.tokens_of(1), blocks == 6 ? 0 : 10);
    EXPECT_EQ(d.tokens_of(2), 10);
    EXPECT_EQ(d.s.totals().failed, blocks == 6 ? 1u : 0u);
  }
}

TEST(SchedulerMedia, ARequestStartsOnlyBesideTheWholeSpansThatOthersNeedInWindows) {
  SchedulerConfig c = config();
  c.groups = {CacheGroup{}, CacheGroup{.window_tokens = 6}};
  c.pool_blocks = {100, 12};
  c.chunk_tokens = 8;
  Driver d(c);
  d.s.submit(apart(1, 60, {whole(12, 40)}, 2));
  d.s.submit(apart(2, 8, {}, 50));
  d.s.submit(apart(3, 8, {}, 50));
  d.finish_all();
  EXPECT_EQ(d.s.totals().preemptions, 0u);
  for (const RequestId id : {1, 2, 3}) EXPECT_EQ(d.end_of(id)->finish, Finish::kLength);
}

TEST(SchedulerMedia, TheEndBeforeALastImageOutlivesTheWindowsOfOtherPrompts) {
  SchedulerConfig c = config();
  c.groups = {CacheGroup{}, CacheGroup{.window_tokens = 6}};
  c.pool_blocks = {100, 18};
  c.chunk_tokens = 8;
  Driver d(c);
  const Media image = {whole(18, 20)};
  d.s.submit(apart(1, 38, image));
  d.finish_all();
  d.s.submit(apart(2, 150, {}, 1));
  d.finish_all();
  NewRequest again = apart(3, 38, image);
  again.cache_key = 1;
  EXPECT_EQ(d.hit(std::move(again)), 16);
}

SchedulerConfig with_states(int chunk) {
  SchedulerConfig c = config();
  c.groups = {CacheGroup{}, CacheGroup{.window_tokens = -1}};
  c.pool_blocks = {1000, 100};
  c.state_snapshot_interval = 8;
  c.chunk_tokens = chunk;
  return c;
}

TEST(SchedulerMedia, RowsEndAtAWholeSpanRatherThanAtABoundary) {
  Driver d(with_states(11));
  EXPECT_EQ(d.parts(request(1, 50, {whole(10, 20), whole(38, 5)})),
            (Parts{{0, 10}, {10, 30}, {30, 38}, {38, 48}, {48, 50}}));
  Driver inside(with_states(12));  // the boundary before the chunk's end is in the span
  EXPECT_EQ(inside.parts(request(1, 30, {whole(3, 8)})), (Parts{{0, 12}, {12, 24}, {24, 30}}));
  Driver past(with_states(11));
  EXPECT_EQ(past.parts(request(1, 30, {whole(3, 7)})), (Parts{{0, 11}, {11, 20}, {20, 30}}));
}

TEST(SchedulerMedia, NoSnapshotIsMadeInsideAWholeSpan) {
  Driver d(with_states(1000));
  const Media image = {whole(18, 20)};
  d.s.submit(request(1, 40, image, 1));  // 8, 16: the last boundary before the span
  const StepPlan p = d.plan();
  const BlockTable& states = d.s.request(1).tables[1];
  for (int i = 0; i < states.size() - 1; i++) EXPECT_EQ(states[i] != kHole, i == 1 || i == 3) << i;
  d.s.submit(request(2, 39, image, 1));  // waits for the snapshot after 16, not for one inside
  EXPECT_TRUE(d.plan().rows.empty());
  d.commit(p);
  EXPECT_EQ(d.step().rows.at(0).begin, 16);
  d.finish_all();
}

TEST(SchedulerMediaDeathTest, RefusesSpansThatCannotBe) {
  const auto submit = [](Media media) {
    Driver d(config());
    NewRequest r = request(1, 20, {});
    r.media = std::move(media);
    d.s.submit(std::move(r));
  };
  submit({whole(0, 10), whole(10, 10)});
  EXPECT_DEATH(submit({whole(12, 2), whole(4, 2)}), "check failed");
  EXPECT_DEATH(submit({whole(4, 4), whole(7, 2)}), "check failed");
  EXPECT_DEATH(submit({whole(-1, 4)}), "check failed");
  EXPECT_DEATH(submit({whole(4, 0)}), "check failed");
  EXPECT_DEATH(submit({whole(15, 6)}), "check failed");
  EXPECT_DEATH(submit({{15, INT_MAX, 1, false}}), "check failed");
  SchedulerConfig c = config();
  c.max_whole_tokens = 8;
  Driver small(c);
  EXPECT_DEATH(small.s.submit(request(1, 20, {whole(4, 9)})), "check failed");
  small.s.submit(request(1, 20, {{4, 9, 1, false}}));
}

TEST(SchedulerMediaDeathTest, RefusesLogitsOfAWholeSpanBeforeItsLastToken) {
  const auto submit = [](int logits_from, bool is_whole) {
    Driver d(config());
    NewRequest r = request(1, 20, {{4, 10, 1, is_whole}});
    r.logits_from = logits_from;
    d.s.submit(std::move(r));
  };
  submit(13, true);
  submit(20, true);
  submit(-1, true);
  submit(5, false);
  EXPECT_DEATH(submit(12, true), "check failed");
  EXPECT_DEATH(submit(0, true), "check failed");
}

}  // namespace
}  // namespace xylem
