#include "cache/prefix_index.h"

#include <gtest/gtest.h>

#include <map>
#include <random>

namespace xylem {
namespace {

constexpr int kBlock = 4;

using Tokens = std::vector<TokenId>;

std::vector<CacheGroup> full() { return {CacheGroup{}}; }
std::vector<CacheGroup> full_window_state() {  // lookbacks: all, 2, 1
  return {CacheGroup{}, CacheGroup{.window_tokens = 8}, CacheGroup{.window_tokens = -1}};
}

Tokens counting(int n, TokenId first = 0) {
  Tokens t(static_cast<size_t>(n));
  for (int i = 0; i < n; i++) t[size_t(i)] = first + i;
  return t;
}

// An index with its pools, and requests that compute whole sequences.
struct Cache {
  std::vector<CacheGroup> groups;
  std::vector<BlockPool> pools;
  PrefixIndex index;

  Cache(std::vector<CacheGroup> g, int blocks)
      : groups(std::move(g)), pools(groups.size(), BlockPool(blocks)), index(groups, kBlock, pools) {}

  struct Run {
    PrefixPath path;
    std::vector<BlockTable> tables;
  };
  Run begin(const Tokens& tokens, uint64_t key = 0, std::span<const MediaSpan> media = {}) {
    Run r;
    for (BlockPool& pool : pools) r.tables.emplace_back(&pool);
    const PrefixHit hit = index.match({key, tokens, media});
    index.attach(hit, r.tables);
    index.start(r.path, hit, {key, tokens, media});
    return r;
  }
  void compute(Run& r, const Tokens& tokens, int upto, uint64_t key = 0, std::span<const MediaSpan> media = {}) {
    for (size_t g = 0; g < pools.size(); g++)
      while (r.tables[g].size() * kBlock < upto) {
        BlockId b = pools[g].take();
        while (b == kHole && index.evict_one(int(g))) b = pools[g].take();
        CHECK(b != kHole);
        r.tables[g].append(b);
      }
    index.advance(r.path, {key, {tokens.data(), size_t(upto)}, media}, r.tables);
    for (size_t g = 0; g < pools.size(); g++) r.tables[g].drop_before(groups[g].first_needed_block(upto, kBlock));
  }
  void finish(Run& r) {
    for (BlockTable& t : r.tables) t.clear();
    index.leave(r.path);
    index.check();
  }
  void serve(const Tokens& tokens, uint64_t key = 0, std::span<const MediaSpan> media = {}) {
    Run r = begin(tokens, key, media);
    compute(r, tokens, int(tokens.size()), key, media);
    finish(r);
  }
};

TEST(PrefixIndex, MatchesWholeBlocksOfTheLongestSharedPrefix) {
  Cache c(full(), 20);
  const Tokens a = counting(16);
  c.serve(a);
  EXPECT_EQ(c.index.match({0, a}).blocks, 4);
  EXPECT_EQ(c.index.match({0, counting(15)}).blocks, 3);
  EXPECT_EQ(c.index.match({0, counting(3)}).blocks, 0);
  Tokens other = a;
  other[9] = 77;
  EXPECT_EQ(c.index.match({0, other}).blocks, 2);
  EXPECT_EQ(c.index.match({0, {}}).blocks, 0);
}

TEST(PrefixIndex, DifferentKeysNeverShare) {
  Cache c(full(), 20);
  c.serve(counting(8), 1);
  EXPECT_EQ(c.index.match({1, counting(8)}).blocks, 2);
  EXPECT_EQ(c.index.match({0, counting(8)}).blocks, 0);
  EXPECT_EQ(c.index.match({2, counting(8)}).blocks, 0);
}

TEST(PrefixIndex, AnEqualBlockAfterAnotherPrefixIsAnotherBlock) {
  Cache c(full(), 20);
  c.serve({1, 1, 1, 1, 5, 5, 5, 5});
  EXPECT_EQ(c.index.match({0, Tokens{5, 5, 5, 5}}).blocks, 0);
  EXPECT_EQ(c.index.match({0, Tokens{2, 2, 2, 2, 5, 5, 5, 5}}).blocks, 0);
}

TEST(PrefixIndex, ResumesOnlyWhereEveryGroupCan) {
  Cache c(full_window_state(), 20);
  c.serve(counting(24));
  ASSERT_EQ(c.index.match({0, counting(24)}).blocks, 6);
  EXPECT_TRUE(c.index.evict_one(2));  // the oldest states are those that left the table first: not the deepest
  EXPECT_EQ(c.index.match({0, counting(24)}).blocks, 6);
  while (c.index.held_blocks(2) > 1) c.index.evict_one(2);
  EXPECT_EQ(c.index.match({0, counting(24)}).blocks, 6);
  c.index.evict_one(2);
  EXPECT_EQ(c.index.match({0, counting(24)}).blocks, 0);
}

TEST(PrefixIndex, AttachLeavesHolesBeforeTheLookback) {
  Cache c(full_window_state(), 20);
  c.serve(counting(24));
  Cache::Run r = c.begin(counting(24));
  for (int i = 0; i < 6; i++) {
    EXPECT_NE(r.tables[0][i], kHole);
    EXPECT_EQ(r.tables[1][i] != kHole, i >= 4);
    EXPECT_EQ(r.tables[2][i] != kHole, i >= 5);
  }
  c.finish(r);
}

TEST(PrefixIndex, EvictsTheOldestSequenceFirstAndChildrenBeforeParents) {
  Cache c(full(), 20);
  c.serve(counting(12, 100));
  c.serve(counting(12, 200));
  c.index.evict_one(0);
  EXPECT_EQ(c.index.match({0, counting(12, 100)}).blocks, 2);
  c.index.evict_one(0);
  EXPECT_EQ(c.index.match({0, counting(12, 100)}).blocks, 1);
  c.serve(counting(4, 100));  // used again: younger than the other sequence
  c.index.evict_one(0);
  EXPECT_EQ(c.index.match({0, counting(4, 100)}).blocks, 1);
  EXPECT_EQ(c.index.match({0, counting(12, 200)}).blocks, 2);
}

TEST(PrefixIndex, EvictsNothingThatATableRefersTo) {
  Cache c(full(), 20);
  c.serve(counting(12));
  Cache::Run r = c.begin(counting(8));
  while (c.index.evict_one(0)) continue;
  EXPECT_EQ(c.index.match({0, counting(12)}).blocks, 2);
  c.finish(r);
}

TEST(PrefixIndex, EvictingAFullBlockFreesTheOtherGroupsBlocksThere) {
  Cache c(full_window_state(), 20);
  c.serve(counting(8));
  const int before = c.index.held_blocks(1);
  c.index.evict_one(0);
  EXPECT_EQ(c.index.held_blocks(0), 1);
  EXPECT_EQ(c.index.held_blocks(1), before - 1);
  EXPECT_EQ(c.index.held_blocks(2), 1);
}

TEST(PrefixIndex, WindowBlocksAreEvictedWithoutTheFullOnes) {
  Cache c(full_window_state(), 20);
  c.serve(counting(24));
  while (c.index.evict_one(1)) continue;
  EXPECT_EQ(c.index.held_blocks(0), 6);
  EXPECT_EQ(c.index.held_blocks(1), 0);
  EXPECT_EQ(c.index.match({0, counting(24)}).blocks, 0);
  c.serve(counting(24));  // recomputed: its full blocks are exchanged for the indexed ones, its window blocks are new
  EXPECT_EQ(c.index.held_blocks(0), 6);
  EXPECT_EQ(c.pools[0].free_blocks(), 14);
  EXPECT_EQ(c.index.match({0, counting(24)}).blocks, 6);
}

TEST(PrefixIndex, ASecondComputationOfABlockTakesTheIndexedOne) {
  Cache c(full(), 20);
  const Tokens tokens = counting(8);
  Cache::Run a = c.begin(tokens), b = c.begin(tokens);
  c.compute(a, tokens, 8);
  c.compute(b, tokens, 8);
  EXPECT_EQ(a.tables[0][0], b.tables[0][0]);
  EXPECT_EQ(a.tables[0][1], b.tables[0][1]);
  EXPECT_EQ(c.pools[0].used_blocks(), 2);
  c.finish(a);
  c.finish(b);
}

TEST(PrefixIndex, PromisesLastUntilComputedOrWithdrawn) {
  Cache c(full(), 20);
  const Tokens tokens = counting(14);
  Cache::Run leader = c.begin(tokens);
  PrefixHit hit = c.index.match({0, counting(30)});
  EXPECT_EQ(hit.blocks, 0);
  EXPECT_EQ(hit.promised_blocks, 3);  // whole blocks only
  c.compute(leader, tokens, 9);
  hit = c.index.match({0, tokens});
  EXPECT_EQ(hit.blocks, 2);
  EXPECT_EQ(hit.promised_blocks, 3);
  c.finish(leader);
  hit = c.index.match({0, tokens});
  EXPECT_EQ(hit.blocks, 2);
  EXPECT_EQ(hit.promised_blocks, 0);
  EXPECT_EQ(c.index.nodes(), 2);
}

TEST(PrefixIndex, NobodyWaitsForWhatIsWithdrawn) {
  Cache c(full(), 20);
  const Tokens tokens = counting(14);
  Cache::Run leader = c.begin(tokens), second = c.begin(counting(8));
  c.index.withdraw(leader.path, 2);
  c.index.withdraw(leader.path, 2);
  c.index.withdraw(leader.path, 7);  // not among its blocks
  EXPECT_EQ(c.index.match({0, tokens}).promised_blocks, 2);
  c.index.withdraw(leader.path, 1);
  EXPECT_EQ(c.index.match({0, tokens}).promised_blocks, 2);  // the other one still computes it
  c.finish(second);
  EXPECT_EQ(c.index.match({0, tokens}).promised_blocks, 1);
  c.compute(leader, tokens, 14);
  EXPECT_EQ(c.index.match({0, tokens}).promised_blocks, 0);
  c.finish(leader);
}

TEST(PrefixIndex, AStateThatIsOverwrittenStaysOut) {
  Cache c({CacheGroup{.window_tokens = -1}}, 20);
  const Tokens tokens = counting(12);
  Cache::Run r = c.begin(tokens);
  BlockTable& t = r.tables[0];
  t.put(1, c.pools[0].take());  // after 8 tokens
  t.set_overwrites_last(true);
  c.index.advance(r.path, {0, {tokens.data(), 8}}, r.tables);
  EXPECT_EQ(c.index.held_blocks(0), 0);
  const BlockId live = t[1];
  t.move_last(2);
  t.put(0, c.pools[0].take());
  EXPECT_EQ(t[1], kHole);
  EXPECT_EQ(t.state_in(8, 12, kBlock), live);
  t.set_overwrites_last(false);
  c.index.advance(r.path, {0, tokens}, r.tables);
  EXPECT_EQ(c.index.held_blocks(0), 1);  // the end; what came after 4 tokens was passed without a block
  EXPECT_EQ(c.index.match({0, tokens}).blocks, 3);
  c.index.forget(0, live);
  EXPECT_EQ(c.index.match({0, tokens}).blocks, 0);
  EXPECT_EQ(c.pools[0].used_blocks(), 2);
  c.finish(r);
  EXPECT_EQ(c.pools[0].free_blocks(), 20);
  EXPECT_EQ(c.index.nodes(), 0);
}

TEST(PrefixIndex, ForgetsAPathThatIsNotTrusted) {
  Cache c(full(), 20);
  c.serve(counting(8));
  Cache::Run r = c.begin(counting(16));
  c.compute(r, counting(16), 16);
  c.index.forget(r.path);
  EXPECT_EQ(c.index.match({0, counting(16)}).blocks, 0);
  c.finish(r);
  EXPECT_EQ(c.pools[0].free_blocks(), 20);
  EXPECT_EQ(c.index.nodes(), 0);
}

TEST(PrefixIndex, ClearForgetsEverything) {
  Cache c(full_window_state(), 40);
  c.serve(counting(24));
  c.serve(counting(24, 7));
  c.index.clear();
  EXPECT_EQ(c.index.nodes(), 0);
  for (const BlockPool& pool : c.pools) EXPECT_EQ(pool.free_blocks(), 40);
}

using Media = std::vector<MediaSpan>;

TEST(PrefixIndex, BlocksAreSharedOnlyWhereMediaAreEqual) {
  Cache c(full(), 20);
  const Tokens tokens(16, 5);
  const auto hit = [&](const Media& media) { return c.index.match({0, tokens, media}).blocks; };
  const Media image = {{.first = 5, .count = 6, .content = 1}};
  c.serve(tokens, 0, image);
  EXPECT_EQ(hit(image), 4);
  EXPECT_EQ(hit({}), 1);
  EXPECT_EQ(hit({{.first = 5, .count = 6, .content = 2}}), 1);
  EXPECT_EQ(hit({{.first = 5, .count = 5, .content = 1}}), 1);
  EXPECT_EQ(hit({{.first = 6, .count = 6, .content = 1}}), 1);
  EXPECT_EQ(hit({{.first = 9, .count = 6, .content = 1}}), 1);
  EXPECT_EQ(hit({{.first = 1, .count = 6, .content = 1}}), 0);
  EXPECT_EQ(hit({{.first = 5, .count = 6, .content = 1}, {.first = 12, .count = 2, .content = 1}}), 3);
  EXPECT_EQ(c.index.match({1, tokens, image}).blocks, 0);
  EXPECT_EQ(c.index.match({0, {tokens.data(), 9}, image}).blocks, 2);  // it may end within
}

TEST(PrefixIndex, EveryMediumThatBeginsInABlockCounts) {
  Cache c(full(), 20);
  const Tokens tokens(8, 5);
  const auto of = [](uint64_t a, uint64_t b) {
    return Media{{.first = 4, .count = 1, .content = a}, {.first = 6, .count = 2, .content = b}};
  };
  c.serve(tokens, 0, of(1, 2));
  EXPECT_EQ(c.index.match({0, tokens, of(1, 2)}).blocks, 2);
  EXPECT_EQ(c.index.match({0, tokens, of(2, 1)}).blocks, 1);
  EXPECT_EQ(c.index.match({0, tokens, of(1, 1)}).blocks, 1);
  EXPECT_EQ(c.index.match({0, tokens, of(2, 2)}).blocks, 1);
}

TEST(PrefixIndex, NeitherHitsNorPromisesEndInsideAWholeSpan) {
  Cache c(full(), 20);
  const Tokens tokens(20, 5);
  const Media image = {{.first = 6, .count = 8, .content = 1, .whole = true}};
  Cache::Run leader = c.begin(tokens, 0, image);
  const auto match = [&](size_t n) { return c.index.match({0, {tokens.data(), n}, image}); };
  EXPECT_EQ(match(20).promised_blocks, 5);
  for (const size_t n : {8, 12, 15}) EXPECT_EQ(match(n).promised_blocks, 1) << n;
  c.compute(leader, tokens, 20, 0, image);
  EXPECT_EQ(match(20).blocks, 5);
  EXPECT_EQ(match(16).blocks, 4);
  for (const size_t n : {8, 12, 15}) EXPECT_EQ(match(n).blocks, 1) << n;
  c.finish(leader);

  const Media aligned = {{.first = 4, .count = 8, .content = 2, .whole = true}};
  c.serve(tokens, 0, aligned);
  for (const size_t n : {4, 8, 11, 12})
    EXPECT_EQ(c.index.match({0, {tokens.data(), n}, aligned}).blocks, n == 12 ? 3 : 1) << n;
}

TEST(PrefixIndex, PromisesOfMediaAreWithdrawnAndForgotten) {
  Cache c(full(), 20);
  const Tokens tokens(16, 5);
  const Media one = {{.first = 2, .count = 6, .content = 1}}, two = {{.first = 2, .count = 6, .content = 2}};
  Cache::Run a = c.begin(tokens, 0, one), b = c.begin(tokens, 0, two);
  EXPECT_EQ(c.index.nodes(), 8);
  c.index.withdraw(a.path, 3);
  EXPECT_EQ(c.index.match({0, tokens, one}).promised_blocks, 3);
  EXPECT_EQ(c.index.match({0, tokens, two}).promised_blocks, 4);
  c.compute(a, tokens, 16, 0, one);
  c.compute(b, tokens, 16, 0, two);
  EXPECT_EQ(c.pools[0].used_blocks(), 8);
  c.index.forget(a.path);
  EXPECT_EQ(c.index.match({0, tokens, one}).blocks, 0);
  EXPECT_EQ(c.index.match({0, tokens, two}).blocks, 4);
  c.finish(a);
  c.finish(b);
  c.index.clear();
  EXPECT_EQ(c.index.nodes(), 0);
  EXPECT_EQ(c.pools[0].free_blocks(), 20);
}

// Whatever is matched is the block that was computed for exactly that prefix.
TEST(PrefixIndex, RandomSequencesUnderPressure) {
  std::mt19937 rng(3);
  for (int trial = 0; trial < 50; trial++) {
    Cache c(full_window_state(), 16);
    std::vector<std::map<BlockId, Tokens>> content(3);  // the prefix that a block ends
    int hits = 0;
    for (int round = 0; round < 80; round++) {
      Tokens tokens(size_t(kBlock) * (1 + rng() % 7));
      for (TokenId& t : tokens) t = TokenId(rng() % 5 == 0);
      Cache::Run r = c.begin(tokens);
      const int hit = r.path.blocks;
      hits += hit;
      for (size_t g = 0; g < 3; g++)
        for (int i = 0; i < hit; i++) {
          if (r.tables[g][i] == kHole) continue;
          EXPECT_EQ(content[g].at(r.tables[g][i]), Tokens(tokens.begin(), tokens.begin() + (i + 1) * kBlock));
        }
      for (int end = (hit + 1) * kBlock; end <= int(tokens.size()); end += kBlock) {
        c.compute(r, tokens, end);
        for (size_t g = 0; g < 3; g++)
          content[g][r.tables[g][end / kBlock - 1]] = Tokens(tokens.begin(), tokens.begin() + end);
      }
      c.finish(r);
      for (size_t g = 0; g < 3; g++) {
        EXPECT_EQ(c.pools[g].used_blocks(), 0);
        EXPECT_EQ(c.pools[g].free_blocks() + c.index.held_blocks(int(g)), 16);
      }
    }
    EXPECT_GT(hits, 0);
  }
}

}  // namespace
}  // namespace xylem
